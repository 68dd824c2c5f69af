"""Reads what stands in the crds/ folders of a run's chart and of its enabled subcharts.

A chart without such a folder costs nothing, and one that has only its own costs no helm process; for subcharts helm says which
are enabled. The chart is untrusted: it is read in a worker process, and what is in the folders within the bounds of
`helm.manifest`.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from managedchart_operator.charts.by_helm import enabled_crds
from managedchart_operator.charts.crd_folders import CrdFolders, own_crds
from managedchart_operator.charts.reading import read_chart
from managedchart_operator.errors import UNREADABLE, ChartError
from managedchart_operator.helm.command import TemplateOptions
from managedchart_operator.helm.manifest import ManifestError, as_sent, outline, parse_manifest
from managedchart_operator.kube.cluster_crds import KIND
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_run import ReleaseRun

T = TypeVar("T")

# Each costs a request in every run. The largest public charts have some hundred CRDs.
MAX_OBJECTS = 1000


@dataclass(frozen=True, slots=True)
class CrdObjects:
    """The objects of crds/ folders: the CRDs by name, of which the last one counts, and all others."""

    crds: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class CrdFiles:
    """The files in the crds/ folders of one run's chart, each read once."""

    run: ReleaseRun
    _texts: Sequence[str] | None = None
    _whole: CrdObjects | None = None

    async def outlined(self) -> CrdObjects:
        """Return the objects with apiVersion, kind and metadata only. Raises ChartError, HelmError, KubeError."""
        texts = await self._read()
        return await reading(lambda: _sorted(outline(*texts))) if texts else CrdObjects()

    async def whole(self) -> CrdObjects:
        """Return the objects as helm sends them; megabytes for the largest charts. Raises as `outlined` does."""
        if self._whole is None:
            texts = await self._read()
            self._whole = await reading(lambda: _sorted([as_sent(item) for item in parse_manifest(*texts)]))
        return self._whole

    async def _read(self) -> Sequence[str]:
        if self._texts is None:
            self._texts = await self._find()
        return self._texts

    async def _find(self) -> Sequence[str]:
        services, sources = self.run.services, self.run.sources
        chart = await sources.fetch()
        if chart.crds is CrdFolders.NONE:
            return ()
        if chart.crds is CrdFolders.OWN:
            own = await read_chart(own_crds, chart.path, origin=f"chart {chart.name}")
            if own is not None:
                return own
        values = (await sources.read()).values.arguments
        options = TemplateOptions(self.run.name, self.run.namespace, await self.run.objects.crds.kube_version())
        async with services.charts.without_templates(chart) as deciding:
            return (await enabled_crds(services.helm, deciding, options, values),)


async def reading(work: Callable[[], T]) -> T:
    """Do work on a chart's CRDs in a thread. Raises ChartError if they have not the form of CRDs."""
    try:
        return await asyncio.to_thread(work)
    except (*UNREADABLE, ManifestError) as error:
        known = isinstance(error, ManifestError)
        why = str(error) if known else "an object in it does not have the form of a CustomResourceDefinition"
        raise ChartError(
            f"The chart's crds/ folder cannot be read: {why}",
            reason=Reason.CHART_INVALID,
            hint="Correct the chart, or apply its CRDs yourself and set spec.crds: Skip.",
        ) from error


def _sorted(objects: Sequence[dict[str, Any]]) -> CrdObjects:
    """Sort objects by what they are. Raises ManifestError for a CRD without a name, and for too many objects."""
    if len(objects) > MAX_OBJECTS:
        raise ManifestError(f"it has more than {MAX_OBJECTS} objects")
    found = CrdObjects()
    for item in objects:
        name = (item.get("metadata") or {}).get("name")
        if item["kind"] != KIND:
            found.others.append(item)
        elif name:
            found.crds[name] = item
        else:
            raise ManifestError("a CustomResourceDefinition has no name")
    return found
