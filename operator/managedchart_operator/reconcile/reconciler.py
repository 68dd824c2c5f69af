"""Brings one ManagedChart to the state that its spec asks for.

Purpose: look (release Secrets, status), decide (`decide`), act (a lifecycle's run), tell (`run_recorder`). Boundary: one call
is one pass over one object; when to call is the scheduler's business. Invariants: everything a pass knows it has read
from the cluster, so a restart goes on where the last process was; every error ends in the status; a cancelled pass is no
failure and leaves no helm behind.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import (
    FINALIZER,
    FORCE_ANNOTATION,
    RETRY_ANNOTATION,
    Key,
    ManagedChart,
)
from managedchart_operator.api.spec import Action, DeletionPolicy, ManagedChartSpec
from managedchart_operator.api.status import ManagedChartStatus, Phase
from managedchart_operator.diagnosis.redaction import Redactor
from managedchart_operator.errors import KubeError, OperatorError, SpecError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Decision, Desired, Observed, Verdict, decide
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.inputs import digest_without_inputs
from managedchart_operator.reconcile.memory import handled, memory, requested
from managedchart_operator.reconcile.parse import parse_spec, spec_for_removal
from managedchart_operator.reconcile.release import HelmRelease, Unproven
from managedchart_operator.reconcile.release_takeover import announce_takeover
from managedchart_operator.reconcile.remediation import Remediation
from managedchart_operator.reconcile.removal import end_uninstall, is_ours, lifecycle_for_removal
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, RetryPolicy
from managedchart_operator.reconcile.run_recorder import RunRecorder, timestamp
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.store import Store, release_owner
from managedchart_operator.reconcile.telemetry import Telemetry
from managedchart_operator.reconcile.tools import Tools
from managedchart_operator.reconcile.work import Work, post_failure

_base_logger = logging.getLogger(__name__)

# More do not get on faster, since each asks the API server, and at a start there are as many as resources.
LOOKS = 64


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles ManagedCharts; one for the whole operator."""

    store: Store
    api: ManagedCharts
    objects: Objects
    events: Events
    tools: Tools
    telemetry: Telemetry
    remediation: Remediation
    probe: float
    """Seconds between looks at a resource that was given up."""
    looks: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, LOOKS))
    """Bounds the passes that have not come to a decision yet."""

    async def reconcile(self, key: Key) -> float | None:
        """Make one pass; returns after how many seconds to come again, or None. Never raises but for a defect or a cancel."""
        with contextlib.ExitStack() as look:
            await self.looks.acquire()
            look.callback(self.looks.release)
            return await self._pass(key, looked=look.close)

    async def _pass(self, key: Key, *, looked: Callable[[], None]) -> float | None:
        """Look, and call `looked` before anything that takes its time."""
        chart = self.store.get(key)
        if chart is None:
            return None
        logger = _logger(chart)
        writer = StatusWriter(chart, self.api, written=self.store.put_status)
        recorder = RunRecorder(chart, writer, self.telemetry, logger)
        try:
            if chart.deleting:
                looked()
                return await self._remove(chart, recorder)
            return await self._converge(chart, recorder, looked=looked)
        except OperatorError as error:
            return await self._told(chart, recorder, error)
        except Exception as error:
            logger.exception("the reconcile broke")
            wrapped = OperatorError(
                f"{type(error).__name__}: {error}", transient=True, hint="a defect of the operator: see its log"
            )
            return await self._told(chart, recorder, wrapped)
        finally:
            await writer.close()

    # ---- towards the spec

    async def _converge(
        self, chart: ManagedChart, recorder: RunRecorder, *, looked: Callable[[], None]
    ) -> float | None:
        if FINALIZER not in chart.finalizers and not await self.api.add_finalizer(chart):
            return None  # deleted before we could hold it: nobody would ever remove what is installed now
        spec = parse_spec(chart)
        release = self._release(chart, spec, recorder.status)
        await release.observe()
        self._check_owner(chart, release)
        lifecycle = find_lifecycle(spec.lifecycle.name)
        work = Work(chart, spec, release, recorder)
        work.digest = await self._digest(work)
        decision = decide(
            Desired(spec.action, work.digest, dry_run=spec.dry_run, timeout=seconds(spec.timeout)),
            Observed(
                uid=chart.uid,
                now=datetime.now(UTC).timestamp(),
                revisions=release.revisions,
                memory=memory(chart, recorder.status),
                rollback_is_ours=await release.rollback_is_ours(),
                retry_requested=requested(chart, recorder.status, RETRY_ANNOTATION),
                force_requested=requested(chart, recorder.status, FORCE_ANNOTATION),
            ),
        )
        self.telemetry.reconciled(decision.verdict.value)
        looked()
        match decision.verdict:
            case Verdict.IN_SYNC:
                await self._in_sync(work)
                return None
            case Verdict.HOLD:
                self.telemetry.status_changed(chart.key, recorder.status)
                again = await self.remediation.finish(work)
                return again if decision.wake_at is None else _delay(decision.wake_at)
            case Verdict.WAIT_FOR_LOCK:
                return await self._wait_for_lock(work, decision)
            case Verdict.RUN:
                if await self._still_broken(work):
                    return await self._look_again(work)
                return await self._run(work, lifecycle, decision)

    async def _digest(self, work: Work) -> str:
        """Return the digest of the inputs; of unreadable ones a stand-in, since check_prerequisites reports the error."""
        if work.spec.action is not Action.DEPLOY:
            return digest_without_inputs(work.spec)
        try:
            await work.release.check_inputs()
        except OperatorError:
            return digest_without_inputs(work.spec)
        return work.release.inputs.digest if work.release.inputs else ""

    def _check_owner(self, chart: ManagedChart, release: HelmRelease) -> None:
        claimants = self.store.claimants((release.namespace, release.name))
        owner = release_owner(claimants, label_owner=release.newest.owner if release.newest else None)
        if owner is not None and owner.uid != chart.uid:
            raise SpecError(
                f"the release {release.namespace}/{release.name} belongs to the ManagedChart {owner.key}",
                reason=Reason.RELEASE_OWNED,
                hint="give this one another releaseName or targetNamespace, or delete the other",
            )

    async def _in_sync(self, work: Work) -> None:
        """Write nothing, unless a new generation (that changes nothing of what runs) has to be acknowledged."""
        status, chart = work.recorder.status, work.chart
        acknowledged = status.observed_generation == chart.generation and handled(chart, status)
        settled = all(c.observed_generation == chart.generation and c.type != "Reconciling" for c in status.conditions)
        if acknowledged and settled:
            self.telemetry.status_changed(chart.key, status)
            return
        ready = next((c for c in status.conditions if c.type == "Ready"), None)
        work.recorder.succeeded(
            phase=status.phase,
            reason=Reason(ready.reason) if ready else Reason.DEPLOYED,
            message=ready.message if ready else "in sync",
            digest=work.digest,
            release=status.release,
            released=any(c.type == "Released" and c.status == "True" for c in status.conditions) or None,
        )
        await work.recorder.writer.flush()

    async def _still_broken(self, work: Work) -> bool:
        """Whether this is a look at a release that was given up for its workloads, and they are as unhealthy as before."""
        status, chart = work.recorder.status, work.chart
        failure = status.last_failure
        if failure is None or status.failures <= work.spec.retry.limit or failure.reason not in WORKLOAD_REASONS:
            return False
        if status.attempted_digest != work.digest or status.observed_generation != chart.generation:
            return False
        if requested(chart, status, RETRY_ANNOTATION) or requested(chart, status, FORCE_ANNOTATION):
            return False
        return not await work.release.evidence.is_healthy()

    async def _look_again(self, work: Work) -> float | None:
        status = work.recorder.status
        policy = RetryPolicy(work.spec.retry, self.probe, atomic=work.spec.atomic)
        plan = policy.still_given_up(failures=status.failures, now=datetime.now(UTC))
        work.recorder.still_stalled(plan)
        await work.recorder.writer.flush()
        return _delay(plan.at.timestamp() if plan.at else None)

    async def _wait_for_lock(self, work: Work, decision: Decision) -> float | None:
        until = datetime.fromtimestamp(decision.wake_at or 0.0, UTC)
        message = f"{decision.because}; it is taken over at {timestamp(until)} unless it ends before"
        work.recorder.waiting(message, until=timestamp(until))
        await work.recorder.writer.flush()
        return _delay(decision.wake_at)

    async def _run(self, work: Work, lifecycle: Lifecycle, decision: Decision) -> float | None:
        chart, spec, release, recorder = work.chart, work.spec, work.release, work.recorder
        operation = decision.operation or Operation.SKIP
        recorder.logger.info("%s: %s", operation.value, decision.because)
        if recorder.status.attempted_digest != work.digest or recorder.status.observed_generation != chart.generation:
            recorder.status.failures = 0
        if requested(chart, recorder.status, RETRY_ANNOTATION) or requested(chart, recorder.status, FORCE_ANNOTATION):
            recorder.status.failures = 0
            release.refresh_chart = True
        recorder.begin(f"{operation.value}: {decision.because}", operation=operation, released=decision.released)
        if decision.changed_outside:
            await self.events.post(
                chart, type="Warning", reason="ReleaseChanged", message=f"{decision.because}; bringing it back"
            )
        retried = recorder.status.failures > 0
        if retried:
            self.telemetry.retried()
        if operation in (Operation.INSTALL, Operation.UPGRADE, Operation.UNINSTALL) and not retried:
            await self.events.post(chart, type="Normal", reason=f"{operation.value}Started", message=decision.because)
        await announce_takeover(work, operation, self.events)
        release.dry_run = operation is Operation.DRY_RUN
        if decision.wait:
            release.unproven = Unproven(may_fail=decision.may_fail)
        try:
            if decision.unlock is not None:
                recorder.logger.info("revision %d (%s) is taken over", decision.unlock.number, decision.unlock.status)
                await release.unlock(decision.unlock)
            if decision.uninstall_first:
                await end_uninstall(release, recorder)
            await lifecycle.run(work.context(self.objects, action=spec.action, operation=operation))
        except OperatorError as error:
            return await self._failed(work, error, operation)
        finally:
            await release.evidence.close()
            await work.post_warnings(self.events)
        await self._succeeded(work, operation)
        return None

    async def _succeeded(self, work: Work, operation: Operation) -> None:
        release, recorder = work.release, work.recorder
        match operation:
            case Operation.SKIP:
                phase, reason, message = Phase.SKIPPED, Reason.SKIPPED, "the spec says Skip: nothing was touched"
            case Operation.UNINSTALL:
                phase, reason, message = Phase.DESTROYED, Reason.DESTROYED, release.outcome
            case Operation.DRY_RUN:
                phase, reason, message = Phase.READY, Reason.DRY_RUN_SUCCEEDED, release.outcome
            case _:
                phase, reason, message = Phase.READY, Reason.DEPLOYED, release.outcome or "deployed"
        status = (
            recorder.status.release if operation in (Operation.SKIP, Operation.DRY_RUN) else await work.release_status()
        )
        if status is not None and reason is Reason.DEPLOYED:
            message = f"{status.chart} {status.chart_version} is deployed as revision {status.revision}"
        if operation.deploys:
            recorder.remember(
                release.newest, action=operation.value, chart_version=status.chart_version if status else None
            )
        recorder.succeeded(
            phase=phase,
            reason=reason,
            message=message,
            digest=work.digest,
            release=status,
            released=True if reason is Reason.DEPLOYED else None,
        )
        await recorder.writer.flush()
        recorder.logger.info("%s: %s", reason.value, message)
        await self.events.post(work.chart, type="Normal", reason=reason.value, message=message)

    # ---- when it fails

    async def _failed(self, work: Work, error: OperatorError, operation: Operation) -> float | None:
        """Record the failure with its evidence, then remedy it: in this order, so that a kill in between loses neither."""
        chart, recorder, release = work.chart, work.recorder, work.release
        error = explain(error, recorder.findings, redact=release.evidence.redactor())
        await release.observe()
        newest = release.newest
        made = newest is not None and newest.attempt == release.attempt
        # One that is pending and that this run has not made is being made by another helm: nothing of it is ours to mend.
        left = None if newest is None or (newest.pending and not made) else newest.number
        now = datetime.now(UTC)
        policy = RetryPolicy(work.spec.retry, self.probe, atomic=work.spec.atomic, endless=chart.deleting)
        plan = policy.after(error, failures=recorder.status.failures + 1, now=now)
        applied = operation.deploys and recorder.failed_phase is Phase.EXEC
        status = await work.release_status()
        if applied and made:
            recorder.remember(newest, action=operation.value, chart_version=status.chart_version if status else None)
        news = recorder.failed(
            error,
            digest=work.digest,
            plan=plan,
            release=status,
            revision=left if applied else None,
            phase=Phase.DELETING if chart.deleting else Phase.FAILED,
        )
        await recorder.writer.flush()
        recorder.logger.warning("%s: %s", error.reason.value, error.message)
        if news:
            await post_failure(self.events, chart, error, plan)
        again = await self.remediation.finish(work)
        return _delay(plan.at.timestamp()) if plan.at else again

    async def _told(self, chart: ManagedChart, recorder: RunRecorder, error: OperatorError) -> float | None:
        """Put an error that no phase caused into the status; returns when to try again."""
        error = explain(error, recorder.findings, redact=Redactor())
        status = recorder.status
        terminal_again = (
            not error.transient
            and not chart.deleting
            and status.observed_generation == chart.generation
            and any(c.type == "Stalled" and c.reason == error.reason for c in status.conditions)
            and status.last_failure is not None
            and status.last_failure.message == error.message
        )
        if terminal_again:
            return None
        if status.observed_generation != chart.generation:
            status.failures = 0
        now = datetime.now(UTC)
        spec = spec_for_removal(chart)
        policy = RetryPolicy(spec.retry, self.probe, endless=error.transient)
        plan = policy.after(error, failures=status.failures + 1, now=now)
        news = recorder.failed(
            error,
            digest=None,
            plan=plan,
            release=status.release,
            revision=None,
            phase=Phase.DELETING if chart.deleting else Phase.FAILED,
        )
        recorder.logger.warning("%s: %s", error.reason.value, error.message)
        try:
            await recorder.writer.flush()
        except KubeError as second:
            recorder.logger.warning("the status cannot be written: %s", second.message)
        else:
            if news:
                await post_failure(self.events, chart, error, plan)
        return _delay(plan.at.timestamp() if plan.at else None)

    # ---- removal

    async def _remove(self, chart: ManagedChart, recorder: RunRecorder) -> float | None:
        """Carry out the deletion of the resource: by its policy uninstall or leave the release, then let the object go."""
        if FINALIZER not in chart.finalizers:
            return None
        spec = spec_for_removal(chart)
        release = self._release(chart, spec, recorder.status)
        if spec.deletion_policy is DeletionPolicy.UNINSTALL:
            await release.observe()
            if is_ours(chart, recorder.status, release):
                recorder.begin("Uninstall: the resource is being deleted")
                work = Work(chart, spec, release, recorder, digest=digest_without_inputs(spec))
                try:
                    await lifecycle_for_removal(spec, recorder).run(
                        work.context(self.objects, action=Action.DESTROY, operation=Operation.UNINSTALL)
                    )
                except OperatorError as error:
                    return await self._failed(work, error, Operation.UNINSTALL)
                finally:
                    await release.evidence.close()
                    await work.post_warnings(self.events)
        await recorder.writer.abandon()
        await self.api.remove_finalizer(chart)
        recorder.logger.info("removed (%s)", spec.deletion_policy.value)
        return None

    # ---- parts

    def _release(self, chart: ManagedChart, spec: ManagedChartSpec, status: ManagedChartStatus) -> HelmRelease:
        return HelmRelease(
            tools=self.tools,
            spec=spec,
            name=chart.release_name,
            namespace=chart.release_namespace,
            owner=chart.uid,
            in_own_namespace=chart.release_namespace == chart.key.namespace,
            started=datetime.now(UTC),
            blocked_by=tuple(map(ObjectRef.parse, status.blocked_by)),
        )


def _delay(at: float | None) -> float | None:
    return None if at is None else max(at - datetime.now(UTC).timestamp(), 0.0)


def _logger(chart: ManagedChart) -> logging.LoggerAdapter[logging.Logger]:
    return logging.LoggerAdapter(
        _base_logger, {"namespace": chart.key.namespace, "name_": chart.key.name, "generation": chart.generation}
    )
