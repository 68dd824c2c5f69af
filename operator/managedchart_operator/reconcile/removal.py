"""Carries out the deletion of a resource: uninstalls its release or leaves it, then removes the finalizer.

Nothing may block the deletion of a resource, neither an unreadable spec, nor a missing lifecycle, nor a release of others. Only
what may save data does: an action of PreDelete or PostDelete that fails, or that is invalid.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from managedchart_operator.api.phase_status import ActionState, PhaseState
from managedchart_operator.api.resource import FINALIZER, Key
from managedchart_operator.api.spec import DeletionPolicy, ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import (
    HelmError,
    KubeError,
    LifecycleError,
    ObjectsLeftError,
    OperatorError,
    ReleaseKeptError,
    SpecError,
)
from managedchart_operator.helm.storage import UNINSTALLING
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.permissions import missing_in
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Run, Wait, wait_for_lock
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.lifecycle_runs import LifecycleRuns, post_warnings
from managedchart_operator.reconcile.lost_account import RESTORE_SECONDS, LostAccounts, was_refused
from managedchart_operator.reconcile.missing_permissions import refusal_in
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT
from managedchart_operator.reconcile.operations.unlock import unlock
from managedchart_operator.reconcile.operator_removal import OperatorRemoval, kept_release
from managedchart_operator.reconcile.parse import misspelt_actions, spec_for_removal
from managedchart_operator.reconcile.release_access import ReleaseAccess
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import newest_is_own, why_it_stays
from managedchart_operator.reconcile.resource_pass import Recording, ResourcePass, observe
from managedchart_operator.reconcile.services import Services

_PLAN = Run(Operation.UNINSTALL, "The ManagedChart is being deleted")


@dataclass(frozen=True, slots=True)
class Removal:
    """Removes resources; one for the whole operator."""

    services: Services
    api: ManagedCharts
    events: Events
    runs: LifecycleRuns
    operator_removal: OperatorRemoval
    access: ReleaseAccess
    lost: LostAccounts

    async def remove(self, recording: Recording) -> Wait | float | None:
        """Remove a resource; returns the lock to wait for, or the seconds until the next pass. Raises OperatorError.

        Returns None, too, while another ManagedChart works with the release; this one is asked again then.
        """
        chart = recording.chart
        self.access.consent.forget(chart.key)
        if FINALIZER not in chart.finalizers:
            return None
        spec = await asyncio.to_thread(spec_for_removal, chart)
        if chart.release_namespace not in self.api.scope:
            await self._remove_out_of_scope(recording, spec)
            return None
        return await self._remove(recording, spec)

    async def _remove(self, recording: Recording, spec: ManagedChartSpec) -> Wait | float | None:
        chart = recording.chart
        work = await observe(recording, spec, self.services)
        run = work.release
        lock = wait_for_lock(work.desired(), await work.observed())
        kept: str | None = None
        own = _is_own(run)
        left = run.newest is not None and not own
        uninstalls = spec.deletion_policy is DeletionPolicy.UNINSTALL
        if own and not self.access.owners.take_to_remove(chart):
            return None
        if uninstalls and own:
            kept = await self.operator_removal.why_kept(chart)
            if kept is None and lock is not None:
                return lock
            if kept is None:
                try:
                    await self._uninstall_or_let_go(work)
                except ReleaseKeptError as error:
                    kept = error.message
                except OperatorError as error:
                    return await self._failed(work, error)
        else:
            await self._report_what_stays(work, own=own)
        if kept is not None:
            message = kept_release(run, kept)
            await self.events.post(
                chart, type="Warning", reason=RELEASE_LEFT, message=message[:1].upper() + message[1:]
            )
        if (kept is not None or left or not uninstalls) and lock is None:
            await keep(work)
        await work.recorder.writer.abandon()
        await self.api.remove_finalizer(chart)
        work.logger.info("%s", kept_release(run, kept) if kept else f"removed ({spec.deletion_policy.value})")
        return None

    async def _remove_out_of_scope(self, recording: Recording, spec: ManagedChartSpec) -> None:
        """Remove a resource whose release is where the operator does not work.

        Raises SpecError if the release should be uninstalled, except in a namespace that is being deleted: that must not hang.
        """
        chart, status = recording.chart, recording.recorder.status
        namespace, name = chart.release_namespace, chart.release_name
        deployed = status.release is not None or bool(status.history or status.blockers)
        ending = deployed and await self.lost.is_terminating(chart)
        if deployed and not ending and spec.deletion_policy is DeletionPolicy.UNINSTALL:
            raise SpecError(
                f"The release {namespace}/{name} cannot be uninstalled: the operator no longer works in namespace {namespace}",
                reason=Reason.FORBIDDEN,
                hint=f"Add {namespace} to MANAGEDCHART_NAMESPACES and grant the operator its permissions there,"
                f" {_or_leave(chart.key)}",
            )
        if deployed:
            message = f"The release {namespace}/{name} stays: the operator no longer works in namespace {namespace}"
            if ending:
                await self.events.post_elsewhere(chart, reason=RELEASE_LEFT, message=message)
            else:
                await self.events.post(chart, type="Warning", reason=RELEASE_LEFT, message=message)
        await recording.recorder.writer.abandon()
        await self.api.remove_finalizer(chart)
        recording.logger.info("removed; the operator does not work in the namespace of the release (%s)", namespace)

    async def _report_what_stays(self, work: ResourcePass, *, own: bool) -> None:
        """Post an Event about a release that stays: it is not this resource's, or nobody wants it to be uninstalled."""
        release = work.release
        if release.newest is None or (not own and await self.access.consent.hides(work.chart)):
            return
        if work.spec.deletion_policy is DeletionPolicy.UNINSTALL:
            message = why_it_stays(release.storage)
            await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=message)
            return
        name = f"{release.namespace}/{release.name}"
        message = f"The release {name} stays in the cluster, because spec.deletionPolicy is Orphan"
        await self.events.post(work.chart, type="Normal", reason="ReleaseOrphaned", message=message)

    async def _failed(self, work: ResourcePass, error: OperatorError) -> float | None:
        """Record a failed uninstall; returns the seconds until the next pass. Raises KubeError."""
        again = await self.runs.failed(work, error, _PLAN)
        if was_refused(error, work):
            again = min(again or RESTORE_SECONDS, max(await self.lost.seconds_left(work.chart), 1.0))
        return again

    async def _uninstall_or_let_go(self, work: ResourcePass) -> None:
        """Uninstall the release, or leave it if its account cannot do so, and will not soon. Raises OperatorError."""
        try:
            await self._uninstall(work)
        except OperatorError as error:
            if not was_refused(error, work) or not await self.lost.is_over(work):
                raise
            if self.lost.as_operator:
                work.logger.warning("uninstalling with the operator's own permissions, as set: %s", error.message)
                await self._uninstall(await observe(work, work.spec, self.services, as_operator=True))
                return
            work.logger.warning("%s", await self.lost.report(work, error))

    async def _uninstall(self, work: ResourcePass) -> None:
        await work.check_account()
        run = work.release
        work.phases.operation = Operation.UNINSTALL
        work.recorder.begin(
            run.attempt,
            _PLAN,
            digest=work.digest,
            failures=work.last.failures,
            uninstall_began=work.last.began_uninstall,
        )
        release = LifecycleRelease(
            run,
            _PLAN,
            before_uninstall=partial(self.operator_removal.check, work.chart),
            begins_uninstall=work.recorder.writer.flush,
        )
        found = await self.runs.lifecycles.find_for_removal(work.chart, work.spec, lacks=self._lacks)
        if (invalid := found.blocked or misspelt_actions(work.chart)) is not None:
            raise _waits_for_correction(work.chart.key, invalid)
        for problem in found.problems:
            unknown = problem.reason is Reason.LIFECYCLE_UNKNOWN
            without = "with the default lifecycle" if unknown else "without invalid actions"
            work.phases.warn(problem.reason, f"Uninstalling {without}: {problem.message}")
        try:
            await found.lifecycle.run(work.context(release), without=work.left_out)
        except ObjectsLeftError as error:
            work.phases.warn(RELEASE_LEFT, f"{error.left} ({error.hint})" if error.hint else error.left)
        except LifecycleError as error:
            if _action_failed(work):
                error.hint = _how_to_end(work.chart.key, error)
            raise
        else:
            message = (
                f"The release {run.namespace}/{run.name} was uninstalled, because the ManagedChart is being deleted"
            )
            await self.events.post(work.chart, type="Normal", reason="Uninstalled", message=message)
        finally:
            await run.evidence.close()
            await post_warnings(work, self.events)
        if (done := work.phases.journal.outcome) is not None and done.spared:
            await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=done.message)

    async def _lacks(self, error: KubeError) -> bool:
        """Whether the API server confirms that the operator lacks the permission that it has refused."""
        if missing_in(error.answer) is None:
            return True  # in words that name none, which cannot be asked about
        return (await refusal_in(self.services, None, error)).missing is not None


def _waits_for_correction(key: Key, invalid: SpecError) -> SpecError:
    """Return the error for a deletion that waits, since what cannot be run may be what saves data before the uninstall."""
    whose = f"Ask an administrator to correct LifecycleProfile {invalid.profile.name}" if invalid.profile else ""
    error = SpecError(
        f"An invalid action of PreDelete or PostDelete blocks the uninstall: {invalid.message}",
        reason=invalid.reason,
        hint=f"{whose or 'Correct the action, or remove it from spec.lifecycle.actions'}, {_or_leave(key)}",
    )
    error.profile = invalid.profile
    return error


def _action_failed(work: ResourcePass) -> bool:
    """Whether an action before or after the uninstall has failed, so that the deletion waits for it."""
    return any(
        phase.name in (Phase.PRE_DELETE, Phase.POST_DELETE)
        and phase.state is PhaseState.FAILED
        and any(action.state is ActionState.FAILED for action in phase.actions or ())
        for phase in work.recorder.status.phases
    )


def _how_to_end(key: Key, error: OperatorError) -> str:
    """Return the hint of a failed action, with how the deletion goes on without it. A command stays at the end."""
    if error.profile:
        without = f"ask an administrator to remove it from LifecycleProfile {error.profile.name}"
    else:
        without = "remove it from spec.lifecycle.actions"
    if error.hint is None:
        return f"Remove the cause of the failure; or, to delete without this action, {without}, {_or_leave(key)}"
    return (
        "The deletion waits until this action succeeds. To delete without it,"
        f" {without}, or set spec.deletionPolicy to Orphan. {error.hint}"
    )


def _or_leave(key: Key) -> str:
    """Return the end of a hint: how the ManagedChart can be deleted without its release."""
    patch = """--type=merge --patch='{"spec":{"deletionPolicy":"Orphan"}}'"""
    return f"or leave the release: kubectl patch managedchart {key.name} --namespace {key.namespace} {patch}"


def _is_own(run: ReleaseRun) -> bool:
    """Whether the release is proven to be the resource's."""
    if run.newest is not None:
        return run.ownership.owns(run.storage.revisions)
    # The Secrets are deleted, but the objects, or what the lifecycle deletes later, may still exist.
    return bool(run.earlier_blockers) or run.ownership.deployed(())


async def keep(work: ResourcePass) -> None:
    """Leave a release as it was before an operation that did not end, which would block the next one. Raises KubeError."""
    run = work.release
    newest = run.newest
    if newest is None:
        return
    try:
        if newest.status == UNINSTALLING and run.ownership.owns(run.storage.revisions):
            await run.storage.call_off_uninstall(newest)
        elif newest.pending and await newest_is_own(run.storage):
            await unlock(run, newest)
    except (HelmError, KubeError) as error:
        if isinstance(error, KubeError) and not was_refused(error, work):
            raise
        work.logger.warning("cannot restore the status of %s/%s: %s", run.namespace, run.name, error.message)
