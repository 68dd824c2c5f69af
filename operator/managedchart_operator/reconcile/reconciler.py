"""Brings one ManagedChart to the state that its spec asks for.

Purpose: look (release Secrets, status), decide (`decide`), act (a lifecycle's run), tell (`run_recorder`). Boundary: one call
is one pass over one object; when to call is the scheduler's business. Invariants: everything a pass knows it has read
from the cluster, so a restart goes on where the last process was; every error ends in the status; a cancelled pass is no
failure and leaves no helm behind.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import (
    FINALIZER,
    FORCE_ANNOTATION,
    RETRY_ANNOTATION,
    Key,
    ManagedChart,
)
from managedchart_operator.api.spec import Action, DeletionPolicy, ManagedChartSpec
from managedchart_operator.api.status import ManagedChartStatus, Phase, ReleaseStatus
from managedchart_operator.diagnosis.redaction import Redactor
from managedchart_operator.errors import HelmError, KubeError, OperatorError, SpecError
from managedchart_operator.helm.storage import DEPLOYED, FAILED
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Decision, Desired, Memory, Observed, Verdict, decide, remedy
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.inputs import digest_without_inputs
from managedchart_operator.reconcile.parse import parse_spec, spec_for_removal
from managedchart_operator.reconcile.release import HelmRelease, Tools
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, Next, RetryPolicy
from managedchart_operator.reconcile.run_recorder import RunRecorder, timestamp
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.store import Store, release_owner
from managedchart_operator.reconcile.telemetry import Telemetry

_base_logger = logging.getLogger(__name__)

_GOOD_PHASES = frozenset({Phase.READY, Phase.SKIPPED, Phase.DESTROYED})


@dataclass(slots=True)
class _Pass:
    """What one pass over one object works with."""

    chart: ManagedChart
    spec: ManagedChartSpec
    release: HelmRelease
    recorder: RunRecorder
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles ManagedCharts; one for the whole operator."""

    store: Store
    api: ManagedCharts
    objects: Objects
    events: Events
    tools: Tools
    telemetry: Telemetry
    probe: float
    """Seconds between looks at a resource that was given up."""

    async def reconcile(self, key: Key) -> float | None:
        """Make one pass; returns after how many seconds to come again, or None. Never raises but for a defect or a cancel."""
        chart = self.store.get(key)
        if chart is None:
            return None
        logger = _logger(chart)
        writer = StatusWriter(chart, self.api, written=self.store.put_status)
        recorder = RunRecorder(chart, writer, self.telemetry, logger)
        try:
            if chart.deleting:
                return await self._remove(chart, recorder)
            return await self._converge(chart, recorder)
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

    async def _converge(self, chart: ManagedChart, recorder: RunRecorder) -> float | None:
        if FINALIZER not in chart.finalizers and not await self.api.add_finalizer(chart):
            return None  # deleted before we could hold it: nobody would ever remove what is installed now
        spec = parse_spec(chart)
        release = self._release(chart, spec, recorder.status)
        await release.observe()
        self._check_owner(chart, release)
        lifecycle = find_lifecycle(spec.lifecycle.name)
        work = _Pass(chart, spec, release, recorder)
        work.digest = await self._digest(work)
        decision = decide(
            Desired(spec.action, work.digest, dry_run=spec.dry_run, timeout=seconds(spec.timeout)),
            Observed(
                uid=chart.uid,
                now=datetime.now(UTC).timestamp(),
                revisions=release.revisions,
                memory=_memory(chart, recorder.status),
                rollback_is_ours=await release.rollback_is_ours(),
                retry_requested=_requested(chart, recorder.status, RETRY_ANNOTATION),
                force_requested=_requested(chart, recorder.status, FORCE_ANNOTATION),
            ),
        )
        self.telemetry.reconciled(decision.verdict.value)
        match decision.verdict:
            case Verdict.IN_SYNC:
                await self._in_sync(work)
                return None
            case Verdict.HOLD:
                self.telemetry.status_changed(chart.key, recorder.status)
                again = await self._finish_remediation(work)
                return again if decision.wake_at is None else _delay(decision.wake_at)
            case Verdict.WAIT_FOR_LOCK:
                return await self._wait_for_lock(work, decision)
            case Verdict.RUN:
                if await self._still_broken(work):
                    return await self._look_again(work)
                return await self._run(work, lifecycle, decision)

    async def _digest(self, work: _Pass) -> str:
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

    async def _in_sync(self, work: _Pass) -> None:
        """Write nothing, unless a new generation (that changes nothing of what runs) has to be acknowledged."""
        status, chart = work.recorder.status, work.chart
        acknowledged = status.observed_generation == chart.generation and _handled(chart, status)
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

    async def _still_broken(self, work: _Pass) -> bool:
        """Whether this is a look at a release that was given up for its workloads, and they are as unhealthy as before."""
        status, chart = work.recorder.status, work.chart
        failure = status.last_failure
        if failure is None or status.failures <= work.spec.retry.limit or failure.reason not in WORKLOAD_REASONS:
            return False
        if status.attempted_digest != work.digest or status.observed_generation != chart.generation:
            return False
        if _requested(chart, status, RETRY_ANNOTATION) or _requested(chart, status, FORCE_ANNOTATION):
            return False
        return not await work.release.evidence.is_healthy()

    async def _look_again(self, work: _Pass) -> float | None:
        status = work.recorder.status
        policy = RetryPolicy(work.spec.retry, self.probe, atomic=work.spec.atomic)
        plan = policy.still_given_up(failures=status.failures, now=datetime.now(UTC))
        work.recorder.still_stalled(plan)
        await work.recorder.writer.flush()
        return _delay(plan.at.timestamp() if plan.at else None)

    async def _wait_for_lock(self, work: _Pass, decision: Decision) -> float | None:
        until = datetime.fromtimestamp(decision.wake_at or 0.0, UTC)
        message = f"{decision.because}; it is taken over at {timestamp(until)} unless it ends before"
        work.recorder.waiting(message, until=timestamp(until))
        await work.recorder.writer.flush()
        return _delay(decision.wake_at)

    async def _run(self, work: _Pass, lifecycle: Lifecycle, decision: Decision) -> float | None:
        chart, spec, release, recorder = work.chart, work.spec, work.release, work.recorder
        operation = decision.operation or Operation.SKIP
        recorder.logger.info("%s: %s", operation.value, decision.because)
        if recorder.status.attempted_digest != work.digest or recorder.status.observed_generation != chart.generation:
            recorder.status.failures = 0
        if _requested(chart, recorder.status, RETRY_ANNOTATION) or _requested(chart, recorder.status, FORCE_ANNOTATION):
            recorder.status.failures = 0
            release.refresh_chart = True
        recorder.begin(f"{operation.value}: {decision.because}")
        if decision.changed_outside:
            await self.events.post(
                chart, type="Warning", reason="ReleaseChanged", message=f"{decision.because}; bringing it back"
            )
        retried = recorder.status.failures > 0
        if retried:
            self.telemetry.retried()
        if operation in (Operation.INSTALL, Operation.UPGRADE, Operation.UNINSTALL) and not retried:
            await self.events.post(chart, type="Normal", reason=f"{operation.value}Started", message=decision.because)
        release.dry_run = operation is Operation.DRY_RUN
        try:
            if decision.unlock is not None:
                recorder.logger.info("revision %d (%s) is taken over", decision.unlock.number, decision.unlock.status)
                await release.unlock(decision.unlock)
            if decision.uninstall_first:
                await _end_uninstall(release, recorder)
            await lifecycle.run(self._context(work, action=spec.action, operation=operation))
        except OperatorError as error:
            return await self._failed(work, error, operation)
        finally:
            await release.evidence.close()
            await self._post_warnings(work)
        await self._succeeded(work, operation)
        return None

    async def _succeeded(self, work: _Pass, operation: Operation) -> None:
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
            recorder.status.release
            if operation in (Operation.SKIP, Operation.DRY_RUN)
            else await self._release_status(work)
        )
        if status is not None and reason is Reason.DEPLOYED:
            message = f"{status.chart} {status.chart_version} is deployed as revision {status.revision}"
        if operation in (Operation.INSTALL, Operation.UPGRADE, Operation.FINISH):
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

    async def _failed(self, work: _Pass, error: OperatorError, operation: Operation) -> float | None:
        """Record the failure with its evidence, then remedy it: in this order, so that a kill in between loses neither."""
        chart, recorder, release = work.chart, work.recorder, work.release
        error = explain(error, recorder.findings, redact=release.evidence.redactor())
        await release.observe()
        failed_revision = release.newest.number if release.newest else None
        now = datetime.now(UTC)
        policy = RetryPolicy(work.spec.retry, self.probe, atomic=work.spec.atomic, endless=chart.deleting)
        plan = policy.after(error, failures=recorder.status.failures + 1, now=now)
        applied = operation in (Operation.INSTALL, Operation.UPGRADE) and recorder.failed_phase is Phase.EXEC
        status = await self._release_status(work)
        if applied:
            recorder.remember(
                release.newest, action=operation.value, chart_version=status.chart_version if status else None
            )
        news = recorder.failed(
            error,
            digest=work.digest,
            plan=plan,
            release=status,
            revision=failed_revision if applied else None,
            phase=Phase.DELETING if chart.deleting else Phase.FAILED,
        )
        await recorder.writer.flush()
        recorder.logger.warning("%s: %s", error.reason.value, error.message)
        if news:
            await self._post_failure(chart, error, plan)
        again = await self._finish_remediation(work)
        return _delay(plan.at.timestamp()) if plan.at else again

    async def _finish_remediation(self, work: _Pass) -> float | None:
        """Go back to the last good revision, or uninstall a failed first install, if that is still to be done.

        The state says so by itself: atomic is set, and the newest revision is the failed one that our status tells of, or
        a way back from there that failed too. Whatever atomic says, a revision whose helm was killed does not stay pending.
        Returns after how many seconds to try once more, or None.
        """
        newest, failure = work.release.newest, work.recorder.status.last_failure
        if newest is None or failure is None or failure.revision is None or failure.revision > newest.number:
            return None
        if work.spec.action is not Action.DEPLOY or work.chart.deleting:
            return None
        if newest.pending and (newest.number == failure.revision or await work.release.rollback_is_ours()):
            work.recorder.logger.info("revision %d (%s) was left by a killed helm", newest.number, newest.status)
            await work.release.unlock(newest)
            work.recorder.status.release = await self._release_status(work)
            await work.recorder.writer.flush()
            newest = work.release.newest
        if not work.spec.atomic or newest is None or newest.status != FAILED:
            return None
        return await self._go_back(work)

    async def _go_back(self, work: _Pass) -> float | None:
        good, again = remedy(work.release.revisions), None
        conditions = work.recorder.status.conditions
        try:
            if good is not None:
                await work.release.rollback(good)
                outcome = f"rolled back to revision {good.number}"
                await self.events.post(work.chart, type="Normal", reason="RolledBack", message=outcome)
            else:
                await work.release.uninstall()
                outcome = "the failed first install was uninstalled"
                await self.events.post(work.chart, type="Normal", reason="Uninstalled", message=outcome)
        except OperatorError as error:
            outcome = f"going back failed too: {error.message}"
            if error.transient and error.reason not in WORKLOAD_REASONS:
                again = _pause_before_going_back(work)
            await self.events.post(work.chart, type="Warning", reason=Reason.ROLLBACK_FAILED.value, message=outcome)
        work.recorder.logger.info("%s", outcome)
        for condition in conditions:
            if condition.type in ("Reconciling", "Stalled"):
                condition.message = f"{outcome}; {condition.message}"
        status = work.recorder.status.release = await self._release_status(work)
        if good is not None:
            version = status.chart_version if status else None
            work.recorder.remember(work.release.newest, action="Rollback", chart_version=version)
        await work.recorder.writer.flush()
        return again

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
                await self._post_failure(chart, error, plan)
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
            if _is_ours(chart, recorder.status, release):
                recorder.begin("Uninstall: the resource is being deleted")
                work = _Pass(chart, spec, release, recorder, digest=digest_without_inputs(spec))
                try:
                    await _lifecycle_for_removal(spec, recorder).run(
                        self._context(work, action=Action.DESTROY, operation=Operation.UNINSTALL)
                    )
                except OperatorError as error:
                    return await self._failed(work, error, Operation.UNINSTALL)
                finally:
                    await release.evidence.close()
                    await self._post_warnings(work)
        await recorder.writer.close()
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
            started=datetime.now(UTC),
            blocked_by=tuple(map(ObjectRef.parse, status.blocked_by)),
        )

    def _context(self, work: _Pass, *, action: Action, operation: Operation) -> PhaseContext:
        return PhaseContext(
            resource=str(work.chart.key),
            spec=work.spec,
            action=action,
            operation=operation,
            release=work.release,
            cluster=self.objects,
            recorder=work.recorder,
            logger=work.recorder.logger,
        )

    async def _post_failure(self, chart: ManagedChart, error: OperatorError, plan: Next) -> None:
        """Tell of a failure in an Event: what it is, what to do about it, and that it was given up where it was."""
        parts = [error.message, f"({error.hint})" if error.hint else "", plan.message if plan.gave_up else ""]
        message = " ".join(part for part in parts if part)
        await self.events.post(chart, type="Warning", reason=error.reason.value, message=message)

    async def _post_warnings(self, work: _Pass) -> None:
        for reason, message in work.recorder.warnings:
            await self.events.post(work.chart, type="Warning", reason=reason, message=message)
        work.recorder.warnings.clear()

    async def _release_status(self, work: _Pass) -> ReleaseStatus | None:
        """Describe the newest revision; what cannot be read is taken from the chart that was just deployed."""
        release, newest = work.release, work.release.newest
        if newest is None:
            return None
        chart = release.chart
        name, version, app = (chart.name, chart.version, chart.app_version) if chart else (None, None, None)
        if chart is None or newest.digest != work.digest:
            try:
                stored = await release.read_stored()
            except (KubeError, HelmError) as error:
                work.recorder.logger.warning("revision %d cannot be read: %s", newest.number, error.message)
            else:
                name, version, app = (
                    (stored.chart_name, stored.chart_version, stored.app_version) if stored else (None, None, None)
                )
        modified = datetime.fromtimestamp(newest.modified_at, UTC) if newest.modified_at else None
        return ReleaseStatus(
            name=release.name,
            namespace=release.namespace,
            revision=newest.number,
            status=newest.status,
            chart=name,
            chart_version=version,
            app_version=app,
            digest=newest.digest,
            last_deployed=timestamp(modified) if modified else None,
        )


def _is_ours(chart: ManagedChart, status: ManagedChartStatus, release: HelmRelease) -> bool:
    """Whether this resource deployed the release; one of somebody else that it merely names is left alone."""
    if release.newest is None or release.newest.owner is None:
        return status.release is not None or bool(status.blocked_by)
    return release.newest.owner == chart.uid


async def _end_uninstall(release: HelmRelease, recorder: RunRecorder) -> None:
    """End an uninstall that was interrupted; one that cannot be ended must not keep what is wanted now from coming."""
    try:
        await release.uninstall()
    except HelmError as error:
        recorder.warn(
            error.reason, f"the interrupted uninstall cannot be ended, deploying over what is left: {error.message}"
        )


def _lifecycle_for_removal(spec: ManagedChartSpec, recorder: RunRecorder) -> Lifecycle:
    """Return the lifecycle; the default one where it is gone, since nothing may hold up a deletion."""
    try:
        return find_lifecycle(spec.lifecycle.name)
    except SpecError as error:
        recorder.warn(error.reason, f"removing with the default lifecycle: {error.message}")
        return Lifecycle()


def _memory(chart: ManagedChart, status: ManagedChartStatus) -> Memory:
    retry_at = datetime.fromisoformat(status.next_retry_at) if status.next_retry_at else None
    return Memory(
        digest=status.attempted_digest,
        current=status.observed_generation == chart.generation,
        succeeded=status.failures == 0 and status.phase in _GOOD_PHASES,
        revision=status.release.revision if status.release else None,
        failures=status.failures,
        retry_at=retry_at.timestamp() if retry_at else None,
        # A run that ends says something else here, whatever came of it.
        interrupted=any(c.type == "Reconciling" and c.reason == Reason.PROGRESSING for c in status.conditions),
    )


def _pause_before_going_back(work: _Pass) -> float:
    """Seconds until the next try to go back: as for retries, by the failed revisions on top, which a restart finds too."""
    unfinished = takewhile(lambda revision: revision.status != DEPLOYED, work.release.revisions)
    retry = work.spec.retry
    return min(seconds(retry.backoff) * 2.0 ** max(sum(1 for _ in unfinished) - 2, 0), seconds(retry.max_backoff))


def _requested(chart: ManagedChart, status: ManagedChartStatus, annotation: str) -> bool:
    """Whether the annotation carries a token that was not carried out yet."""
    token = chart.requests.get(annotation)
    return token is not None and status.handled_requests.get(annotation) != token


def _handled(chart: ManagedChart, status: ManagedChartStatus) -> bool:
    return all(status.handled_requests.get(name) == token for name, token in chart.requests.items())


def _delay(at: float | None) -> float | None:
    return None if at is None else max(at - datetime.now(UTC).timestamp(), 0.0)


def _logger(chart: ManagedChart) -> logging.LoggerAdapter[logging.Logger]:
    return logging.LoggerAdapter(
        _base_logger, {"namespace": chart.key.namespace, "name_": chart.key.name, "generation": chart.generation}
    )
