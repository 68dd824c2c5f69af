"""Prometheus metrics: their names and labels, which docs/metrics.md lists.

`reconcile` reports through its protocol `Telemetry`; what is only read at a scrape comes from `assembly`. Histograms have no
label with a resource's name, and the series of a deleted resource disappear.
"""

import asyncio
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from managedchart_operator.api.resource import Key
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.app.loop_delays import Moment
from managedchart_operator.reasons import Reason

# From a phase that does nothing to a slow DaemonSet on a large cluster.
_PHASE_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800)
# The largest error of the measured loop lag. So many wake-ups cost less than a hundredth of a core.
_INTERVAL_SECONDS = 0.05
# No input is to block the loop for longer than 0.1 s (docs/security.md).
_BLOCK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Metrics(Collector):
    """Implements `reconcile.services.Telemetry` with Prometheus metrics of its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconciles = Counter(
            "managedchart_reconciles_total",
            "Reconciliations of a resource, by verdict.",
            ["verdict"],
            registry=self.registry,
        )
        self._phases = Histogram(
            "managedchart_phase_duration_seconds",
            "Durations of phases, by phase and outcome.",
            ["phase", "outcome"],
            buckets=_PHASE_BUCKETS,
            registry=self.registry,
        )
        self._actions = Histogram(
            "managedchart_action_duration_seconds",
            "Durations of the actions of lifecycles, by verb and outcome.",
            ["verb", "outcome"],
            buckets=_PHASE_BUCKETS,
            registry=self.registry,
        )
        self._failures = Counter(
            "managedchart_failures_total",
            "Failed runs, by reason and phase.",
            ["reason", "phase"],
            registry=self.registry,
        )
        self._retries = Counter("managedchart_retries_total", "Runs that retried a failed one.", registry=self.registry)
        self._lag = Gauge(
            "managedchart_loop_lag_max_seconds",
            "Longest delay of the event loop since the start.",
            registry=self.registry,
        )
        self._blocks = Histogram(
            "managedchart_loop_blocked_seconds",
            "Delays of the event loop that the operator itself has caused.",
            buckets=_BLOCK_BUCKETS,
            registry=self.registry,
        )
        self._readings: list[tuple[str, str, Callable[[], float]]] = []
        # The gauges of each resource are made at each scrape; keeping two per resource would take 3 KB of memory.
        self._states: dict[Key, tuple[bool, bool]] = {}
        self.registry.register(self)

    def observe(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Export a value that is read at each scrape; a counter where the name ends with _total, else a gauge."""
        self._readings.append((name, text, value))

    async def measure_loop_lag(self) -> None:
        """Measure how late the event loop is, which shows whether something blocks it and so every resource."""
        loop, longest = asyncio.get_running_loop(), 0.0
        while True:
            due, before = loop.time() + _INTERVAL_SECONDS, Moment.now()
            await asyncio.sleep(_INTERVAL_SECONDS)
            longest = max(longest, loop.time() - due)
            self._blocks.observe(before.held_up(asleep=_INTERVAL_SECONDS))
            self._lag.set(longest)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def reconciled(self, verdict: str) -> None:
        """Count a pass."""
        self._reconciles.labels(verdict).inc()

    def retried(self) -> None:
        """Count a retry."""
        self._retries.inc()

    def phase_ended(self, phase: str, *, seconds: float, succeeded: bool) -> None:
        """Observe a phase's duration."""
        self._phases.labels(phase, "succeeded" if succeeded else "failed").observe(seconds)

    def action_ended(self, verb: str, *, outcome: str, seconds: float) -> None:
        """Observe an action's duration."""
        self._actions.labels(verb, outcome).observe(seconds)

    def failed(self, reason: Reason, phase: str) -> None:
        """Count a failed run."""
        self._failures.labels(reason.value, phase).inc()

    def status_changed(self, key: Key, status: ManagedChartStatus) -> None:
        """Set the gauges of a resource."""
        true = {condition.type for condition in status.conditions if condition.status == "True"}
        self._states[key] = ("Ready" in true, "Stalled" in true)

    def forget(self, key: Key) -> None:
        """Drop the series of a deleted resource."""
        self._states.pop(key, None)

    def collect(self) -> Iterable[Metric]:
        """Yield what is read at each scrape."""
        for name, text, value in self._readings:
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(name, text, value=value())
        labels = ["namespace", "name"]
        ready = GaugeMetricFamily("managedchart_ready", "1 if the resource is Ready, else 0.", labels=labels)
        stalled = GaugeMetricFamily("managedchart_stalled", "1 if the resource is Stalled, else 0.", labels=labels)
        for key, (is_ready, is_stalled) in list(self._states.items()):
            ready.add_metric([key.namespace, key.name], is_ready)
            stalled.add_metric([key.namespace, key.name], is_stalled)
        yield from (ready, stalled)
