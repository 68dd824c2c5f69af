"""Goes back after a failure: to the last good revision, or away with a failed first install.

Purpose: remediation of `atomic`. Boundary: the failure is in the status already, with its evidence; nothing here changes its
reason. Invariant: whether something is to be done is read from the release and the status, so a restart finishes what was
begun.
"""

from dataclasses import dataclass
from itertools import takewhile

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.spec import Action
from managedchart_operator.errors import OperatorError
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, UNINSTALLING, Revision
from managedchart_operator.kube.events import Events
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS
from managedchart_operator.reconcile.run_recorder import shorten
from managedchart_operator.reconcile.work import Work


@dataclass(frozen=True, slots=True)
class Remediation:
    """Remedies failed deployments; one for the whole operator."""

    events: Events

    async def finish(self, work: Work) -> float | None:
        """Go back to the last good revision, or uninstall a failed first install, if that is still to be done.

        The state says so by itself: atomic is set, and the newest revision is the failed one that our status tells of, a way
        back from there that failed too, or one that was being uninstalled when the operator was killed. Whatever atomic says,
        a revision whose helm was killed does not stay pending.
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
            work.recorder.status.release = await work.release_status()
            await work.recorder.writer.flush()
            newest = work.release.newest
        if not work.spec.atomic or newest is None or newest.status not in (FAILED, UNINSTALLING, UNINSTALLED):
            return None
        return await self._go_back(work, newest)

    async def _go_back(self, work: Work, newest: Revision) -> float | None:
        good, again = None, None
        conditions = work.recorder.status.conditions
        try:
            good = await work.release.storage.last_good()
            others = _made_by_others(work)
            if newest.status != FAILED and (good is not None or others):
                return None  # nobody but others can have begun this uninstall
            if good is not None:
                await work.release.rollback(good)
                outcome = f"rolled back to revision {good.number}"
                await self.events.post(work.chart, type="Normal", reason="RolledBack", message=outcome)
            elif others:
                raise OperatorError(
                    f"no revision is good to go back to, and revision {others[-1]} was not made by this resource, so what is"
                    " there may be in use: it is not uninstalled",
                    reason=Reason.ROLLBACK_FAILED,
                    transient=False,
                )
            else:
                await work.release.uninstall()
                outcome = "the failed first install was uninstalled"
                await self.events.post(work.chart, type="Normal", reason="Uninstalled", message=outcome)
        except OperatorError as error:
            outcome = f"going back failed too: {shorten(work.release.evidence.redactor()(error.message))}"
            if error.transient and error.reason not in WORKLOAD_REASONS:
                again = _pause_before_going_back(work)
            await self.events.post(work.chart, type="Warning", reason=Reason.ROLLBACK_FAILED.value, message=outcome)
        await work.post_warnings(self.events)
        work.recorder.logger.info("%s", outcome)
        for condition in conditions:
            if condition.type in ("Reconciling", "Stalled"):
                # What comes next stays; what came of the try before does not. A plan's message has no semicolon.
                condition.message = f"{outcome}; {condition.message.rpartition('; ')[2]}"
        status = work.recorder.status.release = await work.release_status()
        if good is not None:
            version = status.chart_version if status else None
            work.recorder.remember(work.release.newest, action="Rollback", chart_version=version)
        await work.recorder.writer.flush()
        return again


def _made_by_others(work: Work) -> list[int]:
    """Return the revisions that others have made: even of a failed one the objects may have come up since."""
    return [revision.number for revision in work.release.revisions if revision.owner != work.chart.uid]


def _pause_before_going_back(work: Work) -> float:
    """Seconds until the next try to go back: as for retries, by the failed revisions on top, which a restart finds too."""
    unfinished = takewhile(lambda revision: revision.status != DEPLOYED, work.release.revisions)
    retry = work.spec.retry
    return min(seconds(retry.backoff) * 2.0 ** max(sum(1 for _ in unfinished) - 2, 0), seconds(retry.max_backoff))
