"""LifecycleProfiles as the API server has them, and what they are about."""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.errors import ChartError
from managedchart_operator.kube.identities import Identity
from managedchart_operator.lifecycle.lifecycles import Lifecycles
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.profiles.profile import Profile, read_profile
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.subject import RecentLabels, Subject

CHECK: dict[str, Any] = {"name": "check", "phase": "Validate", "exists": {"kind": "Node"}}
REPOSITORY = {"repository": "https://charts.example.com", "name": "web"}


def body(name: str, *, generation: int = 1, status: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A LifecycleProfile of the API server."""
    meta = {"name": name, "uid": f"uid-{name}", "generation": generation, "resourceVersion": "1"}
    return {"metadata": meta, "spec": spec, **({"status": dict(status)} if status else {})}


async def profile(name: str, **spec: Any) -> Profile:
    """A profile, read as the operator does."""
    return await read_profile(body(name, **spec))


def check(name: str, phase: str = "Validate") -> dict[str, Any]:
    """An action."""
    return {"name": name, "phase": phase, "exists": {"kind": "Node"}}


def web(chart: Mapping[str, Any] = REPOSITORY, *, labels: Mapping[str, str] | None = None, **spec: Any) -> ManagedChart:
    """The ManagedChart team-a/web."""
    meta = {"namespace": "team-a", "name": "web", "uid": "u1", "generation": 1, "resourceVersion": "1"}
    return ManagedChart.from_body({"metadata": {**meta, "labels": labels or {}}, "spec": {"chart": chart, **spec}})


def spec_of(chart: ManagedChart) -> ManagedChartSpec:
    """Its spec."""
    return ManagedChartSpec.model_validate(chart.spec)


class FakeCharts:
    """Every chart of a folder, or in a spec, is this one; None is one that cannot be read."""

    def __init__(self, local: ChartMetadata | None = None) -> None:
        self.local = local

    def of(self, _: str) -> "FakeCharts":
        """For every namespace."""
        return self

    async def metadata(self, source: Any) -> ChartMetadata | None:
        """As the store does."""
        if source.path is None and source.contents is None:
            return None
        if self.local is None:
            raise ChartError("it cannot be read")
        return self.local


class FakeNamespaces:
    """The labels of namespaces, and how often they were read."""

    def __init__(self, labels: Mapping[str, Mapping[str, str]] | None = None, error: Exception | None = None) -> None:
        self.known, self.error, self.reads = labels or {}, error, 0

    async def labels(self, name: str) -> Mapping[str, str] | None:
        """As a test has put them down."""
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.known.get(name)


class FakeAccounts:
    """Checks ServiceAccounts, of which some do not exist."""

    def __init__(self, *missing: Identity) -> None:
        self.missing = missing
        self.checked: list[Identity | None] = []

    async def check(self, identity: Identity | None) -> None:
        """Raise the error of a test for a missing one."""
        self.checked.append(identity)
        if identity in self.missing:
            raise ChartError(f"{identity} does not exist")


def subject(chart: ManagedChart, charts: FakeCharts | None = None, namespaces: FakeNamespaces | None = None) -> Subject:
    """A ManagedChart as profiles see it."""
    return Subject(chart, charts or FakeCharts(), RecentLabels(namespaces or FakeNamespaces()))


def lifecycles(
    *profiles: Profile,
    namespaces: FakeNamespaces | None = None,
    metrics: MetricSources | None = None,
    plugins: Plugins | None = None,
) -> Lifecycles:
    """The lifecycles of a cluster with these profiles."""
    labels = RecentLabels(namespaces or FakeNamespaces())
    return Lifecycles(Profiles(profiles), charts=FakeCharts(), namespaces=labels, metrics=metrics, plugins=plugins)
