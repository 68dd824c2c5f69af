"""What one pass over one resource works with."""

import logging
from dataclasses import dataclass

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.last_run import LastRun
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.phase_recorder import PhaseRecorder
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.status_recorder import StatusRecorder

Logger = logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True, slots=True)
class Recording:
    """The resource, and where a pass over it is recorded."""

    chart: ManagedChart
    recorder: StatusRecorder
    phases: PhaseRecorder
    journal: Journal
    logger: Logger


@dataclass(frozen=True, slots=True)
class ResourcePass(Recording):
    """A pass over a resource whose spec can be read: with its release, and what the status says about the last run."""

    spec: ManagedChartSpec
    last: LastRun
    release: ReleaseRun
    digest: Digest = Digest("")  # noqa: RUF009 -- frozen
    """Digest of the input of this pass."""

    def context(self, release: LifecycleRelease) -> PhaseContext:
        """Return the context of the lifecycle's phases."""
        return PhaseContext(
            spec=self.spec,
            action=Action.DESTROY if self.chart.deleting else self.spec.action,
            operation=release.plan.operation,
            release=release,
            cluster=self.release.objects,
            recorder=self.phases,
            logger=self.logger,
        )
