"""What a removal has to know and to put up with: nothing may block the deletion of a resource.

Whether its release goes or stays, by which lifecycle it goes, and in which state it stays.
"""

import logging

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.errors import HelmError, SpecError
from managedchart_operator.helm.storage import UNINSTALLING
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reconcile.release import HelmRelease
from managedchart_operator.reconcile.run_recorder import RunRecorder

logger = logging.getLogger(__name__)


def is_to_be_removed(release: HelmRelease) -> bool:
    """Whether there is something of this resource to remove; the release of somebody else that it merely names is not."""
    if release.newest is None:
        # helm has forgotten it, but its objects may still be going, or what its lifecycle removes after it.
        return bool(release.blocked_by) or release.ownership.deployed(())
    return release.ownership.owns(release.revisions)


async def keep(release: HelmRelease) -> None:
    """Leave the release of a deleted resource as healthy as it was before anything was begun to it. Raises KubeError.

    Nobody works on it any more: what an operation left unfinished would block the next helm.
    """
    newest = release.newest
    if newest is None:
        return
    try:
        if newest.status == UNINSTALLING and release.ownership.owns(release.revisions):
            await release.storage.call_off_uninstall(newest)
        elif newest.pending and await release.newest_is_ours():
            await release.storage.unlock(newest)
    except HelmError as error:
        logger.warning("%s/%s stays as it is: %s", release.namespace, release.name, error.message)


def lifecycle_for_removal(spec: ManagedChartSpec, recorder: RunRecorder) -> Lifecycle:
    """Return the lifecycle; the default one where it is gone, since nothing may block a deletion."""
    try:
        return find_lifecycle(spec.lifecycle.name)
    except SpecError as error:
        recorder.warn(error.reason, f"removing with the default lifecycle: {error.message}")
        return Lifecycle()
