"""ManagedCharts that are so large that the API server cannot store their status.

etcd takes an object of 1.5 MiB at most, with spec, status and managedFields, and anybody may create one that is 100 bytes
smaller. Nothing can be recorded about it, not even when to try again, so this back-off is kept in memory only.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.errors import KubeError
from managedchart_operator.reconcile.retries import defect_back_off

STATUS_TOO_LARGE = "StatusTooLarge"
"""The reason of the Warning Event, which is the only place that can say it."""
# What etcd says, its client, and the API server about the request itself.
_WORDS = ("request is too large", "larger than max", "entity too large")
_REMEMBERED = 1024


def is_too_large(error: BaseException | None) -> bool:
    """Whether the API server refused a write because the object would be too large for etcd."""
    return isinstance(error, KubeError) and any(words in error.answer for words in _WORDS)


@dataclass(frozen=True, slots=True)
class _Known:
    uid: str
    generation: int
    failures: int
    until: float


@dataclass(slots=True)
class Unwritable:
    """Remembers such ManagedCharts, and when each is tried again; one for the whole operator."""

    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[Key, _Known] = field(default_factory=OrderedDict)

    def delay(self, chart: ManagedChart) -> float:
        """Return the seconds until a ManagedChart may be tried again; 0 for now, also after a change of its spec."""
        known = self._known.get(chart.key)
        if known is None or (known.uid, known.generation) != (chart.uid, chart.generation) or chart.deleting:
            return 0.0
        return max(known.until - self.clock(), 0.0)

    def failed(self, chart: ManagedChart) -> float:
        """Count a failed write; returns the seconds until the next try: from 30 s, doubled each time, at most 10 min."""
        known = self._known.pop(chart.key, None)
        again = known is not None and (known.uid, known.generation) == (chart.uid, chart.generation)
        failures = known.failures + 1 if known is not None and again else 1
        seconds = defect_back_off(failures)
        if len(self._known) >= _REMEMBERED:
            self._known.popitem(last=False)
        self._known[chart.key] = _Known(chart.uid, chart.generation, failures, self.clock() + seconds)
        return seconds


def why(chart: ManagedChart) -> str:
    """Return what an Event says about it, with the remedy."""
    return (
        "This ManagedChart is too large: the API server cannot store its status, because etcd takes an object of at most"
        " 1.5 MiB. Make its spec smaller: use spec.chart.oci or spec.chart.repository instead of spec.chart.contents, or"
        " shorten spec.values and spec.yamlFilesContent:"
        f" kubectl -n {chart.key.namespace} edit managedchart {chart.key.name}"
    )
