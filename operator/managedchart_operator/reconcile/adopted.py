"""Finds the objects that a release adopted: they were in the cluster before it.

The operator must not delete what a failed deployment only adopted. Either of two facts about the live object proves that it
existed before. It is older than the Secret of the revision: both times are the API server's, and helm stores a revision before
it applies anything. Or a manager other than helm has set helm's ownership annotations, without which helm refuses to adopt the
object: helm applies the same values, so under server-side apply that manager stays their co-owner.
Source: Helm's check of `meta.helm.sh/release-name`; Kubernetes documentation, "Server-Side Apply", shared ownership.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.ownership import RELEASE_NAME
from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_storage import ReleaseStorage, Unfinished

_MARK = ("f:metadata", "f:annotations", f"f:{RELEASE_NAME}")
# Objects read at the same time; a failure must not put load on the API server.
_AT_ONCE = 10
# As many as fit into a condition's message.
MAX_NAMED = 10


async def adopted_objects(
    objects: Objects, rendered: Iterable[Mapping[str, Any]], *, namespace: str, since: float | None
) -> list[ObjectRef]:
    """Return the rendered objects that existed before `since`, in seconds since the epoch; all of them where it is None.

    Raises KubeError where an object cannot be read, since nothing is known about it then.
    """
    refs = await objects.locate_all(rendered, namespace, strict=True)
    free = asyncio.Semaphore(_AT_ONCE)

    async def look(ref: ObjectRef) -> bool:
        async with free:
            found = await objects.get(ref)
        return found is not None and was_adopted(found, since=since)

    try:
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(look(ref)) for ref in refs]
    except* KubeError as errors:
        raise errors.exceptions[0] from None
    return [ref for ref, adopted in zip(refs, (look.result() for look in looks), strict=True) if adopted]


async def adopted_by_failed(
    storage: ReleaseStorage, objects: Objects, *, to: Revision | None = None
) -> list[ObjectRef]:
    """Return what the failed revisions at the top of a release adopted.

    Leaves out what the revision `to` renders, the target of a rollback: that is the release's own. Raises KubeError, HelmError.
    """
    newest, stored = storage.newest, await storage.read_stored()
    if newest is None or stored is None:
        return []
    failed = [
        Unfinished(newest, stored),
        *(each for each in await storage.read_unfinished() if not each.was_good),
    ]
    target = await storage.read(to) if to is not None else None
    try:
        rendered = await asyncio.to_thread(outline, *(each.stored.manifest for each in failed))
        own = await asyncio.to_thread(outline, target.manifest) if target else []
    except ManifestError as error:
        raise HelmError(
            f"Cannot determine which objects the failed revisions adopted: {error}",
            reason=Reason.HELM_FAILED,
            transient=False,
        ) from error
    kept = {place_of(item, storage.namespace) for item in own}
    only = {place: item for item in rendered if (place := place_of(item, storage.namespace)) not in kept}
    return await adopted_objects(objects, only.values(), namespace=storage.namespace, since=made_since(storage, failed))


def made_since(storage: ReleaseStorage, failed: Iterable[Unfinished]) -> float:
    """Return since when failed revisions may have created objects, in seconds since the epoch.

    helm prunes old revisions. Once the first failed one is pruned, age proves nothing: then this is 0, older than any object.
    """
    known = list(failed)
    oldest = storage.revisions[-1] if storage.revisions else None
    pruned = oldest is not None and oldest.number > 1 and any(each.revision.number == oldest.number for each in known)
    return 0.0 if pruned else min((each.revision.stored_at or 0.0 for each in known), default=0.0)


def spared(adopted: Sequence[ObjectRef]) -> str:
    """Return the end of a sentence that names the adopted objects which were left; "" where there are none."""
    if not adopted:
        return ""
    more = f" and {len(adopted) - MAX_NAMED} more" if len(adopted) > MAX_NAMED else ""
    return f", except what existed before the release: {', '.join(map(str, adopted[:MAX_NAMED]))}{more}"


def place_of(item: Mapping[str, Any], namespace: str) -> tuple[str, str, str, str]:
    """Return group, kind, name and namespace of a rendered object, as if its kind were namespaced."""
    meta = item.get("metadata") or {}
    group = str(item.get("apiVersion") or "").rpartition("/")[0]
    return group, item["kind"], str(meta.get("name")), meta.get("namespace") or namespace


def was_adopted(found: Mapping[str, Any], *, since: float | None) -> bool:
    """Whether a live object existed before its release; in doubt it did."""
    meta = found["metadata"]
    try:
        created = datetime.fromisoformat(meta["creationTimestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return True
    if since is None or created < since:
        return True
    return any(entry.get("manager") != HELM and _owns_mark(entry) for entry in meta.get("managedFields") or ())


def _owns_mark(entry: Mapping[str, Any]) -> bool:
    fields = entry.get("fieldsV1")
    for step in _MARK:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields is not None
