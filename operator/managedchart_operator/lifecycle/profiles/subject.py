"""What profiles look at: a ManagedChart, its chart, and the labels of its namespace, each read when it is first needed.

The chart is the one that the spec names, also while the ManagedChart is being deleted: a profile takes part in the removal of
what it has taken part in. A chart from a folder or in the spec itself is read; of one in a repository or registry the name is
that in the spec, and a version that is only a constraint is not known before the chart is fetched.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from pydantic import ValidationError

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.errors import ChartError
from managedchart_operator.lifecycle.versions import is_exact

# Hundreds of ManagedCharts of one namespace are asked about in quick succession.
_FRESH_SECONDS = 10.0


class Charts(Protocol):
    """Reads charts that are at hand."""

    def of(self, namespace: str) -> "Charts":
        """Return the same for ManagedCharts of a namespace."""

    async def metadata(self, source: ChartSource) -> ChartMetadata | None:
        """Return name and version of a chart of a folder or of the spec itself; None for any other. Raises ChartError."""


class LabelsOfNamespaces(Protocol):
    """Reads the labels of namespaces."""

    async def labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels; None if the namespace does not exist. Raises KubeError."""


Read = Callable[[str, Mapping[str, str] | None, Mapping[str, str]], None]
"""Called with a namespace, the labels that were known before (None for none), and those that were read now."""


class RecentLabels:
    """The labels of namespaces, as they were some seconds ago at most."""

    def __init__(self, namespaces: LabelsOfNamespaces) -> None:
        self._namespaces = namespaces
        self._known: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._read: Read = lambda *_: None

    def when_read(self, call: Read) -> None:
        """Set what is called each time that the API server has answered."""
        self._read = call

    def forget(self, name: str) -> None:
        """Forget the labels of a namespace."""
        self._known.pop(name, None)

    async def labels(self, name: str) -> Mapping[str, str]:
        """Return the labels of a namespace, none if it does not exist. Raises KubeError."""
        known = self._known.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        return await self.look(name)

    async def look(self, name: str) -> Mapping[str, str]:
        """Return the labels as they are now. Raises KubeError."""
        found = await self._namespaces.labels(name) or {}
        before = self._known.get(name)
        self._known[name] = (time.monotonic() + _FRESH_SECONDS, found)
        self._read(name, before[1] if before else None, found)
        return found


@dataclass(slots=True)
class Subject:
    """One ManagedChart, as profiles see it."""

    chart: ManagedChart
    charts: Charts
    namespaces: RecentLabels
    _identified: tuple[str, str | None] | None = field(default=None, repr=False)

    @property
    def namespace(self) -> str:
        """The namespace of the ManagedChart."""
        return self.chart.key.namespace

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the ManagedChart."""
        return self.chart.labels

    @property
    def lifecycle(self) -> str:
        """What spec.lifecycle.name says; read even where the rest of the spec cannot be."""
        found = self.chart.spec.get("lifecycle")
        name = found.get("name") if isinstance(found, Mapping) else None
        return name if isinstance(name, str) else "default"

    async def namespace_labels(self) -> Mapping[str, str]:
        """Return the labels of the namespace of the ManagedChart. Raises KubeError."""
        return await self.namespaces.labels(self.namespace)

    async def chart_name(self) -> str:
        """Return the name of the chart; "" if the chart cannot be read."""
        return (await self._identify())[0]

    async def chart_version(self) -> str | None:
        """Return the version of the chart; None if it is not known before the chart is fetched."""
        return (await self._identify())[1]

    async def _identify(self) -> tuple[str, str | None]:
        if self._identified is None:
            self._identified = await self._read()
        return self._identified

    async def _read(self) -> tuple[str, str | None]:
        try:
            source = ChartSource.model_validate(self.chart.spec.get("chart"), extra="ignore")
        except ValidationError:
            return "", None
        with contextlib.suppress(ChartError):  # what is wrong with it is reported by the run
            if (found := await self.charts.of(self.namespace).metadata(source)) is not None:
                return found.name, found.version
        place = PurePosixPath(source.path or source.oci or "")
        version = source.version if source.version and is_exact(source.version) else None
        return source.name or place.name.removesuffix(".tgz"), version
