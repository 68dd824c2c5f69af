"""Checks whether the workloads of a release are healthy now."""

from dataclasses import replace

from managedchart_operator.kube.objects import Objects, reference
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
    for ref in (reference(item, rendered.storage.namespace) for item in rendered.objects):
        version = _WORKLOADS.get(ref.group_kind)
        if version is None or not ref.name:
            continue
        found = await objects.get(replace(ref, api_version=version))
        if found is None or readiness(found, ref.group_kind).state is not State.CURRENT:
            return False
    return bool(rendered.all)
