"""Whether objects have dependents, such as pods, that an uninstall has to wait for.

A deletion in the foreground makes the garbage collector visit each object twice, with or without dependents, and by default
that collector makes 20 requests a second for the whole cluster. So it is only worth it where pods have to end. This only reads.
In doubt, and for kinds that are not listed here, there are dependents.
Source: Kubernetes documentation, "Garbage collection"; kube-controller-manager --kube-api-qps.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.discovery import group_of
from managedchart_operator.kube.objects import Objects, reference

# The status field with the number of pods. A Job keeps pods that have ended, which its status does not count.
_COUNTS = {
    ("apps/v1", "Deployment"): "replicas",
    ("apps/v1", "ReplicaSet"): "replicas",
    ("apps/v1", "StatefulSet"): "replicas",
    ("apps/v1", "DaemonSet"): "currentNumberScheduled",
}
# The kinds of Kubernetes itself in these groups have no dependents, except _KINDS_WITH.
_GROUPS_WITHOUT = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "autoscaling",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)
_KINDS_WITH = frozenset({"Pod", "ReplicationController", "Namespace"})


async def have_dependents(objects: Objects, namespace: str, rendered: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of a release's objects has dependents. Raises nothing except when cancelled."""
    for item in rendered:
        version, kind = item.get("apiVersion", ""), item.get("kind", "")
        field = _COUNTS.get((version, kind))
        if field is not None:
            if await _count(objects, item, namespace, field):
                return True
        elif kind in _KINDS_WITH or group_of(version) not in _GROUPS_WITHOUT:
            return True
    return False


async def _count(objects: Objects, item: Mapping[str, Any], namespace: str, field: str) -> int:
    try:
        found = await objects.get(reference(item, namespace))  # all of these kinds are namespaced
    except KubeError:
        return 1
    if found is None:
        return 0
    status = found.get("status") or {}
    # Its controller may not have seen the current spec yet.
    behind = status.get("observedGeneration", 0) < found["metadata"].get("generation", 0)
    return 1 if behind else int(status.get(field) or 0)
