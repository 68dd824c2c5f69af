"""Bodies of pods in all kinds of trouble, and the events about them."""

from datetime import UTC, datetime
from typing import Any

from managedchart_operator.diagnosis.events import RunEvent
from managedchart_operator.diagnosis.objects import Identity

WAITING_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
WAITING_CRASH = {"waiting": {"reason": "CrashLoopBackOff"}}
RUNNING: dict[str, Any] = {"running": {}}
TERMINATED = {"terminated": {"exitCode": 1}}
POD = Identity("", "Pod", "apps", "web-1")
WEB = Identity("apps", "Deployment", "apps", "web")
REPLICA_SET = Identity("apps", "ReplicaSet", "apps", "web-1")
GROUPS = {"Job": "batch/v1", "ReplicaSet": "apps/v1"}


def pod(
    state: dict[str, Any],
    *,
    name: str = "web-1",
    namespace: str = "apps",
    owner: str = "ReplicaSet",
    restarts: int = 0,
    exit_code: int | None = None,
    last: str = "Error",
    phase: str = "Pending",
    unschedulable: str = "",
    **meta: str,
) -> dict[str, Any]:
    """Build a pod of one container."""
    status: dict[str, Any] = {"name": "main", "state": state, "restartCount": restarts, "ready": False}
    if exit_code is not None:
        status["lastState"] = {"terminated": {"exitCode": exit_code, "reason": last}}
    conditions = [{"type": "Ready", "status": "False"}]
    if unschedulable:
        conditions.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        )
    return {
        "metadata": {
            "uid": f"uid-{name}",
            "name": name,
            "namespace": namespace,
            "creationTimestamp": datetime.now(UTC).isoformat(),
            "ownerReferences": [{"apiVersion": GROUPS[owner], "kind": owner, "name": "web", "uid": "uid-owner"}],
            **meta,
        },
        "status": {"phase": phase, "containerStatuses": [status], "conditions": conditions},
    }


def event(reason: str, message: str, *, about: Identity = POD) -> RunEvent:
    """Build a Warning event."""
    return RunEvent(about, "Warning", reason, message, 1, datetime.now(UTC))
