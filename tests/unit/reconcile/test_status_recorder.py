"""What a run writes into the status while it runs, and at its end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from managedchart_operator.api.resource import RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Outlook, Phase, ReleaseStatus
from managedchart_operator.diagnosis.causes import Cause
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.errors import HelmError, OperatorError, UninstallBlockedError, ValuesError
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Desired, Hold, Observed, Plan, Run, Wait, decide
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.last_run import last_run_of
from managedchart_operator.reconcile.lifecycle_runs import post_warnings
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.resource_pass import Recording
from managedchart_operator.reconcile.retries import RetryPlan
from managedchart_operator.reconcile.status_recorder import MESSAGE_LENGTH
from managedchart_operator.times import write_time
from unit.reconcile.fakes import FakeApi, FakeEvents, FakeTelemetry, chart, recording_of

NOW = datetime.now(UTC)
RELEASE = ReleaseStatus(name="web", namespace="apps", revision=1, status="deployed", chart="web", chart_version="1.2.3")
REFUSED = ValuesError("values do not fit", reason=Reason.VALUES_INVALID)
TIMEOUT = HelmError(
    "Pods do not become ready",
    reason=Reason.TIMEOUT,
    transient=True,
    text="context deadline exceeded",
    hint="Look at them.",
)
DEPLOYED = "web is deployed"
WAIT = Wait(NOW.timestamp() + 60, "Another Helm operation is in progress")


def begin(recording: Recording, operation: Operation, *, attempt: str = "one", failures: int = 0) -> None:
    """A run begins."""
    plan = Run(operation, "it begins")
    recording.recorder.begin(attempt, plan, digest=Digest("d1"), failures=failures)
    recording.phases.operation, recording.phases.released = plan.operation, plan.released


def succeed(recording: Recording) -> None:
    recording.recorder.status.release = RELEASE
    recording.recorder.succeeded(Phase.READY, Reason.DEPLOYED, DEPLOYED, digest="d1", deployed=True)


def fail(
    recording: Recording,
    error: OperatorError = TIMEOUT,
    *,
    retry_at: datetime | None = NOW,
    release: ReleaseStatus | None = None,
    **fields: Any,
) -> bool:
    """The run fails; without `retry_at` it was given up."""
    failures = recording.recorder.status.attempt.failures + 1
    outlook = Outlook.CHANGE if retry_at is None else Outlook.RETRY
    plan = RetryPlan(outlook, failures, 5, retry_at, gave_up=retry_at is None)
    recording.recorder.status.release = release
    return recording.recorder.failed(replace(recording.phases.failure(error, digest="d1"), **fields), plan)


async def written(recording: Recording, api: FakeApi) -> dict[str, Any]:
    await recording.recorder.writer.flush()
    return api.status


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {item["type"]: item["status"] for item in status["conditions"]}


async def next_run(recording: Recording, api: FakeApi, **fields: Any) -> Recording:
    """The recording of the next run, which knows what the API server knows, and nothing else."""
    return recording_of(chart(status=await written(recording, api), **fields), api)


# ---- phases


async def test_phases_are_recorded_in_order_with_times() -> None:
    api, telemetry = FakeApi(), FakeTelemetry()
    recording = recording_of(chart(), api, telemetry)
    begin(recording, Operation.INSTALL)
    for phase in (Phase.CHECK_PREREQUISITES, Phase.EXEC):
        recording.phases.phase_started(phase)
        recording.phases.phase_ended(phase)
    recording.phases.phase_started(Phase.VALIDATE)
    status = await written(recording, api)
    assert [(item["name"], item["state"]) for item in status["phases"]] == [
        ("CheckPrerequisites", "Succeeded"),
        ("Exec", "Succeeded"),
        ("Validate", "Running"),
    ]
    assert status["phase"] == status["attempt"]["phase"] == "Validate"
    assert all(item["startedAt"].endswith("Z") for item in status["phases"])
    assert status["phases"][0]["durationSeconds"] >= 0
    assert "finishedAt" not in status["phases"][2]
    assert telemetry.phases == [("CheckPrerequisites", True), ("Exec", True)]


async def test_the_first_failed_phase_counts() -> None:
    """on_deploy_failure may fail too; that is not why the run failed."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    begin(recording, Operation.INSTALL)
    for phase in (Phase.EXEC, Phase.ON_DEPLOY_FAILURE):
        recording.phases.phase_started(phase)
        recording.phases.phase_ended(phase, error=TIMEOUT)
    fail(recording)
    status = await written(recording, api)
    assert status["lastFailure"]["phase"] == status["attempt"]["phase"] == "Exec"
    assert [item["message"] for item in status["phases"]] == [TIMEOUT.message] * 2


async def test_a_new_run_clears_the_phases() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    recording.phases.phase_started(Phase.EXEC)
    recording.phases.phase_ended(Phase.EXEC, error=TIMEOUT)
    fail(recording)
    again = await next_run(recording, api)
    begin(again, Operation.UPGRADE, attempt="two", failures=1)
    status = await written(again, api)
    assert status["phases"] == []
    assert "nextRetryAt" not in status["attempt"]
    assert (status["attempt"]["id"], status["attempt"]["failures"]) == ("two", 1)


# ---- the end


async def test_a_success_clears_what_failed_before() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, revision=1)
    again = await next_run(recording, api, generation=2)
    succeed(again)
    status = await written(again, api)
    attempt = status["attempt"]
    assert "lastFailure" not in status
    assert not {"nextRetryAt", "outlook", "reason", "failedRevision"} & attempt.keys()
    assert (attempt["failures"], attempt["digest"], attempt["generation"]) == (0, "d1", 2)
    assert (attempt["revision"], attempt["proven"]) == (1, True)
    assert status["observedGeneration"] == 2
    assert status["release"]["revision"] == 1
    assert conditions(status) == {"Ready": "True", "Released": "True"}


async def test_a_failure_has_all_its_details() -> None:
    api, telemetry = FakeApi(), FakeTelemetry()
    recording = recording_of(chart(), api, telemetry)
    recording.phases.phase_started(Phase.EXEC)
    recording.phases.phase_ended(Phase.EXEC, error=TIMEOUT)
    fail(recording, revision=4)
    status = await written(recording, api)
    failure = status["lastFailure"]
    assert failure.pop("time").endswith("Z")
    assert failure == {
        "phase": "Exec",
        "reason": "Timeout",
        "message": TIMEOUT.message,
        "helmError": "context deadline exceeded",
        "hint": "Look at them.",
        "revision": 4,
        "events": [],
        "containers": [],
    }
    assert (status["attempt"]["failedRevision"], status["attempt"]["reason"]) == (4, "Timeout")
    assert telemetry.failures == [("Timeout", "Exec")]


async def test_the_root_cause_names_its_object() -> None:
    """Not in the namespace of the release, if the chart puts it elsewhere."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    pod = Identity("", "Pod", "kube-system", "agent-1")
    recording.phases.evidence(Findings(cause=Cause(Reason.TIMEOUT, "it is not ready", pod, "main")))
    fail(recording)
    failure = (await written(recording, api))["lastFailure"]
    assert failure["rootCause"] == {"kind": "Pod", "namespace": "kube-system", "name": "agent-1", "container": "main"}


async def test_an_error_before_any_phase_belongs_to_pending() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, REFUSED, retry_at=None, digest=None)
    status = await written(recording, api)
    assert status["lastFailure"]["phase"] == "Pending"
    assert "helmError" not in status["lastFailure"]
    assert "digest" not in status["attempt"]
    assert conditions(status) == {"Ready": "False", "Stalled": "True", "Released": "False"}


async def test_failures_are_counted_and_retries_announced() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, retry_at=NOW)
    again = await next_run(recording, api)
    later = NOW + timedelta(minutes=1)
    fail(again, retry_at=later)
    status = await written(again, api)
    assert (status["attempt"]["failures"], status["attempt"]["nextRetryAt"]) == (2, write_time(later))
    [message] = [item["message"] for item in status["conditions"] if item["type"] == "Reconciling"]
    assert message == f"Attempt 2 failed; retrying at {write_time(later)}"


async def test_blockers_are_references_to_objects() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, UninstallBlockedError("held", objects=[("v1", "ConfigMap", "held", "apps")], text="", hint=""))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "apps", "name": "held"}
    assert (await written(recording, api))["blockers"] == [reference]


@pytest.mark.parametrize("end", [succeed, fail])
async def test_every_end_handles_the_requests(end: Any) -> None:
    """One token is one attempt."""
    api = FakeApi()
    recording = recording_of(chart(requests={RETRY_ANNOTATION: "1"}), api)
    end(recording)
    assert (await written(recording, api))["attempt"]["handledRequests"] == {RETRY_ANNOTATION: "1"}


async def test_a_failure_is_reported_once_and_at_the_end() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    assert fail(recording)
    again = await next_run(recording, api)
    assert not fail(again)
    last = await next_run(again, api)
    assert fail(last, retry_at=None)
    other = await next_run(last, api)
    assert fail(other, REFUSED)


async def test_a_remedy_is_described_before_what_follows() -> None:
    """Also by a restarted operator, which finds it in the status; a later try replaces the sentence."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, retry_at=NOW, revision=2)
    again = await next_run(recording, api)
    await again.recorder.remedy_begins("Rollback")
    assert "endedAt" not in api.status["attempt"]
    for outcome in ("The rollback failed: no answer", "Rolled back to revision 1"):
        await again.recorder.remedied(outcome, limit=5, release=RELEASE)
        [message] = [item["message"] for item in api.status["conditions"] if item["type"] == "Reconciling"]
        assert message == f"{outcome}. Attempt 1 failed; retrying at {write_time(NOW)}"
    assert api.status["attempt"]["endedAt"]
    assert (api.status["attempt"]["revision"], api.status["attempt"]["failedRevision"]) == (1, 2)


# ---- the release, as the status has it


def passes(recording: Recording, operation: Operation, *phases: Phase) -> None:
    """The run begins, and these phases pass."""
    begin(recording, operation)
    for phase in phases:
        recording.phases.phase_started(phase)
        recording.phases.phase_ended(phase)


@pytest.mark.parametrize("operation", [Operation.INSTALL, Operation.UPGRADE, Operation.RESUME])
async def test_released_is_true_despite_a_failed_validation(
    operation: Operation,
) -> None:
    """It once stayed False, from a failure before, as long as the validation failed."""
    api = FakeApi()
    first = recording_of(chart(), api)
    fail(first)
    second = await next_run(first, api)
    passes(second, operation, Phase.EXEC)
    assert conditions(await written(second, api))["Released"] == "True"
    second.phases.phase_started(Phase.VALIDATE)
    second.phases.phase_ended(Phase.VALIDATE, error=TIMEOUT)
    fail(second, release=RELEASE)
    status = await written(second, api)
    found = {"Ready": "False", "Reconciling": "True", "Released": "True", "Validated": "False"}
    assert conditions(status) == found
    assert status["attempt"]["proven"]
    [released] = [item for item in status["conditions"] if item["type"] == "Released"]
    assert released["reason"] == "Deployed"
    assert TIMEOUT.message not in released["message"]


async def after_success(operation: Operation) -> tuple[Recording, FakeApi]:
    """A run that begins after one that has deployed revision 1."""
    api = FakeApi()
    first = recording_of(chart(), api)
    succeed(first)
    second = await next_run(first, api)
    begin(second, operation)
    return second, api


async def test_released_stays_true_after_a_failed_resume() -> None:
    second, api = await after_success(Operation.RESUME)
    second.phases.phase_started(Phase.CHECK_PREREQUISITES)
    second.phases.phase_ended(Phase.CHECK_PREREQUISITES, error=TIMEOUT)
    fail(second)
    assert conditions(await written(second, api))["Released"] == "True"


async def test_a_run_that_deployed_nothing_proves_nothing() -> None:
    """Its objects may have become unready since the run that saw them ready."""
    second, api = await after_success(Operation.UPGRADE)
    assert (await written(second, api))["attempt"]["proven"], "until the run has ended"
    fail(second, REFUSED, release=RELEASE)
    assert not (await written(second, api))["attempt"]["proven"]


async def test_an_install_starts_without_proof() -> None:
    """The revision of an earlier release of this name may have the same number."""
    second, api = await after_success(Operation.INSTALL)
    attempt = (await written(second, api))["attempt"]
    assert not attempt["proven"]
    assert "revision" not in attempt


@pytest.mark.parametrize("operation", [Operation.UNINSTALL, Operation.SKIP, Operation.DRY_RUN])
async def test_released_is_missing_without_a_deployment(operation: Operation) -> None:
    """Neither while exec has passed nor after something that follows it has failed."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    passes(recording, operation, Phase.EXEC)
    assert "Released" not in conditions(await written(recording, api))
    fail(recording)
    assert "Released" not in conditions(await written(recording, api))


async def test_waiting_keeps_the_last_result() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    succeed(recording)
    waiting = await next_run(recording, api, generation=2)
    waiting.recorder.waiting(WAIT)
    status = await written(waiting, api)
    assert (status["phase"], status["attempt"]["outlook"]) == ("Ready", "Wait")
    assert status["attempt"]["generation"] == status["observedGeneration"] == 2
    assert status["attempt"]["nextRetryAt"] == write_time(NOW + timedelta(minutes=1))
    assert conditions(status) == {"Ready": "True", "Reconciling": "True", "Released": "True"}


@pytest.mark.parametrize("deleted", [False, True])
async def test_in_sync_after_waiting_is_ready(*, deleted: bool) -> None:
    """The helm of somebody else may end as if nothing had been."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    succeed(recording)
    waiting = await next_run(recording, api)
    waiting.recorder.waiting(replace(WAIT, deleted=deleted))
    again = await next_run(waiting, api, generation=2)
    again.recorder.in_sync()
    status = await written(again, api)
    assert not {"nextRetryAt", "outlook"} & status["attempt"].keys()
    assert conditions(status)["Ready"] == "True"
    assert "Reconciling" not in conditions(status)
    assert {item["observedGeneration"] for item in status["conditions"]} == {2}
    [ready] = [item["message"] for item in status["conditions"] if item["type"] == "Ready"]
    assert ready == ("web 1.2.3 is deployed as revision 1" if deleted else DEPLOYED)


# ---- killed in between


def planned(resource: ManagedChart, recording: Recording, *, started: datetime | None = None) -> Plan:
    """What is planned for the same input after a restart."""
    last = last_run_of(resource, recording.recorder.status, started=started)
    moment = datetime.now(UTC) + timedelta(minutes=1)
    return decide(
        Desired(Action.DEPLOY, Digest("d1")), Observed(Ownership(resource.uid), moment.timestamp(), last=last)
    )


async def test_a_killed_retry_restarts() -> None:
    """It had taken its time out of the status when it began; without that it once waited for ever."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, retry_at=NOW + timedelta(hours=1))
    retry = await next_run(recording, api)
    assert isinstance(planned(chart(), retry), Hold)
    begin(retry, Operation.UPGRADE, attempt="two", failures=1)
    restarted = await next_run(retry, api)
    assert isinstance(planned(chart(), restarted), Run)


async def test_a_killed_remedy_keeps_the_retry_time() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    begin(recording, Operation.UPGRADE)
    fail(recording, retry_at=NOW + timedelta(hours=1), revision=2)
    await recording.recorder.remedy_begins("Rollback")
    assert isinstance(planned(chart(), await next_run(recording, api)), Hold)


async def test_giving_up_survives_a_restart() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    begin(recording, Operation.INSTALL)
    fail(recording, retry_at=None)
    assert planned(chart(), await next_run(recording, api)) == Hold(None)


# ---- texts


async def test_a_huge_error_is_shortened() -> None:
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, OperatorError("x" * 100_000, reason=Reason.HELM_FAILED))
    status = await written(recording, api)
    texts = [item["message"] for item in status["conditions"]] + [status["lastFailure"]["message"]]
    assert max(map(len, texts)) == MESSAGE_LENGTH


async def test_a_warning_is_posted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not before its Event, for which the secrets that it may repeat have been read."""
    recording, events = recording_of(chart(), FakeApi()), FakeEvents()
    recording.phases.warn("UninstallFailed", "went on all the same")
    assert "went on all the same" not in caplog.text
    for _ in range(2):
        await post_warnings(recording, events)  # type: ignore[arg-type]
    assert events.posted == [("Warning", "UninstallFailed", "went on all the same")]
    assert caplog.text.count("went on all the same") == 1


# ---- after a defect


@pytest.mark.parametrize("reason", [Reason.INTERNAL_ERROR, Reason.TIMEOUT])
@pytest.mark.parametrize("retry_at", [NOW + timedelta(hours=1), None])
async def test_a_defect_is_retried_by_another_operator(reason: Reason, retry_at: datetime | None) -> None:
    """Its correction comes with a restart; everything else waits for its time."""
    api = FakeApi()
    recording = recording_of(chart(), api)
    fail(recording, OperatorError("it broke", reason=reason, transient=True), retry_at=retry_at)
    await written(recording, api)
    assert isinstance(planned(chart(), recording, started=NOW - timedelta(hours=1)), Hold)
    # The status has whole seconds.
    later = planned(chart(), recording, started=datetime.now(UTC) + timedelta(seconds=1))
    assert isinstance(later, Run if reason is Reason.INTERNAL_ERROR else Hold)
