"""A status written before `status.attempt` (by 89ad827) is read and carried over."""

from typing import Any

import pytest

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import EarlierStatus, ManagedChartStatus, Outlook
from managedchart_operator.helm.storage import Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.decide import AwaitingReadiness, Desired, Hold, InSync, Observed, Plan, Run, decide
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.earlier_operators import carry_over
from managedchart_operator.reconcile.last_run import last_run_of
from managedchart_operator.reconcile.ownership import Ownership
from unit.reconcile.fakes import FakeApi, chart, recording_of

BEGAN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"
RELEASE = {"name": "web", "namespace": "apps", "revision": 2, "status": "deployed", "digest": "d1"}


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    """A condition as it was written then."""
    fields = {"observedGeneration": 1, "lastTransitionTime": ENDED, "message": "as it was"}
    return {"type": kind, "status": status, "reason": reason, **fields}


READY: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Ready",
    "conditions": [condition("Ready", "True", "Deployed"), condition("Released", "True", "Deployed")],
    "phases": [{"name": "Exec", "state": "Succeeded", "startedAt": BEGAN, "finishedAt": ENDED}],
    "release": RELEASE,
    "history": [{"revision": 2, "action": "Upgrade", "outcome": "deployed", "digest": "d1", "time": ENDED}],
    "failures": 0,
    "attemptedDigest": "d1",
    "handledRequests": {"managedchart.dev/retry": "1"},
}
FAILURE = {"phase": "Exec", "reason": "ImagePull", "message": "no image", "revision": 3, "time": ENDED, "events": []}
WAITS: dict[str, Any] = {
    **READY,
    "phase": "Failed",
    "conditions": [condition("Ready", "False", "ImagePull"), condition("Reconciling", "True", "RetryScheduled")],
    "lastFailure": FAILURE,
    "failures": 2,
    "nextRetryAt": "2026-01-01T00:05:00Z",
}
STALLED: dict[str, Any] = {
    **WAITS,
    "conditions": [condition("Ready", "False", "ImagePull"), condition("Stalled", "True", "ImagePull")],
    "nextRetryAt": None,
}
KILLED: dict[str, Any] = {
    **READY,
    "phase": "Exec",
    "conditions": [condition("Ready", "True", "Deployed"), condition("Reconciling", "True", "Progressing")],
    "attemptedDigest": "before",
    "release": {**RELEASE, "revision": 1},
}


def carried(status: dict[str, Any]) -> ManagedChartStatus:
    """The status as the present operator has it."""
    return carry_over(ManagedChartStatus.model_validate(status))


def planned(status: dict[str, Any], *revisions: Revision) -> Plan:
    """What is planned for the input `d1` at 00:01."""
    known = chart(status=status)
    last = last_run_of(known, carried(status))
    observed = Observed(Ownership(known.uid), 1_767_225_660.0, revisions, last)
    return decide(Desired(Action.DEPLOY, Digest("d1")), observed)


def revision(number: int, status: str = "deployed", **fields: Any) -> Revision:
    """A revision that was made then."""
    made: dict[str, Any] = {"owner": "uid-web", "attempt": "a", "labelled_for": number, "operator_waits": True}
    return Revision(number, status, f"v{number}", digest="d1", **{**made, **fields})


def test_what_was_ready_stays_in_sync() -> None:
    """An update of the operator deploys nothing."""
    assert planned(READY, revision(2)) == InSync()


def test_a_pending_retry_keeps_its_time() -> None:
    assert planned(WAITS, revision(3, "failed"), revision(2)) == Hold(1_767_225_900.0)


def test_what_was_given_up_stays_given_up() -> None:
    assert planned(STALLED, revision(3, "failed"), revision(2)) == Hold(None)
    assert carried(STALLED).attempt.outlook is Outlook.CHANGE


def test_a_killed_wait_is_resumed() -> None:
    plan = planned(KILLED, revision(2), revision(1, "superseded"))
    assert isinstance(plan, Run)
    assert (plan.operation, plan.awaiting) == (Operation.RESUME, AwaitingReadiness(fail_on_timeout=True))


ATTEMPT = {"id": "word", "operation": "Upgrade", "startedAt": BEGAN}


def test_the_attempt_of_a_killed_run_is_kept() -> None:
    """Its labels are in the revision that it made, and a rollback is finished."""
    last = last_run_of(chart(), carried({**KILLED, "attempt": {**ATTEMPT, "operation": "Rollback"}}))
    assert (last.attempt, last.operation, last.interrupted, last.ended_at) == ("word", "Rollback", True, None)


def test_a_wait_for_another_operation_is_no_interrupted_run() -> None:
    """It was shown as progress too, but the run before it had ended."""
    status = carried({**KILLED, "attempt": {**ATTEMPT, "endedAt": ENDED}})
    last = last_run_of(chart(), status)
    assert (last.interrupted, last.waited, status.attempt.ended_at) == (False, True, ENDED)


def test_the_failed_revision_still_gets_its_remedy() -> None:
    last = last_run_of(chart(), carried(WAITS))
    assert (last.failed_revision, last.reason, last.phase) == (3, "ImagePull", "Exec")


def test_requests_stay_handled() -> None:
    assert carried(READY).attempt.handled_requests == {"managedchart.dev/retry": "1"}


def test_blockers_become_references() -> None:
    status = carried({**READY, "blockedBy": ["v1|ConfigMap|apps|held", "anything", "v1|Namespace||big"]})
    assert [(each.kind, each.namespace, each.name) for each in status.blockers] == [
        ("ConfigMap", "apps", "held"),
        ("Namespace", "", "big"),
    ]


@pytest.mark.parametrize("status", [READY, WAITS, STALLED, KILLED], ids=["ready", "waits", "stalled", "killed"])
async def test_the_next_write_removes_the_earlier_fields(status: dict[str, Any]) -> None:
    api = FakeApi(status)
    recording = recording_of(chart(status=status, generation=2), api)
    recording.recorder.in_sync()
    await recording.recorder.writer.flush()
    earlier = {field.alias for field in EarlierStatus.model_fields.values()}
    assert not earlier & api.status.keys()
    assert api.status["attempt"]["generation"] == 2


def test_a_current_status_is_not_changed() -> None:
    status = ManagedChartStatus.model_validate({"phase": "Ready", "attempt": {"id": "a", "failures": 1}})
    assert carry_over(status) is status


def test_an_empty_status_carries_nothing() -> None:
    """Of a resource that an earlier operator never reconciled: its CRD wrote the default of `failures`."""
    status = carried({"observedGeneration": -1, "phase": "Pending", "failures": 0})
    assert not last_run_of(chart(), status).succeeded
