"""Runs a lifecycle as planned, and records what it comes to.

A failure is recorded with its evidence first, then remedied: in this order, so that a kill in between loses neither.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from managedchart_operator.api.resource import FORCE_ANNOTATION, RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.kube.events import Events
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.failure import is_verdict, newest_if_made, unremedied, was_applied
from managedchart_operator.reconcile.history import release_uninstalled, remember
from managedchart_operator.reconcile.last_run import requested
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.operations.resume import resumed
from managedchart_operator.reconcile.operations.unlock import mark_unready, unlock, unlock_killed
from managedchart_operator.reconcile.plan import Run
from managedchart_operator.reconcile.release_status import release_status
from managedchart_operator.reconcile.release_takeover import announce_takeover
from managedchart_operator.reconcile.remediation import RELEASE_LEFT, Remediation
from managedchart_operator.reconcile.remedy import NOTHING, Remedy, RemedyPlan
from managedchart_operator.reconcile.resource_pass import Recording, ResourcePass
from managedchart_operator.reconcile.retries import RetryPlan, RetryPolicy, outlook_message
from managedchart_operator.reconcile.status_recorder import Failure, Success, deployed_message
from managedchart_operator.reconcile.telemetry import Telemetry
from managedchart_operator.times import delay_until, write_time

_STARTED = (Operation.INSTALL, Operation.UPGRADE, Operation.UNINSTALL)


@dataclass(frozen=True, slots=True)
class LifecycleRuns:
    """Runs lifecycles; one for the whole operator. `probe` is the seconds between checks of what was given up."""

    events: Events
    telemetry: Telemetry
    remediation: Remediation
    probe: float

    async def run(self, work: ResourcePass, lifecycle: Lifecycle, plan: Run) -> float | None:
        """Carry out the plan; returns after how many seconds to come again, or None. Raises KubeError."""
        work = replace(work, release=resumed(work.release, plan))
        retried = _begin(work, plan)
        release = LifecycleRelease(work.release, plan)
        work.phases.operation, work.phases.released = plan.operation, plan.released
        try:
            await self._announce(work, plan, retried=retried)
            if plan.unlock is not None:
                work.logger.info("revision %d (%s) is taken over", plan.unlock.number, plan.unlock.status)
                await unlock(work.release, plan.unlock)
            await lifecycle.run(work.context(release))
        except OperatorError as error:
            return await self.failed(work, error, plan)
        finally:
            await work.release.evidence.close()
            await post_warnings(work, self.events)
        await self._succeeded(work, plan.operation)
        return None

    async def _announce(self, work: ResourcePass, plan: Run, *, retried: bool) -> None:
        chart = work.chart
        if plan.changed_outside:
            message = f"{plan.because}; the operator restores it"
            await self.events.post(chart, type="Warning", reason="ReleaseChanged", message=message)
        if retried:
            self.telemetry.retried()
        elif plan.operation in _STARTED:
            await self.events.post(chart, type="Normal", reason=f"{plan.operation.value}Started", message=plan.because)
        if not retried:
            await announce_takeover(work, plan.operation, self.events)

    async def _succeeded(self, work: ResourcePass, operation: Operation) -> None:
        status, run = work.recorder.status, work.release
        done = work.journal.outcome or Outcome("")
        if operation not in (Operation.SKIP, Operation.DRY_RUN):
            status.release = await release_status(run, digest=work.digest)
        release = status.release
        match operation:
            case Operation.SKIP:
                success = Success(Phase.SKIPPED, Reason.SKIPPED, "The spec says Skip: nothing was touched", release)
            case Operation.UNINSTALL:
                success = Success(Phase.DESTROYED, Reason.DESTROYED, done.message, release)
                release_uninstalled(status)
            case Operation.DRY_RUN:
                success = Success(Phase.READY, Reason.DRY_RUN_SUCCEEDED, done.message, release)
            case _:
                message = deployed_message(release) if release else done.message
                success = Success(Phase.READY, Reason.DEPLOYED, message, release, deployed=True)
        if operation.deploys:
            remember(status, run.newest, action=operation.value)
        work.recorder.succeeded(success, digest=work.digest.text)
        await work.recorder.writer.flush()
        work.logger.info("%s: %s", success.reason.value, success.message)
        if done.left and operation is Operation.UNINSTALL:
            await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=done.left)
        await self.events.post(work.chart, type="Normal", reason=success.reason.value, message=success.message)

    async def failed(self, work: ResourcePass, error: OperatorError, plan: Run) -> float | None:
        """Record a run's failure and remedy it; returns after how many seconds to come again, or None. Raises KubeError."""
        run, phases, status = work.release, work.phases, work.recorder.status
        error = explain(error, phases.findings, redact=run.redactor)
        await run.storage.observe()
        made = newest_if_made(run, phases.failed_phase) if plan.operation.deploys else None
        failed = made.number if made else unremedied(run, work.last)
        remedy = await self._plan_remedy(work, plan, failed, made=made is not None)
        retry = await self._retry(work, error, remedy, made=made is not None)
        status.release = await release_status(run, digest=work.digest)
        remember(status, run.newest if made else None, action=plan.operation.value)
        taken_back = remedy.remedy in (Remedy.ROLL_BACK, Remedy.UNINSTALL)
        released: bool | None = False
        if phases.released and not taken_back:
            released = True if phases.deploys else None
        failure = Failure(
            error,
            digest=work.digest.text,
            release=status.release,
            revision=failed,
            phase=phases.failed_phase,
            released=released,
            findings=phases.findings,
        )
        news = work.recorder.failed(failure, retry, limit=work.spec.retry.limit)
        await work.recorder.writer.flush()
        work.logger.warning("%s: %s", error.reason.value, error.message)
        if news:
            await post_failure(self.events, work.chart, error, retry, limit=work.spec.retry.limit)
        # What the remedy finds in the status is what was recorded now.
        again = await self.remediation.carry_out(work, remedy)
        await post_warnings(work, self.events)
        return delay_until(retry.at) if retry.at else again

    async def _retry(self, work: ResourcePass, error: OperatorError, remedy: RemedyPlan, *, made: bool) -> RetryPlan:
        """Return what follows the failure; `made` says that the run has made the newest revision."""
        policy = RetryPolicy(
            work.spec.retry,
            self.probe,
            taken_back=work.spec.atomic and remedy.remedy is not Remedy.LEAVE,
            endless=work.chart.deleting,
        )
        rolled_back = made and remedy.remedy is Remedy.ROLL_BACK
        disturbed = rolled_back and was_applied(work.release, work.phases.failed_phase, error)
        disturbed = disturbed and await is_verdict(error, work.release.objects)
        failures = work.recorder.status.attempt.failures + 1
        return policy.after(error, failures=failures, now=datetime.now(UTC), applied_and_rolled_back=disturbed)

    async def _plan_remedy(self, work: ResourcePass, plan: Run, failed: int | None, *, made: bool) -> RemedyPlan:
        """Return what is to be done about the revision that failed; nothing yet where that cannot be found out now.

        `made` says that it is the newest one, which this run has made.
        """
        failed_phase = work.phases.failed_phase
        try:
            if made:
                fail_on_timeout = plan.awaiting is None or plan.awaiting.fail_on_timeout
                await unlock_killed(work.release)
                await mark_unready(work.release, failed_phase=failed_phase, fail_on_timeout=fail_on_timeout)
            return await self.remediation.plan(work, failed=failed, phase=failed_phase)
        except (KubeError, HelmError) as error:
            work.logger.warning("the remedy for the failure cannot be decided yet: %s", error.message)
            return NOTHING


def _begin(work: ResourcePass, plan: Run) -> bool:
    """Record the beginning; returns whether the same input has failed before."""
    work.logger.info("%s: %s", plan.operation.value, plan.because)
    chart, status, last = work.chart, work.recorder.status, work.last
    asked = any(requested(chart, status, name) for name in (RETRY_ANNOTATION, FORCE_ANNOTATION))
    again = work.digest.matches(last.digest) and last.current and not asked
    failures = last.failures if again else 0
    work.recorder.begin(work.release.attempt, plan, digest=work.digest.text, failures=failures)
    return failures > 0


async def post_warnings(recording: Recording, events: Events) -> None:
    """Post the warnings so far as Events, each once."""
    for reason, message in recording.journal.take_warnings():
        await events.post(recording.chart, type="Warning", reason=reason, message=message)


async def post_failure(
    events: Events, chart: ManagedChart, error: OperatorError, plan: RetryPlan, *, limit: int
) -> None:
    """Report a failure in an Event: what it is, what to do about it, and that it was given up where it was."""
    at = write_time(plan.at) if plan.at else None
    after = outlook_message(plan.outlook, failures=plan.failures, limit=limit, at=at) if plan.gave_up else ""
    message = " ".join(part for part in (error.message, f"({error.hint})" if error.hint else "", after) if part)
    await events.post(chart, type="Warning", reason=error.reason.value, message=message)
