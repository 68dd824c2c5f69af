"""Finds the CRDs in the crds/ folders of the installed revision's chart.

The release Secret has the files of the chart itself, but not those of its subcharts, so the chart is fetched as well. This is
asked while a release is removed, so a chart that cannot be fetched makes the answer incomplete instead of being an error.
"""

import asyncio

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.by_helm import chart_crds, crd_names
from managedchart_operator.charts.store import Chart
from managedchart_operator.errors import ChartError, KubeError, OperatorError
from managedchart_operator.helm.manifest import ManifestError
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.lifecycle.context import ChartCrds
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.services import Services


async def installed_crds(services: Services, storage: ReleaseStorage, source: ChartSource) -> ChartCrds:
    """Return the CRDs of the release's newest revision; `source` is the chart of the spec. Raises KubeError."""
    names: set[str] = set()
    try:
        stored = await storage.read_stored()
        if stored is not None:
            names |= await asyncio.to_thread(lambda: crd_names(*stored.crd_files))
        chart = await _installed_chart(services, stored, source)
        names |= await chart_crds(services.helm, chart.path)
    except KubeError:
        raise
    except OperatorError as error:
        return ChartCrds(frozenset(names), incomplete=error.message)
    except (ValueError, ManifestError) as error:
        return ChartCrds(frozenset(names), incomplete=f"The chart in the release Secret cannot be read: {error}")
    return ChartCrds(frozenset(names))


async def _installed_chart(services: Services, stored: StoredRelease | None, source: ChartSource) -> Chart:
    """Fetch the installed chart in its installed version, even if the spec now asks for another one.

    A path or inline contents have only their current version. Raises ChartError, HelmError.
    """
    if stored is not None and stored.chart_version and (source.repository or source.oci):
        source = source.model_copy(update={"version": stored.chart_version})
    chart = await services.charts.fetch(source)
    if stored is not None and stored.chart_name not in (None, chart.name):
        raise ChartError(
            f"The chart {stored.chart_name} is installed, but the spec names {chart.name}",
            reason=Reason.CHART_NOT_FOUND,
        )
    return chart
