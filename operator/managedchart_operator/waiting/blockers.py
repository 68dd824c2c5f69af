"""What holds up an uninstall.

Purpose: name the objects that are being deleted and do not go, and whose finalizers hold them. Boundary: reads only.
Invariants: what is named for a person is bounded in requests and time, and leaves out what cannot be read; whether all is gone
is told of all, or not at all.
Source: Kubernetes documentation, "Finalizers".
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.errors import KubeError, UninstallBlockedError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason

# Enough to see what is wrong; a person looks for the rest with kubectl.
MAX_LOOKS = 60
MAX_NAMED = 5
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Blocker:
    """An object that is being deleted and is still there."""

    ref: ObjectRef
    finalizers: tuple[str, ...]

    def __str__(self) -> str:
        if self.finalizers:
            return f"{self.ref} (held by the finalizer {', '.join(self.finalizers)})"
        return f"{self.ref} (being deleted)"


def blocked(blockers: list[Blocker], *, text: str = "") -> UninstallBlockedError:
    """Return the error that names what holds up an uninstall; `text` is helm's own."""
    return UninstallBlockedError(
        f"the uninstall waits for {'; '.join(map(str, blockers))}",
        blocked_by=[blocker.ref.spelled for blocker in blockers],
        text=text,
        hint="let the controller that owns the finalizer do its work or, if it is gone for good, take the finalizer off",
    )


async def references(
    objects: Objects, namespace: str, rendered: Iterable[Mapping[str, Any]], *, strict: bool = False
) -> list[ObjectRef]:
    """Return where the rendered objects of a release are now.

    Kinds that are gone are left out, and so are those that cannot be looked up now: with `strict` these raise KubeError. Of an
    apiVersion that is no longer served, the one is taken that serves the kind instead.
    """
    found = []
    served: dict[tuple[str, str], tuple[str, bool] | None] = {}
    for item in rendered:
        meta = item.get("metadata") or {}
        with contextlib.suppress(*(() if strict else (KubeError,)), KeyError):
            kind = (item["apiVersion"], item["kind"])
            if kind not in served:
                served[kind] = None
                served[kind] = await _served(objects, *kind)
            if (at := served[kind]) is not None:
                version, namespaced = at
                where = (meta.get("namespace") or namespace) if namespaced else ""
                found.append(ObjectRef(version, item["kind"], meta["name"], where))
    return found


async def _served(objects: Objects, api_version: str, kind: str) -> tuple[str, bool] | None:
    """Return by which apiVersion a kind is served, and whether its objects live in a namespace. Raises KubeError."""
    try:
        return api_version, await objects.namespaced(api_version, kind)
    except KubeError as error:
        if error.reason is not Reason.KIND_MISSING:
            raise
    version = await objects.served_version(api_version, kind)
    return None if version is None else (version, await objects.namespaced(version, kind))


async def still_there(objects: Objects, refs: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Return those of the objects that are being deleted and are not gone yet, all of them. Raises KubeError."""
    asked = list(refs)
    found = await asyncio.gather(*map(objects.get, asked))
    return [ref for ref, body in zip(asked, found, strict=True) if body and body["metadata"].get("deletionTimestamp")]


async def find_blockers(objects: Objects, refs: Iterable[ObjectRef]) -> list[Blocker]:
    """Return those of the objects that are being deleted, the ones held by finalizers first."""
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
