"""Unlocks a release: marks a revision failed that no Helm operation works on any more, so that helm upgrades over it."""

from managedchart_operator.helm.storage import Revision
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.release_run import ReleaseRun


async def unlock(run: ReleaseRun, revision: Revision) -> Outcome:
    """Mark a revision failed that is pending, was never seen ready, or is in the middle of an uninstall.

    Raises KubeError, HelmError.
    """
    await run.storage.unlock(revision)
    return Outcome(f"Revision {revision.number} ({revision.status}) was marked failed")
