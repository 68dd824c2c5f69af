"""Reads what one run deploys: its chart, its values, and the digest of everything that decides what runs."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.store import Chart
from managedchart_operator.helm.values import Values, read_values
from managedchart_operator.reconcile.digest import Digest, digest_of
from managedchart_operator.reconcile.services import Services


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a run, which are read without network access and without a helm process."""

    values: Values
    digest: Digest


@dataclass(slots=True)
class Sources:
    """Reads the inputs and the chart of one run, each once, when it is first needed.

    With `refresh` the chart is fetched again even if the cache has it.
    """

    services: Services
    spec: ManagedChartSpec
    release: str
    """Name of the release, for messages."""
    refresh: bool = False
    stored: ManagedChartSpec | None = None
    """The spec as it is stored, if something in it was clamped: the digest is that of the stored one."""
    inputs: Inputs | None = None
    chart: Chart | None = None
    schemas_checked: bool = False
    """Whether the values were checked against the chart's schemas already, so that helm need not."""

    async def read(self) -> Inputs:
        """Return all values as helm takes them, and the digest. Raises ChartError, ValuesError."""
        if self.inputs is None:
            self.inputs = await self._read()
        return self.inputs

    async def fetch(self) -> Chart:
        """Return the chart as a local file or folder that helm may deploy. Raises ChartError, HelmError."""
        if self.chart is None:
            self.chart = await self.services.charts.fetch(self.spec.chart, refresh=self.refresh)
        if not self.spec.skip_schema_validation:
            self.chart.check_schemas(self.services.charts.egress)
        return self.chart

    async def _read(self) -> Inputs:
        # Nothing of this is done on the event loop: megabytes of values take some 0.1 s, at every pass.
        spec = self.spec
        values = await asyncio.to_thread(self._read_values)
        fingerprint = await self.services.charts.fingerprint(spec.chart)
        stored = self.stored or spec
        return Inputs(values, await asyncio.to_thread(digest_of, stored, chart=fingerprint, values=values))

    def _read_values(self) -> Values:
        spec = self.spec
        return read_values(
            files=self._files(), yaml_files=spec.yaml_files_content, values=spec.values, set_values=spec.set
        )

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Yield each values file as often as it is named, but read it once, and none after the budget was exceeded."""
        known: dict[str, bytes] = {}
        for index, path in enumerate(self.spec.values_files):
            if path not in known:
                field = f"spec.valuesFiles[{index}]"
                known[path] = self.services.roots.read_values_file(path, chart=self.release, field=field)
            yield path, known[path]
