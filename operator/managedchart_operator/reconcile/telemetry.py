"""What `reconcile` reports to the metrics; `app.metrics` exports it to Prometheus."""

from typing import Protocol

from managedchart_operator.api.resource import Key
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.reasons import Reason


class Telemetry(Protocol):
    """Receives counts and durations."""

    def reconciled(self, verdict: str) -> None:
        """A pass has a plan."""

    def retried(self) -> None:
        """A run retries what failed before."""

    def phase_ended(self, phase: str, *, seconds: float, succeeded: bool) -> None:
        """A phase has ended."""

    def failed(self, reason: Reason, phase: str) -> None:
        """A run has failed."""

    def status_changed(self, key: Key, status: ManagedChartStatus) -> None:
        """The conditions of a resource may have changed."""
