"""The parts of the operator that a pass over a resource uses; `app.assembly` builds them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.diagnosis.collector import Collector
from managedchart_operator.diagnosis.namespace_watch import NamespaceWatches
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.kube.namespaces import Namespaces
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.waiting.until_ready import ReadyWaits


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a pass over a resource needs; one set for the whole operator."""

    helm: HelmRunner
    charts: ChartStore
    roots: ChartRoots
    secrets: ReleaseSecrets
    namespaces: Namespaces
    collector: Collector
    watches: NamespaceWatches
    waits: ReadyWaits
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When this operator started."""

    async def close(self) -> None:
        """Close the watches that are still open."""
        await self.waits.close()
        await self.watches.close()
