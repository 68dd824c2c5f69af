"""Deletes the objects that unfinished revisions and killed hooks left in the cluster and that helm forgets.

At the end of an upgrade helm deletes what the deployed revision renders and the new one does not; an uninstall deletes what the
newest renders. So what only a failed revision renders outlives the next good one, and what a killed or refused upgrade has not
deleted yet outlives the release. An object is never deleted if helm's annotations do not name this release, if it is to be kept
(`helm.sh/resource-policy: keep`), or if a failed revision only adopted it. Waiting until it is deleted is left to the caller.
Source: Helm documentation, "Chart Development Tips and Tricks"; measured with 4.3.1, found by chaos.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.ownership import HOOK, is_kept, marks
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.reconcile.adopted import made_since, place_of, was_adopted
from managedchart_operator.reconcile.release_storage import ReleaseStorage

logger = logging.getLogger(__name__)


async def delete_orphaned_objects(
    storage: ReleaseStorage, objects: Objects, *, stored: StoredRelease | None = None
) -> list[dict[str, Any]]:
    """Delete and return what unfinished revisions left; `stored` is the newest if it was read. Raises KubeError, HelmError."""
    unfinished = await storage.read_unfinished()
    newest = (stored or await storage.read_stored()) if unfinished else None
    if newest is None:
        return []
    failed = [each for each in unfinished if not each.was_good]
    return await delete_objects_of(
        objects,
        release=storage.name,
        namespace=storage.namespace,
        newest=newest,
        good=[each.stored for each in unfinished if each.was_good],
        failed=[each.stored for each in failed],
        since=made_since(storage, failed),
    )


async def delete_objects_of(
    objects: Objects,
    *,
    release: str,
    namespace: str,
    newest: StoredRelease,
    good: Sequence[StoredRelease],
    failed: Sequence[StoredRelease] = (),
    since: float = 0.0,
) -> list[dict[str, Any]]:
    """Delete what earlier revisions left and the newest does not render; returns it as rendered. Raises KubeError.

    The `failed` revisions adopted what is older than `since`, in seconds since the epoch. In doubt nothing is deleted.
    """
    try:
        own = [item for each in good for item in await asyncio.to_thread(outline, each.manifest)]
        rendered = [item for each in failed for item in await asyncio.to_thread(outline, each.manifest)] + own
        needed = await asyncio.to_thread(outline, *newest.manifests)
    except ManifestError as error:
        logger.warning("%s/%s: cannot determine what earlier revisions left behind: %s", namespace, release, error)
        return []
    # Without the groups, since some kinds have moved to another one, and by the manifest alone, so that none is missed when
    # discovery fails: each object also counts as a cluster-wide one.
    refs = [reference(item, namespace) for item in needed]
    needed_places = {(ref.kind, ref.name, where) for ref in refs for where in (ref.namespace, "")}
    own_places = {place_of(reference(item, namespace)) for item in own}
    marked = marks(name=release, namespace=namespace)["annotations"].items()
    left = []
    for item in rendered:
        for ref in await objects.locate_all([item], namespace):
            if (ref.kind, ref.name, ref.namespace) in needed_places or is_kept(item.get("metadata") or {}):
                continue
            found = await objects.get(ref)
            if found is None or is_kept(found["metadata"]):
                continue
            if not (found["metadata"].get("annotations") or {}).items() >= marked:
                continue
            if place_of(reference(item, namespace)) not in own_places and was_adopted(found, since=since):
                continue
            if await objects.delete(ref):
                logger.info("deleted %s, left behind by an earlier revision of %s/%s", ref, namespace, release)
                left.append(item)
    return left


async def delete_orphaned_hooks(objects: Objects, *, namespace: str, stored: StoredRelease) -> None:
    """Delete what is left of a release's self-deleting hooks before it is uninstalled. Raises KubeError.

    helm deletes a hook only when it sees it end, so an uninstall leaves those of a killed helm. Only hooks that the chart
    itself wants deleted when they have ended are deleted here (`helm.sh/hook-delete-policy` with hook-succeeded or
    hook-failed), and an object that is not a hook never is, whatever its name.
    Source: Helm documentation, "Chart Hooks"; measured with 4.3.1: a Job of a pre-install hook outlived kill -9 and uninstall.
    """
    try:
        hooks = await asyncio.to_thread(outline, *stored.self_deleting_hooks)
    except ManifestError as error:
        logger.warning("namespace %s: cannot read the hooks of a release, so none is deleted: %s", namespace, error)
        return
    for ref in await objects.locate_all(hooks, namespace):
        found = await objects.get(ref)
        if found is not None and HOOK in (found["metadata"].get("annotations") or {}) and await objects.delete(ref):
            logger.info("deleted %s, left behind by a hook", ref)
