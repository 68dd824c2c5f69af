"""Checks whether the workloads of a release are healthy now."""

from managedchart_operator.diagnosis.objects import identities
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.waiting.kstatus import State, readiness

# The workloads, by group and kind.
_WORKLOADS = {
    ("apps", "Deployment"): "apps/v1",
    ("apps", "StatefulSet"): "apps/v1",
    ("apps", "DaemonSet"): "apps/v1",
    ("batch", "Job"): "batch/v1",
}


async def is_healthy(rendered: RenderedObjects, objects: Objects) -> bool:
    """Whether all workloads of the newest revision are ready; False without a release. Raises KubeError, HelmError."""
    await rendered.read()
    for identity in identities(rendered.objects, namespace=rendered.storage.namespace):
        version = _WORKLOADS.get(identity.group_kind)
        if version is None:
            continue
        found = await objects.get(ObjectRef(version, identity.kind, identity.name, identity.namespace))
        if found is None or readiness(found, api_version=version, kind=identity.kind).state is not State.CURRENT:
            return False
    return bool(rendered.all)
