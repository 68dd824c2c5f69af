"""Brings one ManagedChart to the state that its spec asks for: one call is one pass over one object.

`resource_pass` observes, `decide` decides, `lifecycle_runs` and `removal` carry the plan out and record the result, and the
scheduler starts the next pass. A pass knows only what it reads from the cluster, so a restarted operator continues where the
last one stopped. Every error ends in the status. A cancelled pass is not a failure, and leaves no helm process behind.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from managedchart_operator.api.resource import FINALIZER, Key, ManagedChart
from managedchart_operator.api.status import Outlook
from managedchart_operator.errors import AccountMissingError, HelmError, KubeError, OperatorError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.with_actions import why_blocked, why_missing
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.clamping import clamp
from managedchart_operator.reconcile.conditions import CLAMPED, LIFECYCLE_MISSING
from managedchart_operator.reconcile.decide import Hold, InSync, Plan, Run, Wait, decide
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.last_run import attempt_requested, last_run_of, permission_of
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns, post_warnings, record_failure
from managedchart_operator.reconcile.missing_permissions import refusal_in
from managedchart_operator.reconcile.parse import parse_spec, spec_for_removal
from managedchart_operator.reconcile.permission_watch import Awaited, PermissionWatch
from managedchart_operator.reconcile.phase_recorder import PhaseRecorder
from managedchart_operator.reconcile.planning_places import PlanningPlaces
from managedchart_operator.reconcile.release_access import ReleaseAccess
from managedchart_operator.reconcile.removal import Removal
from managedchart_operator.reconcile.rendered import is_healthy
from managedchart_operator.reconcile.resource_pass import Recording, ResourcePass, observe
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, RetryPlan, after_failure, earlier_of, look_again
from managedchart_operator.reconcile.services import Services, Telemetry
from managedchart_operator.reconcile.shown_lifecycle import show_changed_lifecycle
from managedchart_operator.reconcile.status_recorder import MESSAGE_LENGTH, StatusRecorder
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.store import Store
from managedchart_operator.reconcile.unwritable import STATUS_TOO_LARGE, Unwritable, is_too_large, why
from managedchart_operator.shortening import cut
from managedchart_operator.times import delay_until

_base_logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles ManagedCharts; one for the whole operator."""

    store: Store
    services: Services
    api: ManagedCharts
    events: Events
    telemetry: Telemetry
    runs: LifecycleRuns
    removal: Removal
    grants: PermissionWatch
    planning: PlanningPlaces = field(default_factory=PlanningPlaces)
    unwritable: Unwritable = field(default_factory=Unwritable)

    @property
    def access(self) -> ReleaseAccess:
        """What every pass asks, also one that removes."""
        return self.removal.access

    async def reconcile(self, key: Key, timed: bool = False) -> float | None:
        """Make one pass; returns the seconds until the next one, or None. Raises only for a defect or a cancellation.

        `timed` says that only the time of the last pass's result is over: if that was for a validation, the pass is only that.
        """
        PAYER.set(key.namespace)
        async with contextlib.AsyncExitStack() as ends:
            async with self.planning.take(self.store.size(key)):
                chart = self.store.get(key)
                if chart is None:
                    self.grants.wait_for(key, None)
                    self.access.consent.forget(key)
                    self.runs.validations.forget(key)
                    return None
                if (delay := self.unwritable.delay(chart)) > 0:
                    return delay
                ends.callback(self.access.end_pass, chart)
                recording = self._open(chart)
                only_checks = timed and self.runs.validations.only_waits(chart)
                plan = self._plan_checks if only_checks else self._plan
                again = None if chart.deleting else await self._guard(recording, plan(recording))
            if chart.deleting:
                again = await self._guard(recording, self._remove(recording))
            if isinstance(again, tuple):
                again = await self._guard(recording, self._carry_out(*again))
            missing = permission_of(recording.recorder.status.attempt)
            self.grants.wait_for(key, Awaited(missing, self.services.accounts.identity_of(chart)) if missing else None)
            return again

    def _open(self, chart: ManagedChart) -> Recording:
        facts: dict[str, object] = {"namespace": chart.key.namespace, "name_": chart.key.name}
        facts["generation"] = chart.generation
        logger = logging.LoggerAdapter(_base_logger, facts)
        writer = StatusWriter(chart, self.api, written=self.store.put_status)
        recorder = StatusRecorder(chart, writer, self.telemetry)
        phases = PhaseRecorder(recorder, logger)
        facts["redact"] = phases.redact  # for warnings and tracebacks, see app.logs
        return Recording(chart, recorder, phases, logger)

    async def _guard(self, recording: Recording, work: Coroutine[Any, Any, T]) -> T | float | None:
        """Do a part of a pass; an error that ends it is recorded in the status, and decides when the next one follows."""
        try:
            return await work
        except OperatorError as error:
            return await self._record_error(recording, error)
        except Exception as error:
            recording.logger.exception("unhandled error during reconciliation")
            wrapped = OperatorError(
                f"Unhandled error: {type(error).__name__}: {error}",
                transient=True,
                hint="Report this defect of the operator, with the traceback from its log.",
            )
            return await self._record_error(recording, wrapped)
        finally:
            await recording.recorder.writer.close()

    # ---- towards the spec

    async def _plan(self, recording: Recording) -> tuple[ResourcePass, Plan, Lifecycle] | None:
        chart = recording.chart
        if FINALIZER not in chart.finalizers and not await self.api.add_finalizer(chart):
            return None  # deleted before it has the finalizer: nothing would ever uninstall what is installed now
        spec = await asyncio.to_thread(parse_spec, chart)
        self.api.scope.check_target(chart.release_namespace)
        await self.access.consent.check(chart)
        work = await observe(recording, spec, self.services)
        newest = work.release.newest
        self.access.owners.take(chart, label_owner=newest.owner if newest else None)
        lifecycle = await self.runs.lifecycles.find(chart, spec)
        show_changed_lifecycle(recording.recorder, lifecycle)
        if why_missing(lifecycle) is None:
            work.recorder.noticed(LIFECYCLE_MISSING, "")
        if work.recorder.noticed(CLAMPED, work.clamped):
            await self.events.post(chart, type="Warning", reason=Reason.SPEC_CLAMPED, message=work.clamped)
        work = (await work.with_inputs()).with_lifecycle(lifecycle)
        plan = decide(work.desired(), await work.observed())
        self.telemetry.reconciled(type(plan).__name__)
        return work, plan, lifecycle

    async def _plan_checks(self, recording: Recording) -> tuple[ResourcePass, None, Lifecycle]:
        """Plan nothing but the checks of a release that matched the spec at the last pass, without observing it again."""
        spec = await asyncio.to_thread(parse_spec, recording.chart)
        work = await observe(recording, spec, self.services, only_checks=True)
        return work, None, await self.runs.lifecycles.find(recording.chart, spec)

    async def _carry_out(self, work: ResourcePass, plan: Plan | None, lifecycle: Lifecycle) -> float | None:
        match plan:
            case None:
                return await self.runs.validations.in_sync(work, lifecycle)
            case InSync():
                await self._acknowledge(work, lifecycle)
                return await self.runs.validations.in_sync(work, lifecycle)
            case Hold(until):
                self.telemetry.status_changed(work.chart.key, work.recorder.status)
                again = await self._finish_remedy(work)
                await post_warnings(work, self.events)
                return earlier_of(again, None if until is None else delay_until(until))
            case Wait() as wait:
                return await self._wait(work, wait)
            case Run() if (blocked := why_blocked(lifecycle)) is not None:
                raise blocked
            case Run() if await _is_still_unhealthy(work):
                return await self._check_again(work)
            case Run() as run:
                again = await self.runs.run(work, lifecycle, run)
                return self.runs.validations.after_run(work, lifecycle) if again is None else again

    async def _acknowledge(self, work: ResourcePass, lifecycle: Lifecycle) -> None:
        """Write the status only to acknowledge a request, or a new generation that changes nothing of what runs.

        A lifecycle that is missing now changes nothing of what runs either, but the next run will fail.
        """
        chart, status = work.chart, work.recorder.status
        if (missing := why_missing(lifecycle)) is not None:
            message = cut(f"The release is left as it is, but no run can begin: {missing.message}", MESSAGE_LENGTH)
            was_missing = any(each.type == LIFECYCLE_MISSING for each in status.conditions)
            # The message also lists what there is, which changes without any change for this resource.
            if work.recorder.noticed(LIFECYCLE_MISSING, message) and not was_missing:
                await self.events.post(chart, type="Warning", reason=missing.reason, message=message)
        settled = status.observed_generation == chart.generation and work.last.current and not work.last.waited
        if settled and not attempt_requested(chart, status):
            self.telemetry.status_changed(chart.key, status)
            return
        work.recorder.in_sync()
        await work.recorder.writer.flush()

    async def _finish_remedy(self, work: ResourcePass) -> float | None:
        """Finish the remedy for an earlier failure; returns the seconds until the next try, or None."""
        try:
            if work.last.failed_revision is not None:
                await work.check_account()
            return await self.runs.remediation.finish(work)
        except (AccountMissingError, KubeError, HelmError) as error:
            work.logger.warning("cannot decide yet how to remedy the failure: %s", error.message)
            if not error.transient:
                return None
            identity = self.services.accounts.identity_of(work.chart)
            refusal = await refusal_in(self.services, identity, error)
            return look_again(error, work.spec.retry, lacks=refusal.missing is not None)

    async def _wait(self, recording: Recording, wait: Wait) -> float:
        recording.recorder.waiting(wait)
        await recording.recorder.writer.flush()
        return delay_until(wait.until)

    async def _check_again(self, work: ResourcePass) -> float:
        """Record that nothing has changed for a resource whose retries are exhausted."""
        again = datetime.now(UTC) + timedelta(seconds=self.runs.probe)
        work.recorder.still_stalled(RetryPlan(Outlook.CHECK, work.last.failures, work.spec.retry.limit, again))
        await work.recorder.writer.flush()
        return self.runs.probe

    # ---- deletion, and errors that no phase caused

    async def _remove(self, recording: Recording) -> float | None:
        again = await self.removal.remove(recording)
        return await self._wait(recording, again) if isinstance(again, Wait) else again

    async def _record_error(self, recording: Recording, error: OperatorError) -> float | None:
        """Put an error that no phase caused into the status; returns the seconds until the retry, or None."""
        if is_too_large(error):
            return await self._report_unwritable(recording)
        identity = self.services.accounts.identity_of(recording.chart)
        profile, refusal = error.profile, await refusal_in(self.services, identity, error)
        lacking = refusal.missing
        findings = recording.phases.findings
        error = await asyncio.to_thread(explain, error, findings, redact=recording.phases.redact)
        chart, recorder, logger = recording.chart, recording.recorder, recording.logger
        status, attempt = recorder.status, recorder.status.attempt
        current = attempt.generation == chart.generation
        failing = current and attempt.failures > 0
        known = status.last_failure.message if failing and status.last_failure else None
        said = attempt.outlook is Outlook.CHANGE and (attempt.reason, known) == (error.reason, error.message)
        if said and not (error.transient or chart.deleting):
            return None
        retry = clamp(await asyncio.to_thread(spec_for_removal, chart))[0].retry
        # How far it has come decides whether its revision counts as failed, and is rolled back.
        unfinished = error.reason is Reason.API_UNAVAILABLE and last_run_of(chart, status).interrupted
        if error.transient and (refusal.momentary or unfinished or (failing and attempt.digest)) and not chart.deleting:
            # Keep what the status says, also about a failure and its retry: this pass has attempted nothing, or not ended.
            logger.warning("%s: %s", error.reason.value, error.message)
            if unfinished and (failed_phase := recording.phases.failed_phase) is not None:
                attempt.phase = failed_phase.value  # not the one that has followed, which collected the evidence
                recorder.writer.touch()
            if lacking:
                await self.events.post(chart, type="Warning", reason=error.reason.value, message=error.message)
            return look_again(error, retry, lacks=lacking is not None)
        plan = after_failure(
            error,
            retry,
            failures=attempt.failures + 1 if current else 1,
            now=datetime.now(UTC),
            probe=self.runs.probe,
            endless=error.transient,
        )
        failure = replace(recording.phases.failure(error), profile=profile)
        plan = plan.awaiting_change(profile=profile.name if profile else "")
        if lacking:
            failure = replace(failure, missing_permission=lacking)
            plan = plan.awaiting_permission(lacking.permission.verb)
        try:
            await record_failure(recording, failure, plan, self.events)
        except KubeError as second:
            if is_too_large(second):
                return await self._report_unwritable(recording)
            logger.warning("cannot write the status: %s", second.message)
        return delay_until(plan.at) if plan.at else None

    async def _report_unwritable(self, recording: Recording) -> float:
        """Say in an Event that nothing can be recorded about a resource; returns the seconds until the next try."""
        delay, message = self.unwritable.failed(recording.chart), why(recording.chart)
        recording.logger.warning("%s; next try in %.0f s", message, delay)
        await self.events.post(recording.chart, type="Warning", reason=STATUS_TOO_LARGE, message=message)
        return delay


async def _is_still_unhealthy(work: ResourcePass) -> bool:
    """Whether the retries ended with unhealthy workloads, nothing has changed since, and they still are."""
    last = work.last
    if last.interrupted or last.failures <= work.spec.retry.limit or last.reason not in WORKLOAD_REASONS:
        return False
    return work.repeats_last_input and not await is_healthy(work.release.evidence.rendered, work.release.objects)
