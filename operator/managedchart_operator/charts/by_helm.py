"""What helm itself does with a chart before it is installed: it downloads packages, and lists the CRDs in crds/ folders.

helm reads the chart in a process with limits, because the chart is untrusted. Nothing is applied, so no apply slot is needed.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.local import MAX_ARCHIVE_BYTES, too_large
from managedchart_operator.charts.metadata import invalid
from managedchart_operator.charts.schema_addresses import originals
from managedchart_operator.charts.schema_documents import SchemaDocuments
from managedchart_operator.egress.calls import Egress
from managedchart_operator.errors import HelmError
from managedchart_operator.helm import command
from managedchart_operator.helm.child_limits import FILE_BYTES
from managedchart_operator.helm.connections import only_to
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.memory_files import Argument
from managedchart_operator.helm.runner import HelmOutput, HelmRunner, Watch
from managedchart_operator.reasons import Reason
from managedchart_operator.redaction import Redactor

# A pull is one download; a chart is at most a few MiB.
PULL_SECONDS = 120.0
# helm loads and prints the CRDs of the largest public chart (kube-prometheus-stack, 4.5 MB) within 0.2 s.
_SHOW_SECONDS = 30.0
# Loading a chart takes a second at most; helm waits 15 s for a document of a schema, and asks for a few, one after another.
_SCHEMA_SECONDS = 60.0
# How often the files of a pull are looked at: 64 MiB take this long at 2 Gbit/s.
_POLL_SECONDS = 0.25
# Beside the chart, helm stores the index of a repository and a copy of the chart.
_MAX_PULL_BYTES = FILE_BYTES + 2 * MAX_ARCHIVE_BYTES


async def pull(
    helm: HelmRunner,
    egress: Egress,
    source: ChartSource,
    destination: Path,
    begin: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Fetch a packaged chart into an empty folder, in which helm's cache is too; `begin` is awaited once helm has its slot.

    Bounded while it arrives. helm calls through the operator's proxy, which knows better than helm what it refused. Raises
    HelmError, ChartError.
    """
    cache = destination / "cache"
    chart = source.oci or f"{source.name} of {source.repository}"
    with egress.proxy.session() as session:
        try:
            await _run(
                helm,
                command.pull(source, destination=destination),
                deadline=PULL_SECONDS,
                environment={**session.environment, "HELM_CACHE_HOME": str(cache)},
                through=only_to(egress.proxy.port) if egress.only_by_proxy else (),
                watch=lambda: _until_too_large(destination, cache, origin=f"chart {chart}"),
                before=begin,
            )
        except HelmError as error:
            if explained := egress.explain(session, source=source.oci or source.repository or ""):
                raise explained from error
            raise
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, cache, ignore_errors=True))


async def _until_too_large(destination: Path, cache: Path, *, origin: str) -> Exception:
    """Wait until the files of a pull are too large, and return the error."""
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        cached, pulled = await asyncio.to_thread(lambda: (_bytes_in(cache), _bytes_in(destination)))
        if pulled - cached > MAX_ARCHIVE_BYTES or pulled > _MAX_PULL_BYTES:
            return too_large(origin)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # helm renames its files
    return total


async def chart_crds(helm: HelmRunner, chart: Path) -> set[str]:
    """Return the names of the CRDs in the crds/ folders of a chart and its subcharts, even of those disabled by values.

    helm installs these without its ownership marks and does not uninstall them, so the cluster does not show which release
    brought them. `chart` is a folder or an archive of the cache. Raises HelmError, ChartError.
    """
    output = await _run(helm, command.show_crds(chart), deadline=_SHOW_SECONDS)
    try:
        return await asyncio.to_thread(crd_names, output.decode())
    except (ManifestError, UnicodeDecodeError) as error:
        raise invalid(f"the chart's crds/ cannot be read: {error}") from error


async def enabled_crds(
    helm: HelmRunner, chart: Path, options: command.TemplateOptions, values: Sequence[Argument]
) -> str:
    """Return what is in the crds/ folders of a chart and of those of its subcharts that are enabled, as one text.

    `chart` has no templates (`crd_folders.without_templates`), so nothing else is printed. Raises HelmError, ChartError.
    """
    arguments = [*command.template_crds(options, chart=chart), *values]
    try:
        return (await _run(helm, arguments, deadline=_SHOW_SECONDS)).decode()
    except UnicodeDecodeError as error:
        raise invalid(f"the chart's crds/ cannot be read: {error}") from error


async def failed_schema_check(
    helm: HelmRunner, egress: Egress, chart: Path, options: command.TemplateOptions, values: Sequence[Argument]
) -> HelmOutput | None:
    """Check values against a chart's schemas, whose addresses of the web the operator answers itself.

    `chart` has no templates, and stand-ins for these addresses (`ChartStore.without_templates`). Returns None, or what helm
    says if a schema refuses the values or cannot be used. Raises ChartError for a document that helm could not get, HelmError.
    """
    documents = SchemaDocuments(egress)
    with egress.proxy.session(documents) as session:
        output = await helm.run(
            [*command.template(options, chart=chart), *values],
            deadline=_SCHEMA_SECONDS,
            environment=session.environment,
            through=only_to(egress.proxy.port),
        )
    if output.exit_code == 0:
        return None
    if documents.problem is not None:
        raise documents.problem
    return replace(output, stderr=originals(output.stderr))


def crd_names(*manifests: str) -> set[str]:
    """Return the names of the CRDs in YAML documents. Takes 50 ms for 4.5 MB. Raises ManifestError."""
    return {
        str((item.get("metadata") or {}).get("name"))
        for item in outline(*manifests)
        if item["kind"] == "CustomResourceDefinition"
    }


async def _run(
    helm: HelmRunner,
    arguments: Sequence[Argument],
    *,
    deadline: float,
    environment: Mapping[str, str] | None = None,
    through: Sequence[str] = (),
    watch: Watch | None = None,
    before: Callable[[], Awaitable[None]] | None = None,
) -> bytes:
    """Run helm without an apply slot and with little memory; if that is too little, once more with both."""
    for applies in (False, True):
        try:
            output = await helm.run(
                arguments,
                deadline=deadline,
                keep_stdout=True,
                applies=applies,
                environment=environment,
                through=through,
                watch=watch,
                before=before,
            )
            break
        except HelmError as error:
            if applies or error.reason is not Reason.CHART_TOO_LARGE:
                raise
    if output.exit_code != 0:
        raise await asyncio.to_thread(_error_of, output, str(arguments[0]))
    return output.stdout


def _error_of(output: HelmOutput, command: str) -> HelmError:
    return classify(Redactor()(output.stderr), exit_code=output.exit_code, command=command)
