"""The parts of the operator that a pass over a resource uses; `app.assembly` builds them."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol, Self

from managedchart_operator.api.resource import Key
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.diagnosis.collector import Collector
from managedchart_operator.diagnosis.namespace_watch import NamespaceWatches
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.namespaces import Namespaces
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.kube.service_accounts import ServiceAccounts
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.until_ready import ReadyWaits


class Telemetry(Protocol):
    """Receives counts and durations; `app.metrics` exports them to Prometheus."""

    def reconciled(self, verdict: str) -> None:
        """A pass has a plan."""

    def retried(self) -> None:
        """A run retries what failed before."""

    def phase_ended(self, phase: str, *, seconds: float, succeeded: bool) -> None:
        """A phase has ended."""

    def action_ended(self, verb: str, *, outcome: str, seconds: float) -> None:
        """An action of a lifecycle has ended: succeeded, failed or skipped."""

    def failed(self, reason: Reason, phase: str) -> None:
        """A run has failed."""

    def status_changed(self, key: Key, status: ManagedChartStatus) -> None:
        """The conditions of a resource may have changed."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a pass over a resource needs.

    There is one set for the operator itself, and from that one for each pass, `on_behalf_of` its ManagedChart.
    """

    helm: HelmRunner
    charts: ChartStore
    roots: ChartRoots
    secrets: ReleaseSecrets
    namespaces: Namespaces
    collector: Collector
    watches: NamespaceWatches
    waits: ReadyWaits
    accounts: ServiceAccounts
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When this operator started."""

    def on_behalf_of(self, namespace: str, identity: Identity | None) -> Self:
        """Return what a pass over a ManagedChart in this namespace uses: with its identity, None for the operator's own.

        Slots, counters and watches are shared with all others. Charts are fetched without an identity.
        """
        helm = self.helm.on_behalf_of(namespace, user=identity.user if identity else None)
        here = replace(self, helm=helm, charts=self.charts.of(namespace), roots=self.roots.of(namespace))
        if identity is None:
            return here
        return replace(
            here,
            secrets=self.secrets.acting_as(identity),
            namespaces=self.namespaces.acting_as(identity),
            collector=self.collector.acting_as(identity),
            watches=self.watches.acting_as(identity),
            waits=self.waits.acting_as(identity),
        )

    @property
    def identity(self) -> Identity | None:
        """On whose behalf these work; None for the operator itself."""
        return self.collector.objects.identity

    async def close(self) -> None:
        """Close the watches that are still open."""
        await self.waits.close()
        await self.watches.close()
