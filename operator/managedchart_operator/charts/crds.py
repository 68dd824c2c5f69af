"""Lists the CustomResourceDefinitions in the crds/ folders of a chart.

helm installs these without its ownership marks and does not uninstall them, so the cluster does not show which release brought
them. helm itself reads the chart, in a process with limits, because the chart is untrusted.
"""

import asyncio
from pathlib import Path

from managedchart_operator.charts.metadata import invalid
from managedchart_operator.helm import command
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.runner import HelmRunner

# helm loads and prints the CRDs of the largest public chart (kube-prometheus-stack, 4.5 MB) within 0.2 s.
_SHOW_SECONDS = 30.0


async def chart_crds(helm: HelmRunner, chart: Path) -> set[str]:
    """Return the names of the CRDs in the crds/ folders of a chart and its subcharts, even of those disabled by values.

    `chart` is a folder or an archive of the cache. Raises HelmError, ChartError.
    """
    output = await helm.run(command.show_crds(chart), deadline=_SHOW_SECONDS, keep_stdout=True, applies=False)
    if output.exit_code != 0:
        raise classify(output.stderr, exit_code=output.exit_code, command="show")
    try:
        return await asyncio.to_thread(crd_names, output.stdout.decode())
    except (ManifestError, UnicodeDecodeError) as error:
        raise invalid(f"the chart's crds/ cannot be read: {error}") from error


def crd_names(*manifests: str) -> set[str]:
    """Return the names of the CRDs in YAML documents. Takes 50 ms for 4.5 MB. Raises ManifestError."""
    return {
        str((item.get("metadata") or {}).get("name"))
        for item in outline(*manifests)
        if item["kind"] == "CustomResourceDefinition"
    }
