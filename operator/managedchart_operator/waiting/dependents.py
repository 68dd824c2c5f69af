"""Tells whether objects have others that hang on them, and that a removal has to wait for.

Purpose: a deletion in the foreground lets the garbage collector visit each object twice, whether anything hangs on it or not,
and by default that collector makes 20 requests a second for the whole cluster; so it is worth to ask for it only where pods
are to be waited for. Boundary: looks, deletes nothing. Invariant: in doubt, and for kinds that are not known here, there are
dependents.
Source: Kubernetes documentation, "Garbage collection"; kube-controller-manager --kube-api-qps.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects

# Where the API server tells how many pods there are. A Job keeps those that have ended, which its status does not count.
_COUNTS = {
    ("apps/v1", "Deployment"): "replicas",
    ("apps/v1", "ReplicaSet"): "replicas",
    ("apps/v1", "StatefulSet"): "replicas",
    ("apps/v1", "DaemonSet"): "currentNumberScheduled",
}
# What Kubernetes itself defines in these groups owns nothing that one would wait for, but for the kinds of the second line.
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
    """Whether pods, or what is not known, hang on any of a release's objects. Raises nothing except when cancelled."""
    for item in rendered:
        version, kind = item.get("apiVersion", ""), item.get("kind", "")
        field = _COUNTS.get((version, kind))
        if field is not None:
            if await _count(objects, item, namespace, field):
                return True
        elif kind in _KINDS_WITH or (version.rpartition("/")[0] not in _GROUPS_WITHOUT):
            return True
    return False


async def _count(objects: Objects, item: Mapping[str, Any], namespace: str, field: str) -> int:
    meta = item.get("metadata") or {}
    ref = ObjectRef(item["apiVersion"], item["kind"], meta.get("name") or "", meta.get("namespace") or namespace)
    try:
        found = await objects.get(ref)
    except KubeError:
        return 1
    if found is None:
        return 0
    status = found.get("status") or {}
    # Its controller may not have seen yet what is asked for.
    behind = status.get("observedGeneration", 0) < found["metadata"].get("generation", 0)
    return 1 if behind else int(status.get(field) or 0)
