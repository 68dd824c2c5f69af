"""What a removal has to know and to put up with: nothing may hold up the deletion of a resource.

Purpose: whose release it is, by which lifecycle it goes, and how an uninstall that was interrupted is ended.
"""

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.errors import HelmError, SpecError
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reconcile.release import HelmRelease
from managedchart_operator.reconcile.run_recorder import RunRecorder


def is_ours(chart: ManagedChart, status: ManagedChartStatus, release: HelmRelease) -> bool:
    """Whether this resource deployed the release; one of somebody else that it merely names is left alone."""
    if release.newest is None or release.newest.owner is None:
        return status.release is not None or bool(status.blocked_by)
    return release.newest.owner == chart.uid


async def end_uninstall(release: HelmRelease, recorder: RunRecorder) -> None:
    """End an uninstall that was interrupted; one that cannot be ended must not keep what is wanted now from coming."""
    try:
        await release.uninstall()
    except HelmError as error:
        recorder.warn(
            error.reason, f"the interrupted uninstall cannot be ended, deploying over what is left: {error.message}"
        )


def lifecycle_for_removal(spec: ManagedChartSpec, recorder: RunRecorder) -> Lifecycle:
    """Return the lifecycle; the default one where it is gone, since nothing may hold up a deletion."""
    try:
        return find_lifecycle(spec.lifecycle.name)
    except SpecError as error:
        recorder.warn(error.reason, f"removing with the default lifecycle: {error.message}")
        return Lifecycle()
