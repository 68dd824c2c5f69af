"""Makes helm keep objects that a revision which did not become ready only adopted.

Measured with helm 4.3.1: `helm uninstall` reads the newest stored manifest, and keeps an object that has
`helm.sh/resource-policy: keep` there or is missing there. `helm rollback` deletes what is in the newest stored manifest and not
in the target's; it reads the policy of the live object only, so the object must be missing in the manifest.

Unfinished revisions before the newest are changed too, since what they render is deleted with a release (`orphaned_objects`).
"""

from collections.abc import Iterable

from managedchart_operator.helm.stored_manifest import Edit, Rendered
from managedchart_operator.kube.discovery import group_of
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reconcile.release_storage import ReleaseStorage


async def change_stored(storage: ReleaseStorage, refs: Iterable[ObjectRef], change: Edit) -> bool:
    """Change objects in the stored revisions of this resource after the last good one; False if nothing was written.

    The revisions must have been observed. It is safe to call this again. Raises KubeError, HelmError.
    """
    wanted = [(group_of(ref.api_version), ref.kind, ref.name, ref.namespace) for ref in refs]

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
