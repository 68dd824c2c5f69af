"""A refused pod counts only while it is still refused."""

from itertools import permutations
from typing import Any

import pytest

from managedchart_operator.diagnosis.refusals import Creations, lacks_pods


def event(reason: str, version: int, *, controller: str = "rs") -> dict[str, Any]:
    """An event about a controller."""
    return {
        "metadata": {"uid": f"e{version}", "resourceVersion": str(version)},
        "type": "Warning" if reason.startswith("Failed") else "Normal",
        "reason": reason,
        "involvedObject": {"uid": controller},
    }


@pytest.mark.parametrize(
    ("events", "refused"),
    [
        ([event("FailedCreate", 1)], ["rs"]),
        ([event("FailedCreate", 9), event("SuccessfulCreate", 10)], []),
        ([event("SuccessfulCreate", 9), event("FailedCreate", 10)], ["rs"]),
        ([event("FailedCreate", 1), event("SuccessfulCreate", 2), event("FailedCreate", 3)], ["rs"]),
        ([event("FailedCreate", 1), event("SuccessfulCreate", 2, controller="other")], ["rs"]),
        ([event("FailedScheduling", 1), event("SuccessfulDelete", 2)], []),
    ],
)
def test_a_creation_that_succeeds_ends_the_refusal(events: list[dict[str, Any]], refused: list[str]) -> None:
    """In whatever order a list has the events: their times are in whole seconds, their versions grow."""
    for ordered in permutations(events):
        assert list(Creations.of(ordered).refused) == refused


def test_the_newest_refusal_is_kept() -> None:
    creations = Creations.of([event("FailedCreate", 5), event("FailedCreate", 7), event("FailedCreate", 6)])
    assert creations.refused["rs"].version == 7


def test_a_repeated_refusal_is_not_new() -> None:
    """The watch was lost; since when it is known decides whether something has happened after it."""
    creations = Creations.of([event("FailedCreate", 5)])
    known = creations.refused["rs"]
    assert not creations.see(event("FailedCreate", 5))
    assert creations.refused["rs"] is known


def test_a_dropped_event_drops_its_refusal() -> None:
    """But not the one of a newer event."""
    old, new = event("FailedCreate", 1), event("FailedCreate", 2)
    creations = Creations.of([old, new])
    creations.forget(old)
    assert list(creations.refused) == ["rs"]
    creations.forget(new)
    assert not creations.refused


REPLICA_SET, STATEFUL_SET = ("apps", "ReplicaSet"), ("apps", "StatefulSet")
DAEMON_SET, JOB = ("apps", "DaemonSet"), ("batch", "Job")
SURGE = {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": 1}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "lacks"),
    [
        (REPLICA_SET, {"replicas": 2}, {}, True),
        (REPLICA_SET, {"replicas": 2}, {"replicas": 1}, True),
        (REPLICA_SET, {"replicas": 2}, {"replicas": 2}, False),
        (REPLICA_SET, {"replicas": 0}, {}, False),
        (REPLICA_SET, {}, {}, True),
        (("", "ReplicationController"), {"replicas": 1}, {}, True),
        (STATEFUL_SET, {"replicas": 3}, {}, True),
        (STATEFUL_SET, {"replicas": 3}, {"replicas": 1, "readyReplicas": 1}, True),
        (STATEFUL_SET, {"replicas": 3}, {"replicas": 1}, False),
        (STATEFUL_SET, {"replicas": 3, "podManagementPolicy": "Parallel"}, {"replicas": 1}, True),
        (STATEFUL_SET, {"replicas": 3}, {"replicas": 3, "readyReplicas": 3}, False),
        (DAEMON_SET, {}, {"desiredNumberScheduled": 2, "currentNumberScheduled": 1}, True),
        (DAEMON_SET, {}, {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2}, False),
        (DAEMON_SET, {}, SURGE, True),
        (DAEMON_SET, {"updateStrategy": {"type": "OnDelete"}}, SURGE, False),
        (JOB, {"parallelism": 1, "completions": 1}, {}, True),
        (JOB, {"parallelism": 1, "completions": 1}, {"active": 1}, False),
        (JOB, {"parallelism": 2, "completions": 5}, {"active": 1, "succeeded": 1}, True),
        (JOB, {"parallelism": 2, "completions": 5}, {"active": 1, "succeeded": 4}, False),
        (JOB, {"parallelism": 2}, {"active": 1}, True),
        (JOB, {"parallelism": 2}, {"active": 1, "succeeded": 1}, False),
        (JOB, {"suspend": True}, {}, False),
        (JOB, {}, {"conditions": [{"type": "Failed", "status": "True"}]}, False),
        (("batch", "CronJob"), {}, {}, False),
        (("example.com", "ReplicaSet"), {"replicas": 2}, {}, False),
    ],
)
def test_a_controller_lacks_pods(
    kind: tuple[str, str], spec: dict[str, Any], status: dict[str, Any], *, lacks: bool
) -> None:
    """By its live object. A Job's status does not say which generation it is about."""
    seen = {} if kind == JOB else {"observedGeneration": 2}
    assert lacks_pods(kind, {"metadata": {"generation": 2}, "spec": spec, "status": {**seen, **status}}) is lacks


@pytest.mark.parametrize(
    "controller", [None, {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": 1}}]
)
def test_an_unknown_controller_lacks_no_pods(controller: dict[str, Any] | None) -> None:
    """The status is still about the former spec."""
    assert not lacks_pods(REPLICA_SET, controller)
