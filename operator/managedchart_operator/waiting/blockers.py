"""Names what blocks an uninstall: objects that are marked for deletion and still exist, and whose finalizers hold them.

It only reads. The result is for people: the number of requests and the time are bounded, and objects that cannot be read are
left out. `until_deleted` answers whether *all* objects are deleted.
Source: Kubernetes documentation, "Finalizers".
"""

import asyncio
import contextlib
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from managedchart_operator.errors import KubeError, UninstallBlockedError
from managedchart_operator.kube.objects import ObjectRef, Objects

# Enough to see what is wrong; kubectl shows the rest.
MAX_LOOKS = 60
MAX_NAMED = 5
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Blocker:
    """An object that is being deleted and still exists."""

    ref: ObjectRef
    finalizers: tuple[str, ...]

    def __str__(self) -> str:
        if self.finalizers:
            return f"{self.ref} (held by the finalizer {', '.join(self.finalizers)})"
        return f"{self.ref} (being deleted)"


def blocked(blockers: list[Blocker], *, text: str = "") -> UninstallBlockedError:
    """Return the error that names what blocks an uninstall, at least one object; `text` is helm's own."""
    return UninstallBlockedError(
        f"The uninstall waits for {'; '.join(map(str, blockers))}",
        objects=[(ref.api_version, ref.kind, ref.name, ref.namespace) for ref in (each.ref for each in blockers)],
        text=text,
        hint=_hint(blockers),
    )


def _hint(blockers: list[Blocker]) -> str:
    """Advise on the first object, which has a finalizer if any of them has."""
    first = blockers[0]
    namespace = ["--namespace", first.ref.namespace] if first.ref.namespace else []
    what = shlex.join([first.ref.kind, first.ref.name, *namespace])
    if not first.finalizers:
        return f"See why it is not deleted yet: kubectl describe {what}"
    return (
        "Make sure that the controller that owns the finalizer is running. If it was removed for good, remove the finalizer: "
        f"""kubectl patch {what} --type=merge --patch '{{"metadata": {{"finalizers": null}}}}'"""
    )


async def find_blockers(objects: Objects, refs: Iterable[ObjectRef]) -> list[Blocker]:
    """Return the objects that are being deleted, those with finalizers first."""
    found: list[Blocker] = []

    async def look(ref: ObjectRef) -> None:
        with contextlib.suppress(KubeError):
            there = await objects.get(ref)
            if there is not None and there["metadata"].get("deletionTimestamp"):
                found.append(Blocker(ref, tuple(there["metadata"].get("finalizers") or ())))

    with contextlib.suppress(TimeoutError):  # what was found until now is better than nothing
        async with asyncio.timeout(_LOOK_SECONDS):
            await asyncio.gather(*map(look, list(refs)[:MAX_LOOKS]))
    found.sort(key=lambda blocker: (not blocker.finalizers, str(blocker)))
    return found[:MAX_NAMED]
