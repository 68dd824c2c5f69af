"""Finds the objects that a release adopted: they were in the cluster before it. Makes helm leave them.

The operator must not delete what a failed deployment only adopted. Either of two facts about the live object proves that it
existed before. It is older than the Secret of the revision: both times are the API server's, and helm stores a revision before
it applies anything. Or a manager other than helm has set helm's ownership annotations, without which helm refuses to adopt the
object: helm applies the same values, so under server-side apply that manager stays their co-owner.
Source: Helm's check of `meta.helm.sh/release-name`; Kubernetes documentation, "Server-Side Apply", shared ownership.

Measured with helm 4.3.1: `helm uninstall` reads the newest stored manifest, and keeps an object that has
`helm.sh/resource-policy: keep` there or is missing there. `helm rollback` deletes what is in the newest stored manifest and not
in the target's; it reads the policy of the live object only, so the object must be missing in the manifest.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.manifest_edits import Drop, Edit, Keep, Rendered
from managedchart_operator.helm.ownership import RELEASE_NAME
from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.discovery import group_of
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_storage import ReleaseStorage, Unfinished
from managedchart_operator.times import read_time

_MARK = ("f:metadata", "f:annotations", f"f:{RELEASE_NAME}")
# Objects read at the same time; a failure must not put load on the API server.
_AT_ONCE = 10
# As many as fit into a condition's message.
MAX_NAMED = 10


async def spare_adopted(
    storage: ReleaseStorage, objects: Objects, *, to: Revision | None = None
) -> tuple[ObjectRef, ...]:
    """Make a following uninstall, or rollback `to` a revision, leave what failed revisions only adopted; returns that.

    What the target of a rollback renders is the release's own. Raises KubeError, HelmError.
    """
    newest, stored = storage.newest, await storage.read_stored()
    if newest is None or stored is None:
        return ()
    failed = [Unfinished(newest, stored), *(each for each in await storage.read_unfinished() if not each.was_good)]
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
    namespace = storage.namespace
    only = {place_of(reference(item, namespace)): item for item in rendered}
    for item in own:
        only.pop(place_of(reference(item, namespace)), None)
    since = made_since(storage, failed)
    adopted = await adopted_objects(objects, only.values(), namespace=namespace, since=since)
    await change_stored(storage, adopted, Keep() if to is None else Drop())
    return tuple(adopted)


async def adopted_objects(
    objects: Objects, rendered: Iterable[Mapping[str, Any]], *, namespace: str, since: float
) -> list[ObjectRef]:
    """Return the rendered objects that existed before `since`, in seconds since the epoch. Raises KubeError in any doubt."""
    refs = await objects.locate_all(rendered, namespace, strict=True)
    free = asyncio.Semaphore(_AT_ONCE)

    async def look(ref: ObjectRef) -> bool:
        async with free:
            found = await objects.get(ref)
        return found is not None and was_adopted(found, since=since)

    try:
        async with asyncio.TaskGroup() as group:
            looks = {ref: group.create_task(look(ref)) for ref in refs}
    except* KubeError as errors:
        raise errors.exceptions[0] from None
    return [ref for ref, adopted in looks.items() if adopted.result()]


async def change_stored(storage: ReleaseStorage, refs: Iterable[ObjectRef], change: Edit) -> bool:
    """Change objects in the stored revisions of this resource after the last good one; False if nothing was written.

    What each of them renders is deleted with a release (`orphaned_objects`). Raises KubeError, HelmError.
    """
    wanted = set(map(place_of, refs))

    def edit(rendered: Rendered) -> Edit | None:
        found = (group_of(rendered.api_version), rendered.kind, rendered.name)
        # A cluster-wide object has no namespace, whatever the chart writes.
        where = ("", rendered.namespace or storage.namespace)
        return change if any((*found, namespace) in wanted for namespace in where) else None

    good = await storage.last_good()
    written = False
    for revision in storage.revisions:
        if good is not None and revision.number <= good.number:
            break
        written |= await storage.rewrite_manifest(revision, edit)
    return written


def made_since(storage: ReleaseStorage, failed: Sequence[Unfinished]) -> float:
    """Return since when failed revisions, newest first, may have created objects, in seconds since the epoch.

    helm prunes old revisions. Once the first failed one is pruned, age proves nothing: then this is 0, older than any object.
    """
    pruned = storage.revisions and failed and failed[-1].revision.number == storage.revisions[-1].number > 1
    return 0.0 if pruned else min((each.revision.stored_at or 0.0 for each in failed), default=0.0)


def spared(adopted: Sequence[ObjectRef]) -> str:
    """Return the end of a sentence that names the adopted objects which were left; "" where there are none."""
    if not adopted:
        return ""
    more = f" and {len(adopted) - MAX_NAMED} more" if len(adopted) > MAX_NAMED else ""
    return f", except what existed before the release: {', '.join(map(str, adopted[:MAX_NAMED]))}{more}"


def place_of(ref: ObjectRef) -> tuple[str, str, str, str]:
    """Return what identifies an object in all versions of its kind: group, kind, name and namespace."""
    return group_of(ref.api_version), ref.kind, ref.name, ref.namespace


def was_adopted(found: Mapping[str, Any], *, since: float) -> bool:
    """Whether a live object existed before its release; in doubt it did."""
    meta = found["metadata"]
    created = read_time(meta.get("creationTimestamp"))
    if created is None or created.timestamp() < since:
        return True
    return any(entry.get("manager") != HELM and _owns_mark(entry) for entry in meta.get("managedFields") or ())


def _owns_mark(entry: Mapping[str, Any]) -> bool:
    fields = entry.get("fieldsV1")
    for step in _MARK:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields is not None
