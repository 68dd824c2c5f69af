"""Remedies a failed deployment: rolls back to the last good revision, or uninstalls a failed first install.

The failure is in the status by then, with its evidence; nothing here changes its reason. What is to be done is decided by
`remedy`, from the release and the status alone, so that a restart finishes what was begun.
"""

from dataclasses import dataclass, replace
from itertools import takewhile

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import OperatorError
from managedchart_operator.helm.storage import DEPLOYED, Revision
from managedchart_operator.kube.events import Events
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.failure import AFTER_EXEC
from managedchart_operator.reconcile.remedy import NOTHING, Facts, Remedy, RemedyPlan, decide_remedy
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS
from managedchart_operator.reconcile.run_recorder import MESSAGE_LENGTH
from managedchart_operator.reconcile.work import Work
from managedchart_operator.shortening import cut

RELEASE_LEFT = "ReleaseLeft"
"""Reason of the Event that says why a release stays as it is."""
ROLLBACK = "Rollback"
"""What `status.attempt.operation` says while a rollback is under way."""


@dataclass(frozen=True, slots=True)
class Remediation:
    """Remedies failed deployments; one for the whole operator."""

    events: Events

    async def plan(self, work: Work, *, failed: int | None, phase: Phase | None) -> RemedyPlan:
        """Return what is to be done about the revision that has failed in a phase. Raises KubeError, HelmError."""
        release = work.release
        if work.spec.action is not Action.DEPLOY or work.chart.deleting:
            return NOTHING
        facts = Facts(atomic=work.spec.atomic, newest=release.newest, failed=failed, after_exec=phase in AFTER_EXEC)
        if decide_remedy(facts).remedy is Remedy.NOTHING:
            return NOTHING  # without a look at the documents
        good = await release.storage.last_good()
        owner = work.chart.uid
        facts = replace(
            facts,
            newest_is_ours=await release.newest_is_ours() or _rollback_was_cut_short(work),
            good=good,
            good_is_ours=good is not None and release.ownership.made(good),
            others=tuple(revision.number for revision in release.revisions if revision.owner != owner),
            claims=() if good is not None else await release.volume_claims(),
        )
        return decide_remedy(facts)

    async def finish(self, work: Work) -> float | None:
        """Do what is still to be done about the failure that the status shows; it was begun by a run that has ended since.

        Returns after how many seconds to try once more, or None.
        """
        newest, failure = work.release.newest, work.recorder.status.last_failure
        if newest is None or failure is None or failure.revision is None or failure.revision > newest.number:
            return None
        if work.spec.action is not Action.DEPLOY or work.chart.deleting:
            return None
        if newest.pending and await work.release.newest_is_ours():
            await unlock_killed(work)
            work.recorder.status.release = await work.release_status()
            await work.recorder.writer.flush()
        plan = await self.plan(work, failed=failure.revision, phase=_phase_of(failure.phase))
        # That it is left was reported when it failed.
        return None if plan.remedy is Remedy.LEAVE else await self.carry_out(work, plan)

    async def carry_out(self, work: Work, plan: RemedyPlan) -> float | None:
        """Do what was decided, and report it. Returns after how many seconds to try once more, or None."""
        match plan.remedy:
            case Remedy.NOTHING:
                return None
            case Remedy.LEAVE:
                outcome = f"the failed release is left as it is: {plan.why}"
                await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=outcome)
                await _report(work, outcome)
                return None
            case Remedy.ROLL_BACK:
                return await self._roll_back(work, plan.to)
            case Remedy.UNINSTALL:
                return await self._uninstall(work)

    async def _roll_back(self, work: Work, good: Revision | None) -> float | None:
        assert good is not None  # noqa: S101 -- `ROLL_BACK` has a target
        await _begin(work, ROLLBACK)
        again = None
        try:
            if work.release.newest is not None and work.release.newest.status == DEPLOYED:
                # Else it would count as good from now on, for helm and for us.
                work.recorder.turned_out_failed(work.release.newest.number)
                await work.release.storage.fail(work.release.newest, "what followed its deployment failed")
            await work.release.spare_adopted(to=good)
            await work.release.rollback(good)
            outcome = f"rolled back to revision {good.number}{work.release.spared}"
            await self.events.post(work.chart, type="Normal", reason="RolledBack", message=outcome)
        except OperatorError as error:
            outcome, again = await self._failed(work, "rollback", error)
        status = work.recorder.status.release = await work.release_status()
        version = status.chart_version if status else None
        work.recorder.remember(work.release.newest, action=ROLLBACK, chart_version=version)
        await _report(work, outcome)
        return again

    async def _uninstall(self, work: Work) -> float | None:
        await _begin(work, Operation.UNINSTALL)
        again = None
        try:
            await work.release.spare_adopted()
            await work.release.uninstall()
            work.recorder.uninstalled()
            outcome = f"the failed first install was uninstalled{work.release.spared}"
            await self.events.post(work.chart, type="Normal", reason="Uninstalled", message=outcome)
        except OperatorError as error:
            outcome, again = await self._failed(work, "uninstall", error)
        work.recorder.status.release = await work.release_status()
        await _report(work, outcome)
        return again

    async def _failed(self, work: Work, remedy: str, error: OperatorError) -> tuple[str, float | None]:
        """Report that the remedy has failed; returns a sentence, and after how many seconds to try once more."""
        outcome = f"the {remedy} failed too: {cut(work.release.evidence.redactor()(error.message), MESSAGE_LENGTH)}"
        await self.events.post(work.chart, type="Warning", reason=Reason.ROLLBACK_FAILED.value, message=outcome)
        lasting = not error.transient or error.reason in WORKLOAD_REASONS
        return outcome, None if lasting else _pause(work)


async def unlock_killed(work: Work) -> None:
    """Mark our newest revision failed if a killed helm left it pending; whatever atomic says, it does not stay so.

    Raises KubeError, HelmError.
    """
    newest = work.release.newest
    if newest is not None and newest.pending:
        work.recorder.logger.info("revision %d (%s) was left by a killed helm", newest.number, newest.status)
        await work.release.unlock(newest)


async def mark_unready(work: Work) -> None:
    """Mark our newest revision failed if its exec failed and helm calls it deployed: marking it then did not go through.

    Raises KubeError, HelmError.
    """
    release, newest = work.release, work.release.newest
    proven = release.unproven is not None and not release.unproven.may_fail
    if newest is not None and newest.status == DEPLOYED and work.recorder.failed_phase is Phase.EXEC and not proven:
        await release.storage.fail(newest, "its objects did not become ready")


async def _begin(work: Work, operation: str) -> None:
    """Record what is done to the release now, so that a successor knows whose work it finds."""
    attempt = work.recorder.status.attempt
    if attempt is not None and (attempt.operation, attempt.ended_at) != (operation, None):
        attempt.operation, attempt.ended_at = operation, None
        await work.recorder.writer.flush()


async def _report(work: Work, outcome: str) -> None:
    work.recorder.logger.info("%s", outcome)
    for condition in work.recorder.status.conditions:
        if condition.type in ("Reconciling", "Stalled"):
            # What comes next stays; what came of the try before does not. A plan's message has no semicolon.
            condition.message = cut(f"{outcome}; {condition.message.rpartition('; ')[2]}", MESSAGE_LENGTH)
    work.recorder.attempt_ended()
    await work.recorder.writer.flush()


def _phase_of(name: str) -> Phase | None:
    return next((phase for phase in Phase if phase.value == name), None)


def _rollback_was_cut_short(work: Work) -> bool:
    """Whether a helm that was stopped in a rollback of ours left the newest revision, which itself does not show that."""
    attempt, failure, newest = work.recorder.status.attempt, work.recorder.status.last_failure, work.release.newest
    if attempt is None or attempt.operation != ROLLBACK or attempt.ended_at is not None:
        return False
    if newest is None or failure is None or failure.revision is None:
        return False
    return newest.owner == work.chart.uid and newest.number > failure.revision


def _pause(work: Work) -> float:
    """Seconds until the next try of a remedy: as for retries, by the failed revisions on top, which a restart finds too."""
    unfinished = takewhile(lambda revision: revision.status != DEPLOYED, work.release.revisions)
    retry = work.spec.retry
    return min(seconds(retry.backoff) * 2.0 ** max(sum(1 for _ in unfinished) - 2, 0), seconds(retry.max_backoff))
