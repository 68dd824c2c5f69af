"""What a run leaves in the status while it goes on, and however it ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from managedchart_operator.api.resource import RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase, ReleaseStatus
from managedchart_operator.diagnosis.causes import Cause
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.errors import HelmError, OperatorError, ValuesError
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Desired, Observed, Verdict, decide
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.memory import memory
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.retries import Next
from managedchart_operator.reconcile.run_recorder import MESSAGE_LENGTH, RunRecorder
from managedchart_operator.times import write_time
from unit.reconcile.fakes import FakeApi, FakeTelemetry, chart, recorder_of

NOW = datetime.now(UTC)
RELEASE = ReleaseStatus(name="web", namespace="apps", revision=1, status="deployed")
REFUSED = ValuesError("values do not fit", reason=Reason.VALUES_INVALID)
TIMEOUT = HelmError(
    "pods do not come up", reason=Reason.TIMEOUT, transient=True, text="context deadline exceeded", hint="look at them"
)


def succeed(recorder: RunRecorder, **fields: Any) -> None:
    known: dict[str, Any] = {
        "phase": Phase.READY,
        "reason": Reason.DEPLOYED,
        "message": "deployed",
        "digest": "d1",
        "release": RELEASE,
        "released": True,
    }
    recorder.succeeded(**{**known, **fields})


def fail(
    recorder: RunRecorder,
    error: OperatorError = TIMEOUT,
    *,
    retry_at: datetime | None = NOW,
    after: str = "what comes next",
    **fields: Any,
) -> bool:
    """The run fails; without `retry_at` it was given up."""
    given_up = retry_at is None
    plan = Next(retry_at, after, stalled=given_up, gave_up=given_up)
    known: dict[str, Any] = {"digest": "d1", "release": None, "revision": 1}
    return recorder.failed(error, plan=plan, **{**known, **fields})


async def written(recorder: RunRecorder, api: FakeApi) -> dict[str, Any]:
    await recorder.writer.flush()
    return api.status


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {item["type"]: item["status"] for item in status["conditions"]}


async def next_run(recorder: RunRecorder, api: FakeApi, **fields: Any) -> RunRecorder:
    """The recorder of the next run, which knows what the API server knows, and nothing else."""
    return recorder_of(chart(status=await written(recorder, api), **fields), api)


# ---- phases


async def test_phases_stand_in_their_order_with_their_times() -> None:
    api, telemetry = FakeApi(), FakeTelemetry()
    recorder = recorder_of(chart(), api, telemetry)
    recorder.begin("Install: new", operation=Operation.INSTALL, attempt="one")
    for phase in (Phase.CHECK_PREREQUISITES, Phase.EXEC):
        recorder.phase_started(phase)
        recorder.phase_ended(phase, message="done")
    recorder.phase_started(Phase.VALIDATE)
    status = await written(recorder, api)
    assert [(item["name"], item["state"]) for item in status["phases"]] == [
        ("CheckPrerequisites", "Succeeded"),
        ("Exec", "Succeeded"),
        ("Validate", "Running"),
    ]
    assert status["phase"] == "Validate"
    assert all(item["startedAt"].endswith("Z") for item in status["phases"])
    assert status["phases"][0]["durationSeconds"] >= 0
    assert status["phases"][0]["message"] == "done"
    assert "finishedAt" not in status["phases"][2]
    assert telemetry.phases == [("CheckPrerequisites", True), ("Exec", True)]


async def test_the_phase_that_fails_first_is_the_one_that_failed() -> None:
    """on_deploy_failure may fail too; that is not why the run failed."""
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    recorder.begin("Install: new", operation=Operation.INSTALL, attempt="one")
    for phase in (Phase.EXEC, Phase.ON_DEPLOY_FAILURE):
        recorder.phase_started(phase)
        recorder.phase_ended(phase, error=TIMEOUT)
    fail(recorder)
    status = await written(recorder, api)
    assert status["lastFailure"]["phase"] == "Exec"
    assert [item["message"] for item in status["phases"]] == [TIMEOUT.message] * 2


async def test_a_new_run_begins_with_a_clean_list_of_phases() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    recorder.phase_started(Phase.EXEC)
    recorder.phase_ended(Phase.EXEC, error=TIMEOUT)
    fail(recorder)
    again = await next_run(recorder, api)
    again.begin("Upgrade: again", operation=Operation.UPGRADE, attempt="two")
    status = await written(again, api)
    assert status["phases"] == []
    assert "nextRetryAt" not in status


# ---- the end


async def test_a_success_clears_what_failed_before() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    fail(recorder)
    again = await next_run(recorder, api, generation=2)
    succeed(again)
    status = await written(again, api)
    assert "lastFailure" not in status
    assert "nextRetryAt" not in status
    assert (status["failures"], status["attemptedDigest"], status["observedGeneration"]) == (0, "d1", 2)
    assert status["release"]["revision"] == 1
    assert conditions(status) == {"Ready": "True", "Released": "True"}


async def test_a_failure_tells_phase_reason_text_hint_and_revision() -> None:
    api, telemetry = FakeApi(), FakeTelemetry()
    recorder = recorder_of(chart(), api, telemetry)
    recorder.phase_started(Phase.EXEC)
    recorder.phase_ended(Phase.EXEC, error=TIMEOUT)
    fail(recorder, revision=4)
    failure = (await written(recorder, api))["lastFailure"]
    assert failure.pop("time").endswith("Z")
    assert failure == {
        "phase": "Exec",
        "reason": "Timeout",
        "message": "pods do not come up",
        "helmError": "context deadline exceeded",
        "hint": "look at them",
        "revision": 4,
        "events": [],
        **({"containers": []} if "containers" in failure else {}),
    }
    assert telemetry.failures == [("Timeout", "Exec")]


async def test_the_root_cause_is_named_where_it_is() -> None:
    """Not in the namespace of the release, if the chart puts it elsewhere."""
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    pod = Identity("", "Pod", "kube-system", "agent-1")
    recorder.evidence(Findings(cause=Cause(Reason.TIMEOUT, "it is not ready", pod, "main")))
    fail(recorder)
    failure = (await written(recorder, api))["lastFailure"]
    assert failure["rootCause"] == {"kind": "Pod", "namespace": "kube-system", "name": "agent-1", "container": "main"}


async def test_an_error_before_any_phase_belongs_to_pending() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    fail(recorder, REFUSED, retry_at=None, digest=None, revision=None)
    status = await written(recorder, api)
    assert status["lastFailure"]["phase"] == "Pending"
    assert "helmError" not in status["lastFailure"]
    assert "attemptedDigest" not in status
    assert conditions(status) == {"Ready": "False", "Stalled": "True", "Released": "False"}


async def test_failures_are_counted_and_the_next_attempt_is_told() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    fail(recorder, retry_at=NOW)
    again = await next_run(recorder, api)
    fail(again, retry_at=NOW + timedelta(minutes=1))
    status = await written(again, api)
    assert status["failures"] == 2
    assert status["nextRetryAt"] == write_time(NOW + timedelta(minutes=1))


@pytest.mark.parametrize("end", [succeed, fail])
async def test_however_a_run_ends_the_requests_that_it_saw_are_handled(end: Any) -> None:
    """One token is one attempt."""
    api = FakeApi()
    recorder = recorder_of(chart(requests={RETRY_ANNOTATION: "1"}), api)
    end(recorder)
    assert (await written(recorder, api))["handledRequests"] == {RETRY_ANNOTATION: "1"}


async def test_a_failure_is_news_once_and_again_when_it_is_given_up() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    assert fail(recorder)
    again = await next_run(recorder, api)
    assert not fail(again)
    last = await next_run(again, api)
    assert fail(last, retry_at=None)
    other = await next_run(last, api)
    assert fail(other, REFUSED)


def passes(recorder: RunRecorder, operation: Operation, *phases: Phase) -> None:
    """The run begins, and these phases pass."""
    recorder.begin("it begins", operation=operation, attempt="one")
    for phase in phases:
        recorder.phase_started(phase)
        recorder.phase_ended(phase)


@pytest.mark.parametrize("operation", [Operation.INSTALL, Operation.UPGRADE, Operation.FINISH])
async def test_released_turns_true_when_the_release_is_deployed_and_stays_so_when_validation_fails(
    operation: Operation,
) -> None:
    """It once stayed False, from a failure before, as long as the validation failed."""
    api = FakeApi()
    first = recorder_of(chart(), api)
    fail(first)
    second = await next_run(first, api)
    passes(second, operation, Phase.EXEC)
    assert conditions(await written(second, api))["Released"] == "True"
    second.phase_started(Phase.VALIDATE)
    second.phase_ended(Phase.VALIDATE, error=TIMEOUT)
    fail(second)
    status = await written(second, api)
    found = {"Ready": "False", "Reconciling": "True", "Released": "True", "Validated": "False"}
    assert conditions(status) == found
    [released] = [item for item in status["conditions"] if item["type"] == "Released"]
    assert released["reason"] == "Deployed"
    assert TIMEOUT.message not in released["message"]


async def test_released_stays_true_when_a_deployed_release_cannot_be_finished() -> None:
    api = FakeApi()
    first = recorder_of(chart(), api)
    succeed(first)
    second = await next_run(first, api)
    second.begin("Finish: the run is not finished", operation=Operation.FINISH, attempt="two", released=True)
    second.phase_started(Phase.CHECK_PREREQUISITES)
    second.phase_ended(Phase.CHECK_PREREQUISITES, error=TIMEOUT)
    fail(second)
    assert conditions(await written(second, api))["Released"] == "True"


@pytest.mark.parametrize("operation", [Operation.UNINSTALL, Operation.SKIP, Operation.DRY_RUN])
async def test_released_is_not_told_where_nothing_was_to_be_released(operation: Operation) -> None:
    """Neither while exec has passed nor after something that follows it has failed."""
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    passes(recorder, operation, Phase.EXEC)
    assert "Released" not in conditions(await written(recorder, api))
    fail(recorder)
    assert "Released" not in conditions(await written(recorder, api))


async def test_waiting_leaves_what_the_last_run_came_to() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    succeed(recorder)
    waiting = await next_run(recorder, api)
    waiting.waiting("another helm works on revision 2", until="2026-01-01T00:05:00Z")
    status = await written(waiting, api)
    assert (status["phase"], status["nextRetryAt"]) == ("Ready", "2026-01-01T00:05:00Z")
    assert conditions(status) == {"Ready": "True", "Reconciling": "True", "Released": "True"}


async def test_what_is_in_sync_again_after_waiting_says_so() -> None:
    """The helm of somebody else may end as if nothing had been."""
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    recorder.waiting("another helm works", until="2026-01-01T00:05:00Z")
    again = await next_run(recorder, api)
    succeed(again)
    status = await written(again, api)
    assert "nextRetryAt" not in status
    assert "Reconciling" not in conditions(status)


# ---- killed in between


def verdict(resource: ManagedChart, recorder: RunRecorder) -> Verdict:
    """What is decided for the same input after a restart."""
    observed = Observed(resource.uid, NOW.timestamp(), memory=memory(resource, recorder.status))
    return decide(Desired(Action.DEPLOY, Digest("d1")), observed).verdict


async def test_a_retry_that_was_killed_is_begun_again_after_a_restart() -> None:
    """It had taken its time out of the status when it began; without that it once waited for ever."""
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    fail(recorder, retry_at=NOW + timedelta(hours=1))
    retry = await next_run(recorder, api)
    assert verdict(chart(), retry) is Verdict.HOLD
    retry.begin("Upgrade: the last attempt failed", operation=Operation.UPGRADE, attempt="two")
    restarted = await next_run(retry, api)
    assert verdict(chart(), restarted) is Verdict.RUN


async def test_what_was_given_up_stays_given_up_after_a_restart() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    recorder.begin("Install: new", operation=Operation.INSTALL, attempt="one")
    fail(recorder, retry_at=None)
    assert verdict(chart(), await next_run(recorder, api)) is Verdict.HOLD


# ---- texts


async def test_a_huge_error_is_cut_to_what_a_person_reads() -> None:
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    fail(recorder, OperatorError("x" * 100_000, reason=Reason.HELM_FAILED), after="y" * 100_000)
    status = await written(recorder, api)
    texts = [item["message"] for item in status["conditions"]] + [status["lastFailure"]["message"]]
    assert max(map(len, texts)) == MESSAGE_LENGTH


async def test_warnings_are_kept_for_their_events(caplog: pytest.LogCaptureFixture) -> None:
    recorder = recorder_of(chart(), FakeApi())
    recorder.warn("UninstallFailed", "went on all the same")
    assert recorder.warnings == [("UninstallFailed", "went on all the same")]
    assert "went on all the same" in caplog.text


# ---- after a defect


@pytest.mark.parametrize("reason", [Reason.INTERNAL_ERROR, Reason.TIMEOUT])
@pytest.mark.parametrize("retry_at", [NOW + timedelta(hours=1), None])
async def test_a_defect_is_tried_again_by_another_operator(reason: Reason, retry_at: datetime | None) -> None:
    """Its correction comes with a restart; everything else waits for its time."""
    api = FakeApi()
    recorder = recorder_of(chart(), api)
    fail(recorder, OperatorError("it broke", reason=reason, transient=True), retry_at=retry_at)
    await written(recorder, api)

    soon = datetime.now(UTC) + timedelta(minutes=1)

    def decided(*, started: datetime) -> Verdict:
        known = memory(chart(), recorder.status, started=started)
        observed = Observed(Ownership("uid-web"), soon.timestamp(), memory=known)
        return decide(Desired(Action.DEPLOY, Digest("d1")), observed).verdict

    assert decided(started=soon - timedelta(hours=1)) is Verdict.HOLD
    later = decided(started=soon)
    assert later is (Verdict.RUN if reason is Reason.INTERNAL_ERROR else Verdict.HOLD)
