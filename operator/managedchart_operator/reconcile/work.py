"""What one pass over one object works with."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.api.status import ReleaseStatus
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.objects import Objects
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.release import HelmRelease
from managedchart_operator.reconcile.retries import Next
from managedchart_operator.reconcile.run_recorder import RunRecorder
from managedchart_operator.times import write_time


@dataclass(slots=True)
class Work:
    """The object, its release, and where the pass tells of itself."""

    chart: ManagedChart
    spec: ManagedChartSpec
    release: HelmRelease
    recorder: RunRecorder
    digest: Digest = field(default_factory=lambda: Digest(""))

    def context(self, cluster: Objects, *, action: Action, operation: Operation) -> PhaseContext:
        """Return what a lifecycle's phases get to see."""
        return PhaseContext(
            resource=str(self.chart.key),
            spec=self.spec,
            action=action,
            operation=operation,
            release=self.release,
            cluster=cluster,
            recorder=self.recorder,
            logger=self.recorder.logger,
        )

    async def release_status(self) -> ReleaseStatus | None:
        """Describe the newest revision; what cannot be read is taken from the chart that was just deployed.

        A release of others that the spec merely names is not described: whoever reads this resource may not read that one.
        """
        release, newest = self.release, self.release.newest
        if newest is None or not (release.ownership.made(newest) or release.ownership.owns(release.revisions)):
            return None
        chart = release.chart
        name, version, app = (chart.name, chart.version, chart.app_version) if chart else (None, None, None)
        if chart is None or not self.digest.matches(newest.digest):
            try:
                stored = await release.read_stored()
            except (KubeError, HelmError) as error:
                self.recorder.logger.warning("revision %d cannot be read: %s", newest.number, error.message)
            else:
                name, version, app = (
                    (stored.chart_name, stored.chart_version, stored.app_version) if stored else (None, None, None)
                )
        stored_at = datetime.fromtimestamp(newest.stored_at, UTC) if newest.stored_at else None
        return ReleaseStatus(
            name=release.name,
            namespace=release.namespace,
            revision=newest.number,
            status=newest.status,
            chart=name,
            chart_version=version,
            app_version=app,
            digest=newest.digest,
            last_deployed=write_time(stored_at) if stored_at else None,
        )

    async def post_warnings(self, events: Events) -> None:
        """Post the warnings so far, and what helm has taken over from other field managers, as Events, each once."""
        for message in self.release.taken_over:
            await events.post(self.chart, type="Warning", reason="FieldsTakenOver", message=message)
        self.release.taken_over.clear()
        for warnings in (self.recorder.warnings, self.release.warnings):
            for reason, message in warnings:
                await events.post(self.chart, type="Warning", reason=reason, message=message)
            warnings.clear()


async def post_failure(events: Events, chart: ManagedChart, error: OperatorError, plan: Next) -> None:
    """Tell of a failure in an Event: what it is, what to do about it, and that it was given up where it was."""
    parts = [error.message, f"({error.hint})" if error.hint else "", plan.message if plan.gave_up else ""]
    message = " ".join(part for part in parts if part)
    await events.post(chart, type="Warning", reason=error.reason.value, message=message)
