"""Readiness as in helm's own wait: kstatus for each kind that it knows, and for any other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.kube.discovery import group_of
from managedchart_operator.waiting.kstatus import State, job_result, needs_waiting, readiness

CURRENT, WAITING, FAILED = State.CURRENT, State.IN_PROGRESS, State.FAILED
APPS, CRD = "apps/v1", "apiextensions.k8s.io/v1"


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


AVAILABLE = condition("Available", "True")
ROLLED_OUT = condition("Progressing", "True", "NewReplicaSetAvailable")
DEADLINE = {"replicas": 2, "progressDeadlineSeconds": 600}


def counts(total: int = 2, **others: Any) -> dict[str, Any]:
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "currentReplicas")
    return {**dict.fromkeys(names, total), **others}


def daemons(**others: Any) -> dict[str, Any]:
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberReady",
    )
    return {"observedGeneration": 1, **dict.fromkeys(names, 2), **others}


ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


# apiVersion, kind, spec, status, what it is, and a part of the message
TABLE = [
    (APPS, "Deployment", DEADLINE, counts(conditions=[AVAILABLE, ROLLED_OUT]), CURRENT, "available. Replicas: 2"),
    (APPS, "Deployment", {"replicas": 0}, {"conditions": [AVAILABLE]}, CURRENT, "Replicas: 0"),
    (APPS, "Deployment", {}, {}, WAITING, "Replicas: 0/1"),
    (APPS, "Deployment", DEADLINE, counts(updatedReplicas=1), WAITING, "Updated: 1/2"),
    (APPS, "Deployment", DEADLINE, counts(replicas=3), WAITING, "Pending termination: 1"),
    (APPS, "Deployment", DEADLINE, counts(availableReplicas=0), WAITING, "Available: 0/2"),
    (APPS, "Deployment", DEADLINE, counts(readyReplicas=1), WAITING, "Ready: 1/2"),
    (APPS, "Deployment", DEADLINE, counts(conditions=[AVAILABLE]), WAITING, "ReplicaSet not Available"),
    (APPS, "Deployment", DEADLINE, counts(conditions=[ROLLED_OUT]), WAITING, "Deployment not Available"),
    (
        APPS,
        "Deployment",
        DEADLINE,
        counts(conditions=[condition("Progressing", "False", "ProgressDeadlineExceeded")]),
        FAILED,
        "Progress deadline exceeded",
    ),
    (APPS, "StatefulSet", {"replicas": 2}, counts(), CURRENT, "as expected. Replicas: 2"),
    (APPS, "StatefulSet", {"replicas": 2}, counts(1), WAITING, "Replicas: 1/2"),
    (APPS, "StatefulSet", {"replicas": 2}, counts(readyReplicas=0), WAITING, "Ready: 0/2"),
    (APPS, "StatefulSet", {"replicas": 2}, counts(3), WAITING, "Pending termination: 1"),
    (APPS, "StatefulSet", {"replicas": 2}, counts(currentReplicas=1), WAITING, "current: 1/2"),
    (
        APPS,
        "StatefulSet",
        {"replicas": 2},
        counts(currentRevision="a", updateRevision="b"),
        WAITING,
        "updated revision",
    ),
    (APPS, "StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, {}, CURRENT, "ondelete"),
    (
        APPS,
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        counts(updatedReplicas=0),
        WAITING,
        "updated: 0/1",
    ),
    (
        APPS,
        "StatefulSet",
        {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
        counts(updatedReplicas=1),
        CURRENT,
        "Partition rollout complete",
    ),
    (APPS, "DaemonSet", {}, daemons(), CURRENT, "as expected. Replicas: 2"),
    (APPS, "DaemonSet", {}, {}, WAITING, "observedGeneration not found"),
    (APPS, "DaemonSet", {}, {"observedGeneration": 1}, WAITING, "Missing .status.desiredNumberScheduled"),
    (APPS, "DaemonSet", {}, daemons(currentNumberScheduled=1), WAITING, "Current: 1/2"),
    (APPS, "DaemonSet", {}, daemons(updatedNumberScheduled=1), WAITING, "Updated: 1/2"),
    (APPS, "DaemonSet", {}, daemons(numberAvailable=1), WAITING, "Available: 1/2"),
    (APPS, "DaemonSet", {}, daemons(numberReady=1), WAITING, "Ready: 1/2"),
    (APPS, "ReplicaSet", {"replicas": 2}, counts(fullyLabeledReplicas=2), CURRENT, "available. Replicas: 2"),
    (APPS, "ReplicaSet", {"replicas": 2}, counts(), WAITING, "Labelled: 0/2"),
    (APPS, "ReplicaSet", {"replicas": 2}, counts(3, fullyLabeledReplicas=3), WAITING, "Pending termination: 1"),
    (APPS, "ReplicaSet", {}, {"conditions": [condition("ReplicaFailure", "True")]}, WAITING, "Replica Failure"),
    ("batch/v1", "Job", {}, {"active": 1, "startTime": "2026-01-01T00:00:00Z"}, WAITING, "Job in progress"),
    ("batch/v1", "Job", {}, {"succeeded": 1, "conditions": [condition("Complete", "True")]}, CURRENT, "succeeded: 1/1"),
    (
        "batch/v1",
        "Job",
        {"parallelism": 3},
        {"failed": 2, "conditions": [condition("Failed", "True")]},
        FAILED,
        "failed: 2/3",
    ),
    ("v1", "Pod", {}, {}, WAITING, "phase not available"),
    ("v1", "Pod", {}, {"phase": "Pending"}, WAITING, "Pending phase"),
    ("v1", "Pod", {}, {"phase": "Succeeded"}, CURRENT, "completed successfully"),
    ("v1", "Pod", {}, {"phase": "Failed"}, CURRENT, "not successfully"),
    ("v1", "Pod", {}, {"phase": "Running"}, WAITING, "not Ready"),
    ("v1", "Pod", {}, {"phase": "Running", "conditions": [condition("Ready", "True")]}, CURRENT, "Pod is Ready"),
    (
        "v1",
        "Pod",
        {},
        {
            "phase": "Running",
            "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
        },
        FAILED,
        "CrashLoop state: a",
    ),
    ("v1", "PersistentVolumeClaim", {}, {"phase": "Pending"}, WAITING, "not Bound. phase: Pending"),
    ("v1", "PersistentVolumeClaim", {}, {"phase": "Bound"}, CURRENT, "Bound"),
    ("v1", "Service", {"type": "LoadBalancer"}, {}, WAITING, "ClusterIP not set"),
    ("v1", "Service", {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}, {}, CURRENT, "ready"),
    (CRD, "CustomResourceDefinition", {}, {}, WAITING, "Install in progress"),
    (CRD, "CustomResourceDefinition", {}, {"conditions": [condition("Established", "True")]}, CURRENT, "established"),
    (
        CRD,
        "CustomResourceDefinition",
        {},
        {"conditions": [condition("Established", "False", "Installing")]},
        WAITING,
        "in progress",
    ),
    (
        CRD,
        "CustomResourceDefinition",
        {},
        {"conditions": [condition("NamesAccepted", "False", "Conflict", "taken")]},
        FAILED,
        "taken",
    ),
    ("policy/v1", "PodDisruptionBudget", {}, {"observedGeneration": 1}, CURRENT, "computed"),
    ("example.com/v1", "Thing", {}, {}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"conditions": [condition("Ready", "False", "No", "not yet")]}, WAITING, "not yet"),
    ("example.com/v1", "Thing", {}, {"conditions": [condition("Ready", "Unknown", "No", "eh")]}, WAITING, "eh"),
    ("example.com/v1", "Thing", {}, {"conditions": [condition("Ready", "True")]}, CURRENT, "current"),
    (APPS, "Deployment", {"paused": True}, counts(updatedReplicas=0), CURRENT, "paused"),
    (APPS, "Deployment", {"paused": False}, counts(updatedReplicas=0), WAITING, "Updated: 0/1"),
    (
        APPS,
        "Deployment",
        {"paused": True},
        counts(conditions=[condition("Progressing", "False", "ProgressDeadlineExceeded")]),
        CURRENT,
        "paused",
    ),
    (APPS, "DaemonSet", ON_DELETE, daemons(updatedNumberScheduled=0), CURRENT, "as expected. Replicas: 2"),
    (APPS, "DaemonSet", ON_DELETE, daemons(numberReady=1), WAITING, "Ready: 1/2"),
    (APPS, "DaemonSet", {}, daemons(observedGeneration={}), WAITING, "observedGeneration not found"),
    ("batch/v1", "Job", {"suspend": True}, {"conditions": [condition("Suspended", "True")]}, CURRENT, "suspended"),
    ("batch/v1", "Job", {"suspend": True}, {"conditions": [condition("Failed", "True")]}, FAILED, "Job Failed"),
    ("batch/v1", "Job", {"suspend": False}, {"active": 1}, WAITING, "Job in progress"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": 0}, WAITING, "latest observed generation is 0"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": "1"}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": "0"}, WAITING, "latest observed generation is 0"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": 1.0}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": "v7"}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": ""}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": True}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": [7]}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"observedGeneration": {"a": 7}}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"conditions": [{"type": "Ready", "status": True}]}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"conditions": [{"type": "Ready", "status": False}]}, WAITING, ""),
    ("example.com/v1", "Thing", {}, {"conditions": [condition("Ready", "Unknown", "R", "why")]}, WAITING, "why"),
    ("example.com/v1", "Thing", {}, {"conditions": [{"type": "Ready", "status": ["False"]}]}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"conditions": [{"type": "Ready"}]}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"conditions": [{"type": "Stalled", "status": True}]}, FAILED, ""),
    ("example.com/v1", "Thing", {}, {"conditions": {"type": "Ready", "status": "False"}}, CURRENT, "current"),
    ("example.com/v1", "Thing", {}, {"conditions": [{"type": ["Ready"], "status": "False"}, 7]}, CURRENT, "current"),
    (APPS, "Deployment", {"replicas": "2"}, {"replicas": "1"}, WAITING, "Replicas: 1/2"),
    (APPS, "Deployment", {"replicas": True}, {"replicas": [1]}, WAITING, "Replicas: 0/1"),
    ("example.com/v1", "Thing", {}, {"conditions": [condition("Reconciling", "True", "R", "busy")]}, WAITING, "busy"),
    ("example.com/v1", "Thing", {}, {"conditions": [condition("Stalled", "True", "S", "stuck")]}, FAILED, "stuck"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[1]}-{row[4]}")
def test_each_kind_has_its_rule(row: tuple[str, str, dict[str, Any], dict[str, Any], State, str]) -> None:
    api_version, kind, spec, status, state, message = row
    body = {"metadata": {"name": "a", "generation": 1}, "spec": spec, "status": status}
    found = readiness(body, (group_of(api_version), kind))
    assert (found.state, message in found.message) == (state, True), found


def test_a_status_of_an_older_generation_is_ignored() -> None:
    """Right after an upgrade a Deployment still has the status of the old generation."""
    status = counts(observedGeneration=1, conditions=[AVAILABLE, ROLLED_OUT])
    body = {"metadata": {"generation": 2}, "spec": DEADLINE, "status": status}
    assert readiness(body, ("apps", "Deployment")).state is WAITING


def test_an_object_being_deleted_is_not_ready() -> None:
    body = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert readiness(body, ("", "Service")).state is State.TERMINATING


@pytest.mark.parametrize(("verdict", "state"), [("Complete", CURRENT), ("Failed", FAILED)])
def test_a_finished_job_stays_finished_while_deleted(verdict: str, state: State) -> None:
    """Its TTL deletes it in the foreground: for a moment it is both finished and terminating."""
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "generation": 2}
    body = {"metadata": meta, "status": {"conditions": [condition(verdict, "True")], "observedGeneration": 1}}
    assert readiness(body, ("batch", "Job")).state is state
    ended = job_result(body, ("batch", "Job"))
    assert ended is not None
    assert ended.state is state
    assert job_result({"status": {}}, ("batch", "Job")) is None
    assert job_result(body, ("example.com", "Job")) is None


@given(
    kind=st.sampled_from([(row[0], row[1]) for row in TABLE]),
    parts=st.dictionaries(
        st.sampled_from(["metadata", "spec", "status"]),
        st.dictionaries(
            st.sampled_from(
                [
                    "conditions",
                    "phase",
                    "replicas",
                    "updateStrategy",
                    "containerStatuses",
                    "generation",
                    "observedGeneration",
                ]
            ),
            st.recursive(
                st.none() | st.integers() | st.booleans() | st.floats() | st.text(max_size=3),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["type", "status", "reason", "state", "name"]), inner)
                ),
                max_leaves=6,
            ),
        )
        | st.none()
        | st.text(max_size=2),
    ),
)
def test_a_status_of_any_form_is_read(kind: tuple[str, str], parts: dict[str, Any]) -> None:
    """Any controller may write it, and it must not end the operator."""
    readiness(parts, (group_of(kind[0]), kind[1]))


@pytest.mark.parametrize(
    ("body", "waits"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap"}, False),
        ({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}, False),
        ({"apiVersion": "v1", "kind": "Service", "spec": {"type": "ClusterIP"}}, False),
        ({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"}}, True),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}}, True),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"paused": True}}, False),
        ({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": True}}, False),
        ({"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": False}}, True),
        ({"apiVersion": "batch/v1", "kind": "Job", "spec": ["suspend"]}, True),
        ({"apiVersion": "example.com/v1", "kind": "ConfigMap"}, True),
    ],
)
def test_only_some_objects_need_waiting(body: dict[str, Any], *, waits: bool) -> None:
    assert needs_waiting(body) is waits
