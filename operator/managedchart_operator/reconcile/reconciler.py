"""Brings one ManagedChart to the state that its spec asks for.

Purpose: look (release Secrets, status), decide (`decide`), act (a lifecycle's run), tell (`run_recorder`). Boundary: one call
is one pass over one object; when to call is the scheduler's business. Invariants: everything a pass knows it has read
from the cluster, so a restart goes on where the last process was; every error ends in the status; a cancelled pass is no
failure and leaves no helm behind.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
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
from managedchart_operator.errors import HelmError, KubeError, OperatorError, ReleaseKeptError, SpecError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Decision, Desired, Observed, Verdict, decide, wait_for_lock
from managedchart_operator.reconcile.digest import Digest, digest_without_inputs
from managedchart_operator.reconcile.explain import explain
from managedchart_operator.reconcile.failure import is_verdict, newest_if_made, unremedied, was_applied
from managedchart_operator.reconcile.memory import handled, memory, requested
from managedchart_operator.reconcile.operator_removal import OperatorRemoval, kept_release
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.parse import parse_spec, spec_for_removal
from managedchart_operator.reconcile.release import HelmRelease, Unproven
from managedchart_operator.reconcile.release_takeover import announce_takeover
from managedchart_operator.reconcile.remediation import RELEASE_LEFT, Remediation, mark_unready, unlock_killed
from managedchart_operator.reconcile.remedy import NOTHING, Remedy, RemedyPlan
from managedchart_operator.reconcile.removal import is_to_be_removed, keep, lifecycle_for_removal
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, RetryPolicy
from managedchart_operator.reconcile.run_recorder import RunRecorder
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.store import Store, release_owner
from managedchart_operator.reconcile.telemetry import Telemetry
from managedchart_operator.reconcile.tools import Tools
from managedchart_operator.reconcile.work import Work, post_failure
from managedchart_operator.redaction import Redactor
from managedchart_operator.times import write_time

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
    operator_removal: OperatorRemoval
    probe: float
    """Seconds between looks at a resource that was given up."""
    looks: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, LOOKS))
    """Bounds the passes that have not come to a decision yet."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def reconcile(self, key: Key) -> float | None:
        """Make one pass; returns after how many seconds to come again, or None. Raises for a defect or a cancel only."""
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
        decision = decide(_desired(work), await self._observed(work))
        self.telemetry.reconciled(decision.verdict.value)
        looked()
        match decision.verdict:
            case Verdict.IN_SYNC:
                await self._in_sync(work)
                return None
            case Verdict.HOLD:
                self.telemetry.status_changed(chart.key, recorder.status)
                again = await self._finish_remedy(work)
                await work.post_warnings(self.events)
                return again if decision.wake_at is None else _delay(decision.wake_at)
            case Verdict.WAIT_FOR_LOCK:
                return await self._wait_for_lock(work, decision)
            case Verdict.RUN:
                if await self._still_broken(work):
                    return await self._look_again(work)
                return await self._run(work, lifecycle, decision)

    async def _digest(self, work: Work) -> Digest:
        """Return the digest of the inputs; of unreadable ones a stand-in, since check_prerequisites reports the error."""
        if work.spec.action is not Action.DEPLOY:
            return digest_without_inputs(work.spec)
        try:
            await work.release.check_inputs()
        except OperatorError:
            return digest_without_inputs(work.spec)
        return work.release.inputs.digest if work.release.inputs else Digest("")

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
            digest=work.digest.text,
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
        if not work.digest.matches(status.attempted_digest) or status.observed_generation != chart.generation:
            return False
        if requested(chart, status, RETRY_ANNOTATION) or requested(chart, status, FORCE_ANNOTATION):
            return False
        return not await work.release.evidence.is_healthy()

    async def _look_again(self, work: Work) -> float | None:
        status = work.recorder.status
        policy = RetryPolicy(work.spec.retry, self.probe)
        plan = policy.still_given_up(failures=status.failures, now=datetime.now(UTC))
        work.recorder.still_stalled(plan)
        await work.recorder.writer.flush()
        return _delay(plan.at.timestamp() if plan.at else None)

    async def _wait_for_lock(self, work: Work, decision: Decision) -> float | None:
        until = datetime.fromtimestamp(decision.wake_at or 0.0, UTC)
        key = work.chart.key
        message = (
            f"{decision.because}. The operator takes the release over at {write_time(until)} unless that operation ends before,"
            f" or at once after: kubectl -n {key.namespace} annotate managedchart {key.name} --overwrite"
            f' {FORCE_ANNOTATION}="$(date)"'
        )
        work.recorder.waiting(message, until=write_time(until), gone=decision.gone)
        await work.recorder.writer.flush()
        return _delay(decision.wake_at)

    async def _run(self, work: Work, lifecycle: Lifecycle, decision: Decision) -> float | None:
        chart, spec, release, recorder = work.chart, work.spec, work.release, work.recorder
        operation = decision.operation or Operation.SKIP
        recorder.logger.info("%s: %s", operation.value, decision.because)
        if (
            not work.digest.matches(recorder.status.attempted_digest)
            or recorder.status.observed_generation != chart.generation
        ):
            recorder.status.failures = 0
        if requested(chart, recorder.status, RETRY_ANNOTATION) or requested(chart, recorder.status, FORCE_ANNOTATION):
            recorder.status.failures = 0
            release.refresh_chart = True
        if decision.continues and release.newest is not None and release.newest.attempt:
            release.attempt = release.evidence.attempt = release.newest.attempt
        recorder.begin(
            f"{operation.value}: {decision.because}",
            operation=operation,
            attempt=release.attempt,
            released=decision.released,
            gone=decision.gone,
        )
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
                recorder.uninstalled()
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
            digest=work.digest.text,
            release=status,
            released=True if reason is Reason.DEPLOYED else None,
        )
        await recorder.writer.flush()
        recorder.logger.info("%s: %s", reason.value, message)
        if release.left and operation is Operation.UNINSTALL:
            await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=release.left)
        await self.events.post(work.chart, type="Normal", reason=reason.value, message=message)

    # ---- when it fails

    async def _failed(self, work: Work, error: OperatorError, operation: Operation) -> float | None:
        """Record the failure with its evidence, then remedy it: in this order, so that a kill in between loses neither."""
        chart, recorder, release = work.chart, work.recorder, work.release
        error = explain(error, recorder.findings, redact=release.evidence.redactor())
        await release.observe()
        made = newest_if_made(work) if operation.deploys else None
        failed = made.number if made else unremedied(work)
        remedy = await self._plan_remedy(work, failed, made=made is not None)
        policy = RetryPolicy(
            work.spec.retry,
            self.probe,
            taken_back=work.spec.atomic and remedy.remedy is not Remedy.LEAVE,
            endless=chart.deleting,
        )
        disturbed = made is not None and remedy.remedy is Remedy.ROLL_BACK and was_applied(work, error)
        disturbed = disturbed and await is_verdict(error, self.objects)
        now = datetime.now(UTC)
        plan = policy.after(error, failures=recorder.status.failures + 1, now=now, applied_and_rolled_back=disturbed)
        status = await work.release_status()
        recorder.remember(
            release.newest if made else None,
            action=operation.value,
            chart_version=status.chart_version if status else None,
        )
        news = recorder.failed(
            error,
            digest=work.digest.text,
            plan=plan,
            release=status,
            revision=failed,
            phase=Phase.DELETING if chart.deleting else Phase.FAILED,
            taken_back=remedy.remedy in (Remedy.ROLL_BACK, Remedy.UNINSTALL),
        )
        await recorder.writer.flush()
        recorder.logger.warning("%s: %s", error.reason.value, error.message)
        if news:
            await post_failure(self.events, chart, error, plan)
        again = await self.remediation.carry_out(work, remedy)
        await work.post_warnings(self.events)
        return _delay(plan.at.timestamp()) if plan.at else again

    async def _finish_remedy(self, work: Work) -> float | None:
        """Do what is still to be done about an earlier failure; returns after how many seconds to try again, or None."""
        try:
            return await self.remediation.finish(work)
        except (KubeError, HelmError) as error:
            work.recorder.logger.warning("the remedy for the failure cannot be decided yet: %s", error.message)
            return seconds(work.spec.retry.max_backoff) if error.transient else None

    async def _plan_remedy(self, work: Work, failed: int | None, *, made: bool) -> RemedyPlan:
        """Return what is to be done about the revision that failed; nothing yet where that cannot be found out now.

        `made` says that it is the newest one, which this run has made.
        """
        try:
            if made:
                await unlock_killed(work)
                await mark_unready(work)
            return await self.remediation.plan(work, failed=failed, phase=work.recorder.failed_phase)
        except (KubeError, HelmError) as error:
            work.recorder.logger.warning("the remedy for the failure cannot be decided yet: %s", error.message)
            return NOTHING

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
        known = status.failures > 0 and status.attempted_digest and status.observed_generation == chart.generation
        if error.transient and known and not chart.deleting:
            # What failed, and when it may be tried again, must outlast an API server that does not answer.
            recorder.logger.warning("%s: %s", error.reason.value, error.message)
            retry = spec_for_removal(chart).retry
            return seconds(retry.backoff if error.reason is Reason.API_UNAVAILABLE else retry.max_backoff)
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
        await release.observe()
        work = Work(chart, spec, release, recorder, digest=digest_without_inputs(spec))
        lock = wait_for_lock(_desired(work), await self._observed(work))
        kept: str | None = None
        left = release.newest is not None and not is_to_be_removed(release)
        if spec.deletion_policy is DeletionPolicy.UNINSTALL and is_to_be_removed(release):
            kept = await self.operator_removal.why_kept(chart)
            if kept is None and lock is not None:
                return await self._wait_for_lock(work, lock)
            if kept is None and (error := await self._uninstall(work)) is not None:
                if not isinstance(error, ReleaseKeptError):
                    return await self._failed(work, error, Operation.UNINSTALL)
                kept = error.message
        elif spec.deletion_policy is DeletionPolicy.UNINSTALL and left:
            await self.events.post(chart, type="Warning", reason=RELEASE_LEFT, message=release.why_it_stays)
        if (kept is not None or left or spec.deletion_policy is DeletionPolicy.ORPHAN) and lock is None:
            await keep(release)
        await recorder.writer.abandon()
        await self.api.remove_finalizer(chart)
        recorder.logger.info("%s", kept_release(release, kept) if kept else f"removed ({spec.deletion_policy.value})")
        return None

    async def _uninstall(self, work: Work) -> OperatorError | None:
        """Let the lifecycle remove the release; returns why it could not."""
        release, recorder = work.release, work.recorder
        release.before_uninstall = partial(self.operator_removal.check, work.chart)
        recorder.begin(
            "Uninstall: the resource is being deleted", operation=Operation.UNINSTALL, attempt=release.attempt
        )
        try:
            await lifecycle_for_removal(work.spec, recorder).run(
                work.context(self.objects, action=Action.DESTROY, operation=Operation.UNINSTALL)
            )
        except OperatorError as error:
            if not release.left_unread:
                return error
            recorder.warn(RELEASE_LEFT, f"{release.left_unread} ({error.hint})" if error.hint else release.left_unread)
        finally:
            await release.evidence.close()
            await work.post_warnings(self.events)
        if release.spared:
            message = f"The release was uninstalled{release.spared}"
            await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=message)
        return None

    # ---- parts

    async def _observed(self, work: Work) -> Observed:
        """Return what there is, for the decision. Raises KubeError, HelmError."""
        chart, status = work.chart, work.recorder.status
        return Observed(
            work.release.ownership,
            now=datetime.now(UTC).timestamp(),
            revisions=work.release.revisions,
            memory=memory(chart, status, started=self.started),
            rollback_is_ours=await work.release.rollback_is_ours(),
            retry_requested=requested(chart, status, RETRY_ANNOTATION),
            force_requested=requested(chart, status, FORCE_ANNOTATION),
        )

    def _release(self, chart: ManagedChart, spec: ManagedChartSpec, status: ManagedChartStatus) -> HelmRelease:
        return HelmRelease(
            tools=self.tools,
            spec=spec,
            name=chart.release_name,
            namespace=chart.release_namespace,
            ownership=Ownership.of(chart.uid, status),
            in_own_namespace=chart.release_namespace == chart.key.namespace,
            started=datetime.now(UTC),
            blocked_by=tuple(_references(status.blocked_by)),
        )


def _references(spelled: Iterable[str]) -> Iterator[ObjectRef]:
    """Read what the status names; whoever may write statuses may have put anything there."""
    for text in spelled:
        with contextlib.suppress(ValueError):
            yield ObjectRef.parse(text)


def _desired(work: Work) -> Desired:
    spec = work.spec
    return Desired(
        Action.DESTROY if work.chart.deleting else spec.action,
        work.digest,
        dry_run=spec.dry_run,
        timeout=seconds(spec.timeout),
        reinstalls=spec.last_breaking_version_requiring_restart is not None,
    )


def _delay(at: float | None) -> float | None:
    return None if at is None else max(at - datetime.now(UTC).timestamp(), 0.0)


def _logger(chart: ManagedChart) -> logging.LoggerAdapter[logging.Logger]:
    return logging.LoggerAdapter(
        _base_logger, {"namespace": chart.key.namespace, "name_": chart.key.name, "generation": chart.generation}
    )
