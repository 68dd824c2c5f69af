"""Deletes the objects that unfinished revisions left in the cluster and that helm forgets.

At the end of an upgrade helm deletes what the deployed revision renders and the new one does not; an uninstall deletes what the
newest renders. So what only a failed revision renders outlives the next good one, and what a killed or refused upgrade has not
deleted yet outlives the release. An object is never deleted if helm's annotations do not name this release, if it is to be kept
(`helm.sh/resource-policy: keep`), or if a failed revision only adopted it. Waiting until it is deleted is left to the caller.
Source: Helm documentation, "Chart Development Tips and Tricks"; measured with 4.3.1, found by chaos.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.ownership import is_kept, marks
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.reconcile.adopted import made_since, place_of, was_adopted
from managedchart_operator.reconcile.release_storage import ReleaseStorage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Older:
    """An earlier revision. `made_since` is when the first of the failed ones was stored, in seconds since the epoch.

    The failed ones adopted what is older than that. None for a good revision, since all it renders is the release's own.
    """

    stored: StoredRelease
    made_since: float | None = None


async def delete_orphaned_objects(
    storage: ReleaseStorage, objects: Objects, *, stored: StoredRelease | None = None
) -> list[dict[str, Any]]:
    """Delete what unfinished revisions left, and return it as rendered; `stored` is the newest revision if it was read.

    Raises KubeError, HelmError.
    """
    unfinished = await storage.read_unfinished()
    newest = (stored or await storage.read_stored()) if unfinished else None
    if newest is None:
        return []
    since = made_since(storage, [each for each in unfinished if not each.was_good])
    older = [Older(each.stored, None if each.was_good else since) for each in unfinished]
    return await delete_objects_of(
        objects, release=storage.name, namespace=storage.namespace, newest=newest, older=older
    )


async def delete_objects_of(
    objects: Objects, *, release: str, namespace: str, newest: StoredRelease, older: Iterable[Older]
) -> list[dict[str, Any]]:
    """Delete what `older` revisions left and the newest does not render; returns it as rendered. Raises KubeError.

    In doubt nothing is deleted: if a manifest cannot be read, or the newest has a kind of this name in another group.
    """
    try:
        needed = _Places(await asyncio.to_thread(outline, newest.manifest, *newest.hook_manifests), namespace)
        rendered = [(each, item) for each in older for item in await asyncio.to_thread(outline, each.stored.manifest)]
    except ManifestError as error:
        logger.warning("%s/%s: cannot determine what earlier revisions left behind: %s", namespace, release, error)
        return []
    left = []
    own = {place_of(item, namespace) for each, item in rendered if each.made_since is None}
    for each, item in rendered:
        for ref in await objects.locate_all([item], namespace):
            if needed.have(ref) or is_kept(item.get("metadata") or {}):
                continue
            found = await objects.get(ref)
            if found is None or is_kept(found["metadata"]) or not _is_of(found, release, namespace):
                continue
            if place_of(item, namespace) not in own and was_adopted(found, since=each.made_since):
                continue
            if await objects.delete(ref):
                logger.info("deleted %s, left behind by an earlier revision of %s/%s", ref, namespace, release)
                left.append(item)
    return left


class _Places:
    """Where the objects of a revision are, by its manifest alone, so that none is missed when discovery fails."""

    def __init__(self, rendered: Iterable[Mapping[str, Any]], namespace: str) -> None:
        self._namespaces: dict[tuple[str, str], set[str]] = {}
        for ref in (reference(item, namespace) for item in rendered):
            self._namespaces.setdefault((ref.kind, ref.name), set()).add(ref.namespace)

    def have(self, ref: ObjectRef) -> bool:
        """Whether the object may be one of them, in any group, since some kinds have moved to another one."""
        found = self._namespaces.get((ref.kind, ref.name), set())
        return ref.namespace in found if ref.namespace else bool(found)


def _is_of(found: Mapping[str, Any], release: str, namespace: str) -> bool:
    wanted = marks(name=release, namespace=namespace)["annotations"]
    return (found["metadata"].get("annotations") or {}).items() >= wanted.items()
