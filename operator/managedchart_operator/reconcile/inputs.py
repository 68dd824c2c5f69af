"""Reads the inputs of a run: all values as helm takes them, and the digest of everything that decides what runs.

The chart's identity and values files come from `charts`, without network access and without a helm process.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.helm.values import Values, read_values
from managedchart_operator.reconcile.digest import Digest, digest_of


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a run."""

    values: Values
    digest: Digest


@dataclass(frozen=True, slots=True)
class InputReader:
    """Reads the inputs of a spec."""

    charts: ChartStore
    roots: ChartRoots

    async def read(self, spec: ManagedChartSpec, *, chart_name: str) -> Inputs:
        """Return the values and the digest. `chart_name` is for messages. Raises ChartError, ValuesError."""
        files = []
        for index, path in enumerate(spec.values_files):
            field = f"spec.valuesFiles[{index}]"
            files.append(
                (path, await asyncio.to_thread(self.roots.read_values_file, path, chart=chart_name, field=field))
            )
        values = await asyncio.to_thread(
            partial(
                read_values,
                files=files,
                yaml_files=spec.yaml_files_content,
                values=spec.values,
                set_values=spec.set,
            )
        )
        fingerprint = await self.charts.fingerprint(spec.chart)
        return Inputs(values, digest_of(spec, chart=fingerprint, values=values))
