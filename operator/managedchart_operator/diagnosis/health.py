"""Is what a release rendered healthy by now?

Purpose: a release that failed for its workloads may have come up since; then it is worth another attempt. Boundary: pure;
judges the kinds that have pods, others count as healthy. Source: Kubernetes API reference, statuses of workloads.
"""

from collections.abc import Mapping
from typing import Any

WORKLOADS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}


def healthy(workload: Mapping[str, Any]) -> bool:
    """Whether a workload has all the pods that it wants, of its present revision, and all are ready."""
    meta, spec, status = workload["metadata"], workload.get("spec") or {}, workload.get("status") or {}
    kind = workload.get("kind")
    if kind == "Job":
        return any(c["type"] == "Complete" and c["status"] == "True" for c in status.get("conditions") or ())
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        return False
    if kind == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(wanted == status.get("updatedNumberScheduled", 0) == status.get("numberAvailable", 0))
    wanted = spec.get("replicas", 1)
    ready = "readyReplicas" if kind == "StatefulSet" else "availableReplicas"
    return bool(wanted == status.get("updatedReplicas", 0) == status.get(ready, 0) == status.get("replicas", 0))
