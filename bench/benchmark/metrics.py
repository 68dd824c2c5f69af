"""The operator's own metrics, as numbers. Boundary: Prometheus' text format, as far as this operator uses it."""

import re
from urllib.request import urlopen

HELM_STARTED = "managedchart_helm_processes_started_total"
HELM_RUNNING = "managedchart_helm_processes"
RECONCILING = "managedchart_reconciles_running"
HELM_CPU = "managedchart_helm_cpu_seconds_total"
API_REQUESTS = "managedchart_api_requests_total"
LOOP_LAG_MAX = "managedchart_loop_lag_max_seconds"
LOOP_BLOCKED = "managedchart_loop_blocked_seconds"
RECONCILES = "managedchart_reconciles_total"

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Metrics:
    """One reading of all metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (found["name"], dict(_LABEL.findall(found["labels"] or "")), float(found["value"]))
            for found in _LINE.finditer(text)
        ]

    @classmethod
    def read(cls, port: int) -> "Metrics":
        """Read them from an operator on this machine."""
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return cls(answer.read().decode())

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum over all series of a metric with these labels; 0 where there is none."""
        return sum(value for found, its, value in self._samples if found == name and labels.items() <= its.items())

    def blocked(self) -> float:
        """Return how often the operator itself has held up its event loop for more than 0.1 s, other than a busy machine."""
        return self.sum(f"{LOOP_BLOCKED}_count") - self.sum(f"{LOOP_BLOCKED}_bucket", le="0.1")
