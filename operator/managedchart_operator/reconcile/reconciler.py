"""Brings one ManagedChart to the state that its spec asks for: one call is one pass over one object.

The planner observes and decides, `lifecycle_runs` and `removal` carry the plan out and record the result, and the scheduler
starts the next pass. A pass knows only what it reads from the cluster, so a restarted operator continues where the last one
stopped. Every error ends in the status. A cancelled pass is not a failure, and leaves no helm process behind.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import FINALIZER, FORCE_ANNOTATION, Key, ManagedChart
from managedchart_operator.api.status import Outlook
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.last_run import attempt_requested, handled
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns, post_failure, post_warnings
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.parse import spec_for_removal
from managedchart_operator.reconcile.phase_recorder import PhaseRecorder
from managedchart_operator.reconcile.plan import Hold, InSync, Run, Wait
from managedchart_operator.reconcile.planner import Planned, Planner
from managedchart_operator.reconcile.removal import Removal
from managedchart_operator.reconcile.rendered import is_healthy
from managedchart_operator.reconcile.resource_pass import Recording, ResourcePass
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, RetryPolicy
from managedchart_operator.reconcile.status_recorder import Failure, StatusRecorder
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.store import Store
from managedchart_operator.reconcile.telemetry import Telemetry
from managedchart_operator.redaction import Redactor
from managedchart_operator.times import delay_until, write_time

_base_logger = logging.getLogger(__name__)

# At a start every resource has one. Each sends requests to the API server, so more at once are not faster.
MAX_CONCURRENT_PLANS = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """A pass is over; `again` is the seconds until the next one, None for not without a change."""

    again: float | None = None


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles ManagedCharts; one for the whole operator."""

    store: Store
    api: ManagedCharts
    events: Events
    telemetry: Telemetry
    planner: Planner
    runs: LifecycleRuns
    removal: Removal
    planning: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, MAX_CONCURRENT_PLANS))
    """Bounds the passes that have no plan yet."""

    async def reconcile(self, key: Key) -> float | None:
        """Make one pass; returns the seconds until the next one, or None. Raises only for a defect or a cancellation."""
        async with self.planning:
            chart = self.store.get(key)
            if chart is None:
                return None
            recording = self._open(chart)
            planned = Done() if chart.deleting else await self._guard(recording, self._plan(recording))
        if chart.deleting:
            return (await self._guard(recording, self._remove(recording))).again
        if isinstance(planned, Done):
            return planned.again
        return (await self._guard(recording, self._carry_out(planned))).again

    def _open(self, chart: ManagedChart) -> Recording:
        logger = logging.LoggerAdapter(
            _base_logger, {"namespace": chart.key.namespace, "name_": chart.key.name, "generation": chart.generation}
        )
        writer = StatusWriter(chart, self.api, written=self.store.put_status)
        journal = Journal()
        phases = PhaseRecorder(chart, writer, self.telemetry, logger, journal)
        return Recording(chart, StatusRecorder(chart, writer, self.telemetry), phases, journal, logger)

    async def _guard(self, recording: Recording, work: Coroutine[Any, Any, T]) -> T | Done:
        """Do a part of a pass, and record an error that ends it in the status."""
        try:
            return await work
        except OperatorError as error:
            return Done(await self._record_error(recording, error))
        except Exception as error:
            recording.logger.exception("unhandled error during reconciliation")
            wrapped = OperatorError(
                f"Unhandled error: {type(error).__name__}: {error}",
                transient=True,
                hint="Report this defect of the operator, with the traceback from its log.",
            )
            return Done(await self._record_error(recording, wrapped))
        finally:
            await recording.recorder.writer.close()

    # ---- towards the spec

    async def _plan(self, recording: Recording) -> Planned | Done:
        chart = recording.chart
        if FINALIZER not in chart.finalizers and not await self.api.add_finalizer(chart):
            return Done()  # deleted before it has the finalizer: nothing would ever uninstall what is installed now
        planned = await self.planner.plan(recording)
        self.telemetry.reconciled(type(planned.plan).__name__)
        return planned

    async def _carry_out(self, planned: Planned) -> Done:
        work = planned.work
        match planned.plan:
            case InSync():
                return await self._acknowledge(work)
            case Hold(until):
                self.telemetry.status_changed(work.chart.key, work.recorder.status)
                again = await self._finish_remedy(work)
                await post_warnings(work, self.events)
                return Done(again if until is None else delay_until(until))
            case Wait() as wait:
                return await self._wait(work, wait)
            case Run() if await _is_still_unhealthy(work):
                return await self._check_again(work)
            case Run() as run:
                return Done(await self.runs.run(work, planned.lifecycle, run))

    async def _acknowledge(self, work: ResourcePass) -> Done:
        """Write the status only to acknowledge a request, or a new generation that changes nothing of what runs."""
        chart, status = work.chart, work.recorder.status
        settled = status.observed_generation == chart.generation and work.last.current and not work.last.waited
        if settled and handled(chart, status):
            self.telemetry.status_changed(chart.key, status)
            return Done()
        work.recorder.in_sync()
        await work.recorder.writer.flush()
        return Done()

    async def _finish_remedy(self, work: ResourcePass) -> float | None:
        """Finish the remedy for an earlier failure; returns the seconds until the next try, or None."""
        try:
            return await self.runs.remediation.finish(work)
        except (KubeError, HelmError) as error:
            work.logger.warning("cannot decide yet how to remedy the failure: %s", error.message)
            return seconds(work.spec.retry.max_backoff) if error.transient else None

    async def _wait(self, recording: Recording, wait: Wait) -> Done:
        key = recording.chart.key
        until = write_time(datetime.fromtimestamp(wait.until, UTC))
        message = (
            f"{wait.because}. The operator takes over its lock at {until} unless that operation ends first; to take it over"
            f" now: kubectl -n {key.namespace} annotate managedchart {key.name} --overwrite"
            f' {FORCE_ANNOTATION}="$(date)"'
        )
        recording.recorder.waiting(wait, message)
        await recording.recorder.writer.flush()
        return Done(delay_until(wait.until))

    async def _check_again(self, work: ResourcePass) -> Done:
        """Record that nothing has changed for a resource whose retries are exhausted."""
        policy = RetryPolicy(work.spec.retry, self.runs.probe)
        plan = policy.still_given_up(failures=work.last.failures, now=datetime.now(UTC))
        work.recorder.still_stalled(plan, limit=work.spec.retry.limit)
        await work.recorder.writer.flush()
        return Done(delay_until(plan.at) if plan.at else None)

    # ---- deletion, and errors that no phase caused

    async def _remove(self, recording: Recording) -> Done:
        again = await self.removal.remove(recording)
        return await self._wait(recording, again) if isinstance(again, Wait) else Done(again)

    async def _record_error(self, recording: Recording, error: OperatorError) -> float | None:
        """Put an error that no phase caused into the status; returns the seconds until the retry, or None."""
        error = explain(error, recording.phases.findings, redact=Redactor())
        chart, recorder, logger = recording.chart, recording.recorder, recording.logger
        status, attempt = recorder.status, recorder.status.attempt
        current = attempt.generation == chart.generation
        failing = current and attempt.failures > 0
        known = status.last_failure.message if failing and status.last_failure else None
        said = attempt.outlook is Outlook.CHANGE and (attempt.reason, known) == (error.reason, error.message)
        if said and not (error.transient or chart.deleting):
            return None
        retry = spec_for_removal(chart).retry
        if failing and error.transient and attempt.digest and not chart.deleting:
            # Keep what the status says about the failure and its retry, although the API server does not answer.
            logger.warning("%s: %s", error.reason.value, error.message)
            return seconds(retry.backoff if error.reason is Reason.API_UNAVAILABLE else retry.max_backoff)
        policy = RetryPolicy(retry, self.runs.probe, endless=error.transient)
        plan = policy.after(error, failures=attempt.failures + 1 if current else 1, now=datetime.now(UTC))
        phases = recording.phases
        failure = Failure(
            error,
            digest=None,
            release=status.release,
            phase=phases.failed_phase,
            released=phases.released_after_failure,
            findings=phases.findings,
        )
        news = recorder.failed(failure, plan, limit=retry.limit)
        logger.warning("%s: %s", error.reason.value, error.message)
        try:
            await recorder.writer.flush()
        except KubeError as second:
            logger.warning("cannot write the status: %s", second.message)
        else:
            if news:
                await post_failure(self.events, chart, error, plan, limit=retry.limit)
        return delay_until(plan.at) if plan.at else None


async def _is_still_unhealthy(work: ResourcePass) -> bool:
    """Whether the retries ended with unhealthy workloads, nothing has changed since, and they still are."""
    last = work.last
    if last.interrupted or last.failures <= work.spec.retry.limit or last.reason not in WORKLOAD_REASONS:
        return False
    if not work.digest.matches(last.digest) or not last.current:
        return False
    if attempt_requested(work.chart, work.recorder.status):
        return False
    return not await is_healthy(work.release.evidence.rendered, work.release.objects)
