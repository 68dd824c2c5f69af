"""Rewrites the stored manifest of a release.

helm builds every object of a stored manifest before it uninstalls, upgrades or rolls back, so one object of a kind that the
cluster does not serve makes the whole operation fail. And an uninstall honours `helm.sh/resource-policy: keep` only where the
stored manifest has it. Helm's plug-in mapkubeapis rewrites stored manifests for the same reason. `manifest_edits` makes the new
text; the callers decide whose revision may be rewritten.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.manifest_edits import Editor, rewrite
from managedchart_operator.helm.stored_release import decode, packed, secret_name
from managedchart_operator.reasons import Reason

# The API server's limit for all data of a Secret (MaxSecretSize in its pkg/apis/core).
_SECRET_BYTES = 1024 * 1024


def with_manifest(secret: Mapping[str, Any], edit: Editor, *, hooks: bool) -> str | None:
    """Return the data of a release Secret with its objects edited; None where nothing changes.

    `hooks` says whether hooks are edited too; a hook without an object is removed. Everything else of helm's document stays. To
    be called in a thread, like `decode`. Raises HelmError, also when the result does not fit into a Secret.
    """
    document = dict(decode(secret).document)
    before = document.get("manifest") or ""
    after = rewrite(before, edit)
    kept_hooks = document.get("hooks")
    if hooks and kept_hooks:
        kept_hooks = [changed for hook in kept_hooks if (changed := _changed_hook(hook, edit)) is not None]
    if after == before and kept_hooks == document.get("hooks"):
        return None
    document["manifest"] = after
    if "hooks" in document:
        document["hooks"] = kept_hooks
    return _fitting(document, secret)


def with_hooks(secret: Mapping[str, Any], hooks: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the data of a release Secret with those of the hooks that it lacks; None where it has all.

    To be called in a thread, like `decode`. Raises HelmError, also when the result does not fit into a Secret.
    """
    document = dict(decode(secret).document)
    kept = list(document.get("hooks") or ())
    whole = []
    for hook in hooks:
        place = next((number for number, other in enumerate(kept) if _named(other) == _named(hook)), None)
        whole.append(hook if place is None else kept.pop(place))
    whole += kept
    if len(whole) == len(document.get("hooks") or ()):
        return None
    document["hooks"] = whole
    return _fitting(document, secret)


def _named(hook: Mapping[str, Any]) -> tuple[Any, ...]:
    return hook.get("path"), hook.get("kind"), hook.get("name"), hook.get("manifest")


def _fitting(document: dict[str, Any], secret: Mapping[str, Any]) -> str:
    data = packed(document)
    # The outer base64 encoding is the API's own and does not count.
    if len(data) // 4 * 3 > _SECRET_BYTES:
        raise HelmError(
            f"The release Secret {secret_name(secret)} has no room for the changed manifest",
            reason=Reason.RELEASE_TOO_LARGE,
            transient=False,
            hint="Make the values smaller, or leave files out of the chart (.helmignore).",
        )
    return data


def _changed_hook(hook: dict[str, Any], edit: Editor) -> dict[str, Any] | None:
    before = hook.get("manifest") or ""
    after = rewrite(before, edit)
    if after == before:
        return hook
    return {**hook, "manifest": after} if after.strip() else None
