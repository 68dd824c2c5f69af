"""Which CRDs the installed chart brings: from the release Secret, and from the chart where it can be had."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.charts.store import Chart
from managedchart_operator.errors import ChartError, HelmError, KubeError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.lifecycle.context import ChartCrds, Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease

REPOSITORY = ChartSource(repository="https://charts.example.com", name="web", version="2.x")
CRD = "kind: CustomResourceDefinition\nmetadata: {name: %s}\n"


def stored(*names: str, chart: str = "web") -> StoredRelease:
    files = [{"name": f"crds/{name}.yaml", "data": base64.b64encode((CRD % name).encode()).decode()} for name in names]
    return StoredRelease({"chart": {"metadata": {"name": chart, "version": "1.5.0"}, "files": files}})


class Cluster:
    """The stored release, the charts and helm in one; `error` is what the fetch of the chart or the read ends with."""

    def __init__(self, release: StoredRelease | HelmError | KubeError | None, fetch: ChartError | None = None) -> None:
        self.release = release
        self.error = fetch
        self.fetched: list[ChartSource] = []

    async def read_stored(self) -> StoredRelease | None:
        if isinstance(self.release, Exception):
            raise self.release
        return self.release

    async def fetch(self, source: ChartSource) -> Chart:
        self.fetched.append(source)
        if self.error:
            raise self.error
        return Chart(
            Path("/cache/web"), ChartMetadata("web", "1.5.0", None), "digest", late_hooks=False, ttl_jobs=False
        )

    async def run(self, arguments: list[str], **_: Any) -> HelmOutput:
        assert arguments == ["show", "crds", "/cache/web"]
        return HelmOutput((CRD % "own" + "---\n" + CRD % "subchart").encode(), "", 0)

    async def crds(self, source: ChartSource = REPOSITORY) -> ChartCrds:
        services = SimpleNamespace(charts=self, helm=self)
        run = SimpleNamespace(services=services, storage=self, spec=SimpleNamespace(chart=source))
        return await LifecycleRelease(cast("Any", run), Run(Operation.UNINSTALL, "because")).chart_crds()


async def test_the_installed_version_is_fetched() -> None:
    """The spec may ask for another by now; of a path there is only what it holds now."""
    cluster = Cluster(stored("own"))
    assert await cluster.crds() == ChartCrds(frozenset({"own", "subchart"}))
    await cluster.crds(ChartSource(path="/charts/web"))
    assert [source.version for source in cluster.fetched] == ["1.5.0", None]


async def test_without_a_release_the_specs_chart_counts() -> None:
    cluster = Cluster(None)
    assert await cluster.crds() == ChartCrds(frozenset({"own", "subchart"}))
    assert cluster.fetched == [REPOSITORY]


async def test_an_unavailable_chart_leaves_the_stored_crds() -> None:
    gone = ChartError("the repository does not answer", reason=Reason.CHART_SOURCE_UNAVAILABLE, transient=True)
    found = await Cluster(stored("own"), fetch=gone).crds()
    assert found == ChartCrds(frozenset({"own"}), incomplete="the repository does not answer")


async def test_another_chart_does_not_count() -> None:
    found = await Cluster(stored("own", chart="other")).crds()
    assert found == ChartCrds(frozenset({"own"}), incomplete="The chart other is installed, but the spec names web")


@pytest.mark.parametrize(
    "file",
    [{"name": "crds/a.yaml", "data": "abc"}, {"name": "crds/a.yaml", "data": base64.b64encode(b"a: {").decode()}],
    ids=["no base64", "no YAML"],
)
async def test_an_unreadable_stored_file_is_tolerated(file: dict[str, str]) -> None:
    found = await Cluster(StoredRelease({"chart": {"files": [file]}})).crds()
    assert found.incomplete is not None


async def test_an_unreadable_release_is_tolerated() -> None:
    garbage = HelmError("The release Secret cannot be read", reason=Reason.HELM_FAILED, transient=False)
    assert (await Cluster(garbage).crds()).incomplete == "The release Secret cannot be read"


async def test_an_unanswered_request_is_an_error() -> None:
    silent = KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
    with pytest.raises(KubeError):
        await Cluster(silent).crds()
