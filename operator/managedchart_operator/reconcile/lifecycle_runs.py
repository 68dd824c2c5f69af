"""Runs a lifecycle as planned, and records the result.

A failure is recorded with its evidence before it is remedied, so that a kill in between loses neither.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED
from managedchart_operator.helm.values import Values, lost_values
from managedchart_operator.kube.events import Events
from managedchart_operator.lifecycle.base import Lifecycle, says_nothing
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.lifecycle.lifecycles import Lifecycles
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.attempted_chart import note_fetched
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.explain import cause_of, explain
from managedchart_operator.reconcile.last_run import AFTER_EXEC
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.missing_permissions import find_missing
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT, Outcome
from managedchart_operator.reconcile.operations.resume import resumed
from managedchart_operator.reconcile.operations.unlock import unlock
from managedchart_operator.reconcile.permission_hints import watch_refused
from managedchart_operator.reconcile.release_run import release_status
from managedchart_operator.reconcile.remediation import (
    Remediation,
    mark_failed,
    newest_if_made,
    unremedied,
    was_applied,
    would_recur,
)
from managedchart_operator.reconcile.remedy import NOTHING, UNDECIDED, Remedy, RemedyPlan
from managedchart_operator.reconcile.resource_pass import Recording, ResourcePass
from managedchart_operator.reconcile.retries import RetryPlan, after_failure, earlier_of, soon
from managedchart_operator.reconcile.revision_history import (
    complete,
    release_uninstalled,
    remember,
    turned_out_failed,
)
from managedchart_operator.reconcile.services import Telemetry
from managedchart_operator.reconcile.shown_lifecycle import show_lifecycle
from managedchart_operator.reconcile.status_recorder import (
    Failure,
    deployed_message,
)
from managedchart_operator.reconcile.validations import Validations
from managedchart_operator.shortening import cut
from managedchart_operator.times import delay_until

_STARTED = (Operation.INSTALL, Operation.UPGRADE, Operation.UNINSTALL)
# An Event has 1024 characters; eight paths of values fit, and a person reads no more.
_LOST_NAMED = 8
_LOST_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class LifecycleRuns:
    """Runs lifecycles; one for the whole operator. `probe` is the seconds between checks once retries are exhausted."""

    events: Events
    telemetry: Telemetry
    remediation: Remediation
    probe: float
    lifecycles: Lifecycles
    validations: Validations

    async def run(self, work: ResourcePass, lifecycle: Lifecycle, plan: Run) -> float | None:
        """Carry out the plan; returns the seconds until the next pass, or None. Raises KubeError."""
        work = replace(work, release=resumed(work.release, plan))
        retried = _begin(work, plan)
        show_lifecycle(work.recorder, lifecycle)
        # What masks its texts takes up to 1 s to make; here, so that it is known wherever the run has to say something.
        await asyncio.to_thread(work.release.evidence.rendered.redactor)
        release = LifecycleRelease(work.release, plan, begins_uninstall=work.recorder.writer.flush)
        work.phases.operation, work.phases.released = plan.operation, plan.released
        try:
            await work.check_account()
            await self._announce(work, plan, retried=retried)
            if plan.unlock is not None:
                work.logger.info("taking over revision %d (%s)", plan.unlock.number, plan.unlock.status)
                await unlock(work.release, plan.unlock)
            await lifecycle.run(work.context(release), without=work.left_out)
        except OperatorError as error:
            return await self.failed(work, error, plan)
        finally:
            warn_refused_watches(work)
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
            return
        if plan.operation in _STARTED:
            await self.events.post(chart, type="Normal", reason=f"{plan.operation.value}Started", message=plan.because)
        await announce_takeover(work, plan.operation, self.events)

    async def _succeeded(self, work: ResourcePass, operation: Operation) -> None:
        status, run = work.recorder.status, work.release
        done = work.phases.journal.outcome or Outcome("")
        note_fetched(status.attempt, run.sources.chart)
        if operation not in (Operation.SKIP, Operation.DRY_RUN):
            status.release = await release_status(run, digest=work.digest)
        phase, reason, message = Phase.READY, Reason.DEPLOYED, done.message
        match operation:
            case Operation.SKIP:
                phase, reason = Phase.SKIPPED, Reason.SKIPPED
                message = "Nothing was changed, because spec.action is Skip"
            case Operation.UNINSTALL:
                phase, reason = Phase.DESTROYED, Reason.DESTROYED
                release_uninstalled(status)
            case Operation.DRY_RUN:
                reason = Reason.DRY_RUN_SUCCEEDED
            case _:
                if status.release or not message:
                    message = deployed_message(status.release)
                remember(status, run.newest, action=operation.value)
                complete(status, run.storage.revisions, uid=work.chart.uid)
        work.recorder.succeeded(phase, reason, message, digest=work.digest.text, deployed=operation.deploys)
        await work.recorder.writer.flush()
        work.logger.info("%s: %s", reason.value, message)
        left = done.left or (message if done.spared else "")
        if left and operation is Operation.UNINSTALL:
            await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=left)
        await self.events.post(work.chart, type="Normal", reason=reason.value, message=message)

    async def failed(self, work: ResourcePass, error: OperatorError, plan: Run) -> float | None:
        """Record a run's failure and remedy it; returns the seconds until the next pass, or None. Raises KubeError."""
        run, phases, status, key = work.release, work.phases, work.recorder.status, work.chart.key
        profile, plugin = error.profile, error.plugin
        kept = plan.operation.deploys and phases.failed_phase in AFTER_EXEC and says_nothing(error)
        lacking = await find_missing(run, error, removes=plan.operation is Operation.UNINSTALL)
        # Of several objects in trouble, one is the root cause: the one in the message.
        phases.findings = replace(phases.findings, cause=cause_of(error, phases.findings))
        found = lacking.error if lacking else error
        redact = await phases.read_redactor()
        error = await asyncio.to_thread(explain, found, phases.findings, redact=redact, chart=(key.namespace, key.name))
        phases.explain(redact)
        note_fetched(status.attempt, run.sources.chart)
        await run.storage.observe()
        made = newest_if_made(run, phases.failed_phase) if plan.operation.deploys and not kept else None
        failed = made.number if made else unremedied(run, work.last, unlocked=plan.unlock)
        fail_on_timeout = plan.awaiting is None or plan.awaiting.fail_on_timeout
        unready = made is not None and phases.failed_phase is Phase.EXEC and fail_on_timeout
        remedy = await self._plan_remedy(work, failed, unready=unready)
        retry = await self._retry(work, error, remedy, made=made is not None, kept=kept)
        status.release = await release_status(run, digest=work.digest)
        remember(status, run.newest if made else None, action=plan.operation.value)
        if made and unready:
            turned_out_failed(status, made.number)  # also if it could not be marked: helm calls it deployed then
        complete(status, run.storage.revisions, uid=work.chart.uid)
        taken_back = remedy.remedy in (Remedy.ROLL_BACK, Remedy.UNINSTALL)
        failure = phases.failure(error, digest=work.digest.text, revision=failed, taken_back=taken_back)
        failure = replace(failure, profile=profile, plugin=plugin)
        retry = retry.awaiting_change(profile=profile.name if profile else "", plugin=plugin.name if plugin else "")
        if lacking:
            failure = replace(failure, missing_permission=lacking.missing)
            retry = retry.awaiting_permission(lacking.missing.permission.verb)
        await record_failure(work, failure, retry, self.events)
        # The remedy reads what was just recorded.
        again = soon(work.spec.retry) if remedy is UNDECIDED else await self.remediation.carry_out(work, remedy)
        await post_warnings(work, self.events)
        return earlier_of(again, delay_until(retry.at) if retry.at else None)

    async def _retry(
        self, work: ResourcePass, error: OperatorError, remedy: RemedyPlan, *, made: bool, kept: bool
    ) -> RetryPlan:
        """Return what follows the failure; `made` says whether the run made the newest revision.

        `kept` says that the release is left as it is, because the error says nothing about it.
        """
        rolled_back = made and remedy.remedy is Remedy.ROLL_BACK
        disturbed = rolled_back and was_applied(work.release, work.phases.failed_phase, error)
        disturbed = disturbed and await would_recur(error, work.release.objects)
        plan = after_failure(
            error,
            work.spec.retry,
            failures=work.recorder.status.attempt.failures + 1,
            now=datetime.now(UTC),
            probe=self.probe,
            taken_back=work.spec.atomic and remedy.remedy is not Remedy.LEAVE,
            applied_and_rolled_back=disturbed,
            endless=work.chart.deleting or kept,
        )
        return replace(plan, kept=kept and remedy is NOTHING)

    async def _plan_remedy(self, work: ResourcePass, failed: int | None, *, unready: bool) -> RemedyPlan:
        """Return the remedy for the revision that failed, UNDECIDED while that is unclear.

        `unready` says that the revision failed because its objects did not become ready.
        """
        try:
            if failed is not None:
                await mark_failed(work.release, unready=unready)
            return await self.remediation.plan(work, failed=failed, phase=work.phases.failed_phase)
        except (KubeError, HelmError) as error:
            work.logger.warning("cannot decide yet how to remedy the failure: %s", error.message)
            return UNDECIDED


def _begin(work: ResourcePass, plan: Run) -> bool:
    """Record that the run begins; returns whether the same input has failed before."""
    work.logger.info("%s: %s", plan.operation.value, plan.because)
    failures = work.last.failures if work.repeats_last_input else 0
    never_ready = plan.unlock
    if never_ready is not None and never_ready.status == DEPLOYED:
        # Written together with the begin of this run, which may end before the revision is marked.
        made_by = Operation.INSTALL if never_ready.number == 1 else Operation.UPGRADE
        remember(work.recorder.status, replace(never_ready, status=FAILED), action=made_by.value)
    work.recorder.begin(
        work.release.attempt, plan, digest=work.digest, failures=failures, uninstall_began=work.last.began_uninstall
    )
    return failures > 0


def warn_refused_watches(work: ResourcePass) -> None:
    """Add a warning for each collection that the run had to list at an interval, because its account may not watch it."""
    for error in work.release.evidence.refused_watches():
        work.phases.journal.warn("WatchRefused", watch_refused(error))


async def post_warnings(recording: Recording, events: Events) -> None:
    """Log each warning so far and post it as an Event, once."""
    warnings = recording.phases.journal.take_warnings()
    redact = await recording.phases.read_redactor() if warnings else str
    for reason, message in ((reason, redact(message)) for reason, message in warnings):
        recording.logger.warning("%s", message)
        await events.post(recording.chart, type="Warning", reason=reason, message=message)


async def record_failure(recording: Recording, failure: Failure, plan: RetryPlan, events: Events) -> None:
    """Put a failure into the status and the log; an Event says what is new: message, hint, and that the operator gives up.

    Raises KubeError.
    """
    error = failure.error
    news = recording.recorder.failed(failure, plan)
    recording.logger.warning("%s: %s", error.reason.value, error.message)
    await recording.recorder.writer.flush()
    if news:
        hint, after = f"({error.hint})" if error.hint else "", plan.message if plan.gave_up else ""
        message = " ".join(part for part in (error.message, hint, after) if part)
        await events.post(
            recording.chart, type="Warning", reason=error.reason.value, message=message, keep=plan.gave_up
        )


async def announce_takeover(work: ResourcePass, operation: Operation, events: Events) -> None:
    """Post an Event if the operation upgrades a release whose newest revision was not made for this resource.

    The upgrade replaces the chart and all values, so the Event names the revision, which helm keeps in its history, and the
    values that no longer apply. Nothing is announced if the new values cannot be read, since no upgrade follows then. The owner
    label counts, so the former release of a ManagedChart that was created again is announced too. Call it before anything is
    changed, and not for a retry. Raises nothing except when cancelled.
    """
    release, newest = work.release, work.release.newest
    inputs = release.sources.inputs
    if operation is not Operation.UPGRADE or newest is None or inputs is None:
        return
    if newest.owner == work.chart.uid or newest.status == UNINSTALLED:
        return
    name, details = "", ""
    try:
        stored = await release.storage.read_stored()
        if stored is not None:
            name = f" (chart {cut(f'{stored.chart_name} {stored.chart_version}', _LOST_CHARACTERS)})"
            if lost := await asyncio.to_thread(_lost, stored.values, inputs.values):
                details = f". Values of that revision that no longer apply: {lost}"
    except (KubeError, HelmError) as error:
        details = f". Its values cannot be read: {error.message}"
        work.logger.warning("cannot read revision %d: %s", newest.number, error.message)
    message = (
        f"Taking over release {release.namespace}/{release.name}, revision {newest.number}{name}, which was not made by this"
        f" resource{details}"
    )
    work.logger.info("%s", message)
    await events.post(work.chart, type="Warning" if details else "Normal", reason="ReleaseTakenOver", message=message)


def _lost(before: dict[str, Any], now: Values) -> str:
    paths = lost_values(before, now.merged())
    named = ", ".join(cut(path, _LOST_CHARACTERS) for path in islice(paths, _LOST_NAMED))
    more = sum(1 for _ in paths)
    return f"{named} and {more} more" if more else named
