"""What the status says of the last run, and what annotations ask for."""

from managedchart_operator.api.resource import RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.status import AttemptStatus, ManagedChartStatus, Outlook, Phase
from managedchart_operator.reconcile.last_run import LastRun, attempt_requested, last_run_of, requested

LONG = "x" * 200
BEGAN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def annotated(value: str) -> ManagedChart:
    """A ManagedChart as the API server has it."""
    meta = {"namespace": "apps", "name": "web", "uid": "u", "annotations": {RETRY_ANNOTATION: value}}
    return ManagedChart.from_body({"metadata": meta})


def last_run(**fields: object) -> LastRun:
    """The last run by an attempt with these fields."""
    status = ManagedChartStatus(attempt=AttemptStatus.model_validate({"id": "a", "started_at": BEGAN, **fields}))
    return last_run_of(annotated(""), status)


def test_without_a_run_nothing_is_known() -> None:
    nothing = last_run_of(annotated(""), ManagedChartStatus())
    assert (nothing.succeeded, nothing.interrupted, nothing.attempt) == (False, False, None)


def test_a_run_without_end_was_interrupted() -> None:
    stopped = last_run(phase="Exec", failures=2)
    assert (stopped.interrupted, stopped.stopped_in_exec, stopped.succeeded) == (True, True, False)
    assert not last_run(phase="OnDeployFailure").stopped_in_exec


def test_a_stopped_remedy_is_not_an_interrupted_run() -> None:
    """The run has failed, and waits for its time; its remedy is finished until then."""
    rolling_back = last_run(operation="Rollback", failures=1, outlook=Outlook.RETRY, phase="Exec")
    assert (rolling_back.interrupted, rolling_back.ended_at) == (False, None)


def test_a_run_stays_interrupted_while_the_operator_waits() -> None:
    """For another Helm operation that began after the operator was stopped."""
    stopped = last_run(phase="Exec", outlook=Outlook.WAIT)
    assert (stopped.interrupted, stopped.waited) == (True, True)
    assert not last_run(phase="Exec", outlook=Outlook.WAIT, ended_at=ENDED).interrupted


def test_a_run_that_ended_without_failures_succeeded() -> None:
    assert last_run(ended_at=ENDED).succeeded
    assert not last_run(ended_at=ENDED, failures=1, outlook=Outlook.CHANGE).succeeded


def test_a_run_continues_as_long_as_the_api_server_does_not_answer() -> None:
    """Not one that has failed by itself, nor what could not even begin."""
    failed = {"ended_at": ENDED, "failures": 1, "outlook": Outlook.RETRY}
    unanswered = {**failed, "reason": "ApiUnavailable"}
    assert last_run(**unanswered, phase="Validate", operation="Upgrade").was_not_answered
    assert last_run(**unanswered, phase="CheckPrerequisites", operation="Resume").was_not_answered
    assert not last_run(**unanswered, phase="CheckPrerequisites", operation="Upgrade").was_not_answered
    assert not last_run(**unanswered, phase="Pending", operation="Resume").was_not_answered
    assert not last_run(**failed, reason="LifecycleFailed", phase="Validate", operation="Upgrade").was_not_answered


def test_an_older_generation_is_not_current() -> None:
    assert last_run(generation=0).current
    assert not last_run(generation=7).current


def test_a_phase_of_a_newer_operator_is_unknown() -> None:
    assert last_run(phase="Dance").phase is None
    assert last_run(phase="Validate").phase is Phase.VALIDATE


def test_a_long_handled_request_stays_handled() -> None:
    """It kept the value whole, which is now a digest: a new operator must not run anything for that."""
    status = ManagedChartStatus(attempt=AttemptStatus(handled_requests={RETRY_ANNOTATION: LONG}))
    assert not requested(annotated(LONG), status, RETRY_ANNOTATION)
    assert not attempt_requested(annotated(LONG), status)
    assert requested(annotated(LONG + "y"), status, RETRY_ANNOTATION)
