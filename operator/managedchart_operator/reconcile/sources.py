"""Reads the chart and the values of one run, each once, when it is first needed."""

from dataclasses import dataclass

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.store import Chart
from managedchart_operator.reconcile.inputs import Inputs
from managedchart_operator.reconcile.services import Services


@dataclass(slots=True)
class Sources:
    """What one run deploys. With `refresh` the chart is fetched again even if the cache has it."""

    services: Services
    spec: ManagedChartSpec
    release: str
    """Name of the release, for messages."""
    refresh: bool = False
    inputs: Inputs | None = None
    chart: Chart | None = None

    async def read(self) -> Inputs:
        """Return the chart's identity and all values. Raises ChartError, ValuesError."""
        if self.inputs is None:
            self.inputs = await self.services.inputs.read(self.spec, chart_name=self.release)
        return self.inputs

    async def fetch(self) -> Chart:
        """Return the chart as a local file or folder. Raises ChartError, HelmError."""
        if self.chart is None:
            self.chart = await self.services.charts.fetch(self.spec.chart, refresh=self.refresh)
        return self.chart
