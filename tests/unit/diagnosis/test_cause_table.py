"""Every row of the cause table is complete, and what others derive from it does not change."""

import re
from typing import Any

import pytest

from managedchart_operator.api_refusals import REFUSED, UNAVAILABLE
from managedchart_operator.diagnosis.causes import (
    CAUSES,
    CauseRow,
    find_cause,
    is_fatal,
    is_fatal_after_grace,
    is_fatal_refusal,
    may_become_ready,
    shows_trouble,
)
from managedchart_operator.diagnosis.evidence import Evidence
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS
from unit.diagnosis.pod_bodies import REPLICA_SET, RUNNING, WAITING_CRASH, WAITING_IMAGE, event, pod

# Evidence that shows each cause that a rule can find: pods, events, and whether the pods are a hook's.
SHOWN: dict[Reason, tuple[list[dict[str, Any]], list[tuple[str, str]], bool]] = {
    Reason.HOOK_FAILED: ([pod({"terminated": {"exitCode": 3}}, owner="Job", phase="Failed")], [], True),
    Reason.IMAGE_PULL: ([pod(WAITING_IMAGE)], [], False),
    Reason.OOM_KILLED: ([pod(WAITING_CRASH, restarts=3, exit_code=137, last="OOMKilled")], [], False),
    Reason.CRASH_LOOP: ([pod(WAITING_CRASH, restarts=3, exit_code=1)], [], False),
    Reason.JOB_BACKOFF_LIMIT: ([pod({"terminated": {"exitCode": 1}}, owner="Job", phase="Failed")], [], False),
    Reason.CONTAINER_CONFIG: ([pod({"waiting": {"reason": "CreateContainerConfigError"}})], [], False),
    Reason.QUOTA_EXCEEDED: ([], [("FailedCreate", "pods is forbidden: exceeded quota: q, requested: pods=1")], False),
    Reason.ADMISSION_REFUSED: ([], [("FailedCreate", 'admission webhook "a" denied the request: no')], False),
    Reason.OBJECT_INVALID: ([], [("FailedCreate", 'Pod "a" is invalid: spec.x: Required value')], False),
    Reason.WEBHOOK_UNAVAILABLE: ([], [("FailedCreate", 'failed calling webhook "a": no endpoints')], False),
    Reason.FORBIDDEN: ([], [("FailedCreate", 'pods is forbidden: User "u" cannot create resource "pods"')], False),
    Reason.NAMESPACE_TERMINATING: ([], [("FailedCreate", "in namespace a because it is being terminated")], False),
    Reason.NAMESPACE_NOT_FOUND: ([], [("FailedCreate", 'namespaces "a" not found')], False),
    Reason.OBJECT_OWNED: ([], [("FailedCreate", 'pods "db-0" already exists')], False),
    Reason.API_UNAVAILABLE: ([], [("FailedCreate", "etcdserver: request timed out")], False),
    Reason.VOLUME_UNBOUND: (
        [pod({"waiting": {}}, unschedulable="pod has unbound immediate PersistentVolumeClaims")],
        [],
        False,
    ),
    Reason.UNSCHEDULABLE: ([pod({"waiting": {}}, unschedulable="0/1 nodes are available")], [], False),
    Reason.READINESS_PROBE: ([pod(RUNNING, phase="Running")], [("Unhealthy", "Readiness probe failed: 503")], False),
}
IDS = [row.reason.value for row in CAUSES]


def evidence_of(reason: Reason) -> Evidence:
    """Return evidence that shows a cause."""
    if reason is Reason.TIMEOUT:
        old = read_pod(pod(RUNNING, phase="Running"))
        return Evidence(not_replaced=[(old, Identity("apps", "StatefulSet", "apps", "web"))])
    bodies, events, hook = SHOWN[reason]
    pods = [read_pod(body) for body in bodies]
    found = [
        event(name, text, about=REPLICA_SET) if name == "FailedCreate" else event(name, text) for name, text in events
    ]
    hook_pods = frozenset(each.uid for each in pods) if hook else frozenset()
    return Evidence(pods, found, hook_pods, frozenset({REPLICA_SET}))


@pytest.mark.parametrize("row", CAUSES, ids=IDS)
def test_every_row_is_complete(row: CauseRow) -> None:
    """A row without a rule is a symptom; a fatal sign of a container is also a sign of trouble."""
    assert [each.reason for each in CAUSES].count(row.reason) == 1
    if row.rule is None:
        assert row.is_symptom
        assert (row.sign, row.fatal, row.fatal_after_grace) == (None, None, None)
        return
    evidence = evidence_of(row.reason)
    cause = row.rule(evidence)
    assert cause
    assert cause.reason is row.reason
    assert cause.hint
    containers = [container for each in evidence.pods for container in each.containers]
    if row.sign:
        assert any(map(row.sign, containers))
    if fatal := row.fatal or row.fatal_after_grace:
        assert row.sign
        assert any(map(fatal, containers))
        assert all(row.sign(container) for container in containers if fatal(container))
    assert ("cannot create its pods" in cause.message) is is_fatal_refusal(row.reason)


@pytest.mark.parametrize("reason", [*SHOWN, Reason.TIMEOUT], ids=str)
def test_the_evidence_of_a_cause_finds_that_cause(reason: Reason) -> None:
    cause = find_cause(evidence_of(reason))
    assert cause
    assert cause.reason is reason


@pytest.mark.parametrize("reason", [*SHOWN, Reason.TIMEOUT], ids=str)
def test_a_hint_has_no_placeholder(reason: Reason) -> None:
    cause = find_cause(evidence_of(reason))
    assert cause
    words = set(re.findall(r"\b[A-Z]{3,}\b", cause.hint or ""))
    assert words <= {"API", "README"}
    assert "{" not in (cause.hint or "")


def test_every_refusal_of_a_pod_has_a_row() -> None:
    """Only a change of an object can meet the other two."""
    reasons = {row.reason for row in (*REFUSED, *UNAVAILABLE)} - {Reason.IMMUTABLE_FIELD, Reason.FIELD_CONFLICT}
    assert {reason for reason in Reason if is_fatal_refusal(reason)} == reasons


def test_the_workload_reasons_do_not_change() -> None:
    """Retries and rollbacks follow from them: one that is lost would be retried without end after a rollback."""
    assert {
        Reason.IMAGE_PULL,
        Reason.CRASH_LOOP,
        Reason.OOM_KILLED,
        Reason.UNSCHEDULABLE,
        Reason.CONTAINER_CONFIG,
        Reason.READINESS_PROBE,
        Reason.VOLUME_UNBOUND,
        Reason.JOB_BACKOFF_LIMIT,
        Reason.HOOK_FAILED,
        Reason.HOOK_TIMEOUT,
        Reason.TIMEOUT,
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_REFUSED,
        Reason.OBJECT_INVALID,
    } == WORKLOAD_REASONS


def test_the_evidence_replaces_only_symptoms() -> None:
    assert {row.reason for row in CAUSES if row.is_symptom} == {
        Reason.TIMEOUT,
        Reason.HOOK_FAILED,
        Reason.HOOK_TIMEOUT,
        Reason.JOB_BACKOFF_LIMIT,
        Reason.HELM_FAILED,
    }


@pytest.mark.parametrize(
    ("body", "trouble", "fatal", "coming"),
    [
        (pod(WAITING_IMAGE), True, True, False),
        (pod(WAITING_CRASH, restarts=2, exit_code=1), True, False, False),
        (pod(WAITING_CRASH, restarts=3, exit_code=1), True, True, False),
        (pod(RUNNING, restarts=3, exit_code=1, phase="Running"), True, False, True),
        (pod({"waiting": {"reason": "CreateContainerConfigError"}}), True, False, False),
        (pod({"waiting": {"reason": "ContainerCreating"}}), False, False, True),
        (pod(RUNNING, phase="Running"), False, False, True),
    ],
    ids=["image", "two restarts", "three restarts", "runs again", "config", "is created", "runs"],
)
def test_a_container_shows_its_causes(body: dict[str, Any], *, trouble: bool, fatal: bool, coming: bool) -> None:
    found = read_pod(body)
    [container] = found.containers
    assert shows_trouble(container) is trouble
    assert (is_fatal(container) or is_fatal_after_grace(container)) is fatal
    assert may_become_ready(found) is coming
