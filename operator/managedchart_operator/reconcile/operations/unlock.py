"""Unlocks a release: marks a revision failed that no Helm operation works on any more, so that helm upgrades over it."""

import logging

from managedchart_operator.api.status import Phase
from managedchart_operator.helm.storage import DEPLOYED, Revision
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.release_run import ReleaseRun

logger = logging.getLogger(__name__)


async def unlock(run: ReleaseRun, revision: Revision) -> Outcome:
    """Mark a revision failed that is pending, was never seen ready, or is in the middle of an uninstall.

    Raises KubeError, HelmError.
    """
    await run.storage.unlock(revision)
    return Outcome(f"Revision {revision.number} ({revision.status}) was marked failed")


async def unlock_after_kill(run: ReleaseRun) -> None:
    """Mark the run's newest revision failed if a killed helm process left it pending, whatever spec.atomic says.

    Raises KubeError, HelmError.
    """
    newest = run.newest
    if newest is not None and newest.pending:
        logger.info(
            "%s/%s: a killed helm process left revision %d %s", run.namespace, run.name, newest.number, newest.status
        )
        await unlock(run, newest)


async def mark_unready(run: ReleaseRun, *, failed_phase: Phase | None, fail_on_timeout: bool) -> None:
    """Mark the run's newest revision failed if exec failed but helm still calls it deployed, because marking it then failed.

    `fail_on_timeout` says whether a failed wait is the revision's failure. Raises KubeError, HelmError.
    """
    newest = run.newest
    if newest is not None and newest.status == DEPLOYED and failed_phase is Phase.EXEC and fail_on_timeout:
        await run.storage.mark_failed(newest, "its objects did not become ready")
