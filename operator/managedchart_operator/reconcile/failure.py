"""Relates a failed run to the revisions of its release: whether it made the newest one, and whether that was applied.

Only a revision that is proven failed here may be rolled back. What the run left unfinished is marked failed.
"""

import logging

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.helm.storage import DEPLOYED, FAILED, Revision
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.last_run import LastRun
from managedchart_operator.reconcile.release_run import ReleaseRun

logger = logging.getLogger(__name__)

AFTER_EXEC = (Phase.POST_EXEC, Phase.VALIDATE)
"""The phases whose failure is the failure of a deployed revision."""


def newest_if_made(run: ReleaseRun, failed_phase: Phase | None) -> Revision | None:
    """Return the newest revision if the failed run made it, or continued the run that did."""
    newest = run.newest
    deployed = failed_phase in (Phase.EXEC, *AFTER_EXEC)
    return newest if deployed and newest is not None and newest.is_of(run.attempt) else None


def unremedied(run: ReleaseRun, last: LastRun) -> int | None:
    """Return the revision that failed in an earlier run, if its remedy is still to be done."""
    newest, failed = run.newest, last.failed_revision
    if newest is None or failed is None or not run.ownership.made(newest):
        return None
    if newest.status == DEPLOYED and newest.number == failed and last.phase in AFTER_EXEC:
        return failed
    return failed if newest.status == FAILED and failed <= newest.number else None


async def would_recur(error: OperatorError, objects: Objects) -> bool:
    """Whether the error of an applied upgrade would come again, unlike a permission that is only refused for a moment.

    This asks the API server.
    """
    if error.reason is Reason.FORBIDDEN and isinstance(error, HelmError):
        return not await objects.refused_for_a_moment(error.text)
    return True


def was_applied(run: ReleaseRun, failed_phase: Phase | None, error: OperatorError) -> bool:
    """Whether the upgrade had changed the cluster when it failed, and failed because of its input.

    An API server that does not answer, or a killed helm process, says nothing about the input.
    """
    if error.reason is Reason.API_UNAVAILABLE or (isinstance(error, HelmError) and error.exit_code < 0):
        return False
    return failed_phase in AFTER_EXEC or run.evidence.has_applied()


async def unlock_after_kill(run: ReleaseRun) -> None:
    """Mark the run's newest revision failed if a killed helm process left it pending, whatever spec.atomic says.

    Raises KubeError, HelmError.
    """
    newest = run.newest
    if newest is not None and newest.pending:
        logger.info(
            "%s/%s: a killed helm process left revision %d %s", run.namespace, run.name, newest.number, newest.status
        )
        await run.storage.unlock(newest)


async def mark_unready(run: ReleaseRun, *, failed_phase: Phase | None, fail_on_timeout: bool) -> None:
    """Mark the run's newest revision failed if exec failed but helm still calls it deployed, because marking it then failed.

    `fail_on_timeout` says whether a failed wait is the revision's failure. Raises KubeError, HelmError.
    """
    newest = run.newest
    if newest is not None and newest.status == DEPLOYED and failed_phase is Phase.EXEC and fail_on_timeout:
        await run.storage.mark_failed(newest, "its objects did not become ready")
