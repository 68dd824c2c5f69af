"""Repositories and registries that are down, distrusted, closed, or without what is asked for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY
from e2e.bad_input.reading import RETRY, read_failure, told
from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, managedchart
from peers import ChartRepository, OciRegistry

pytestmark = pytest.mark.usefixtures("operator")

PASSWORD = "hunter2-and-more"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart to publish."""
    return write_chart(tmp_path_factory.mktemp("published") / "small")


@pytest.fixture(scope="module")
def repository(small: Path) -> Iterator[ChartRepository]:
    """A repository that works, with small 1.0.0."""
    with ChartRepository() as served:
        served.add_chart(small)
        yield served


@pytest.fixture(scope="module")
def registry(small: Path) -> Iterator[OciRegistry]:
    """A registry that works, with small 1.0.0."""
    with OciRegistry() as served:
        served.add_chart(small)
        yield served


def test_a_version_is_found_once_it_is_published(cluster: Cluster, small: Path, ns: str) -> None:
    """A GitOps repository is often ahead of the chart's release: it is tried again."""
    with ChartRepository() as repository:
        repository.add_chart(small)
        source = {"repository": repository.url, "name": "small", "version": ">=2 <3"}
        cluster.apply(managedchart("ahead", source, retry=RETRY), namespace=ns)
        chart = read_failure(cluster, ns, "ahead", "ChartVersionNotFound", transient=True)
        message = chart["status"]["lastFailure"]["message"]
        assert repository.url in message
        assert "small" in message
        assert ">=2 <3" in message
        repository.add_chart(small, version="2.1.0")
        ready = cluster.wait_ready(ns, "ahead")
        assert ready["status"]["release"]["chartVersion"] == "2.1.0"


def test_a_chart_missing_in_the_repository_is_named(cluster: Cluster, repository: ChartRepository, ns: str) -> None:
    cluster.apply(managedchart("typo", {"repository": repository.url, "name": "smal"}), namespace=ns)
    chart = read_failure(cluster, ns, "typo", "ChartNotFound", transient=False)
    assert f"The repository {repository.url} has no chart smal" in told(chart)
    cluster.apply(managedchart("typo", {"repository": repository.url, "name": "small"}), namespace=ns)
    cluster.wait_ready(ns, "typo")


def test_a_version_missing_in_the_registry_is_named(cluster: Cluster, registry: OciRegistry, ns: str) -> None:
    source = {"oci": f"{registry.url}/small", "plainHTTP": True, "version": "7.7.7"}
    cluster.apply(managedchart("ahead", source, retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "ahead", "ChartVersionNotFound", transient=True)
    assert "7.7.7" in told(chart)
    assert "/charts/small" in told(chart)


def test_a_repository_that_is_down_is_retried(cluster: Cluster, small: Path, ns: str) -> None:
    with ChartRepository() as repository:
        repository.add_chart(small)
        repository.stop()
        cluster.apply(
            managedchart("patient", {"repository": repository.url, "name": "small"}, retry=RETRY), namespace=ns
        )
        chart = read_failure(cluster, ns, "patient", "ChartSourceUnavailable", transient=True, failures=2)
        assert repository.url.removeprefix("http://") in chart["status"]["lastFailure"]["message"]
        assert "connection refused" in chart["status"]["lastFailure"]["message"]
        assert len(cluster.wait_event(ns, "patient", "ChartSourceUnavailable")) == 1
        repository.start()
        ready = cluster.wait_ready(ns, "patient")
        assert ready["status"]["attempt"]["failures"] == 0


def test_a_registry_that_is_down_is_retried(cluster: Cluster, small: Path, ns: str) -> None:
    with OciRegistry() as registry:
        registry.add_chart(small)
        registry.stop()
        source = {"oci": f"{registry.url}/small", "plainHTTP": True, "version": "1.0.0"}
        cluster.apply(managedchart("patient", source, retry=RETRY), namespace=ns)
        chart = read_failure(cluster, ns, "patient", "ChartSourceUnavailable", transient=True)
        assert "connection refused" in chart["status"]["lastFailure"]["message"]
        registry.start()
        cluster.wait_ready(ns, "patient")


def test_an_untrusted_certificate_is_not_retried(cluster: Cluster, small: Path, ns: str) -> None:
    with ChartRepository(tls=True) as repository:
        repository.add_chart(small)
        cluster.apply(managedchart("tls", {"repository": repository.url, "name": "small"}), namespace=ns)
        chart = read_failure(cluster, ns, "tls", "CertificateNotTrusted", transient=False)
        failure = chart["status"]["lastFailure"]
        assert repository.url.removeprefix("https://") in failure["message"]
        assert "unknown authority" in failure["message"]
        assert "authority" in failure["hint"]


def test_a_registry_without_tls_names_the_field(cluster: Cluster, registry: OciRegistry, ns: str) -> None:
    cluster.apply(managedchart("plain", {"oci": f"{registry.url}/small", "version": "1.0.0"}), namespace=ns)
    chart = read_failure(cluster, ns, "plain", "ChartSourceUnavailable", transient=False)
    assert "does not speak TLS" in told(chart)
    assert "spec.chart.plainHTTP" in chart["status"]["lastFailure"]["hint"]
    cluster.apply(
        managedchart("plain", {"oci": f"{registry.url}/small", "version": "1.0.0", "plainHTTP": True}), namespace=ns
    )
    cluster.wait_ready(ns, "plain")


def test_a_repository_with_a_login_is_reported(cluster: Cluster, small: Path, ns: str) -> None:
    with ChartRepository(username="reader", password=PASSWORD) as repository:
        repository.add_chart(small)
        cluster.apply(managedchart("closed", {"repository": repository.url, "name": "small"}), namespace=ns)
        chart = read_failure(cluster, ns, "closed", "ChartSourceUnauthorized", transient=False)
        failure = chart["status"]["lastFailure"]
        assert repository.url.removeprefix("http://") in failure["message"]
        assert "401" in failure["message"]
        assert "spec.chart.contents" in failure["hint"]
        assert PASSWORD not in str(chart["status"])


def test_an_address_without_a_repository_is_explained(cluster: Cluster, repository: ChartRepository, ns: str) -> None:
    cluster.apply(managedchart("wrong", {"repository": f"{repository.url}/wrong", "name": "small"}), namespace=ns)
    chart = read_failure(cluster, ns, "wrong", "ChartNotFound", transient=False)
    assert f"{repository.url}/wrong/index.yaml" in told(chart)
    assert "index.yaml" in chart["status"]["lastFailure"]["hint"]


def test_a_failed_pull_does_not_touch_the_release(cluster: Cluster, repository: ChartRepository, ns: str) -> None:
    source = {"repository": repository.url, "name": "small", "version": "1.0.0"}
    cluster.apply(managedchart("kept", source), namespace=ns)
    cluster.wait_ready(ns, "kept")
    cluster.apply(managedchart("kept", {**source, "version": "9.9.9"}, retry=RETRY), namespace=ns)
    read_failure(cluster, ns, "kept", "ChartVersionNotFound", transient=True)
    assert cluster.revisions(ns, "kept") == [(1, "deployed")]
    cluster.apply(managedchart("kept", source), namespace=ns)
    cluster.wait_ready(ns, "kept")
    assert cluster.revisions(ns, "kept") == [(1, "deployed")]


def with_schema(folder: Path, reference: str, *, where: str = "values.schema.json") -> dict[str, str]:
    """A chart whose schema refers to something."""
    schema = json.dumps({"properties": {"config": {"$ref": reference}}})
    return {"path": str(write_chart(folder, {**chart_files(), where: schema, "values.yaml": "config: {a: x}\n"}))}


def test_a_schema_that_cannot_be_fetched_is_retried(cluster: Cluster, chart_root: Path, ns: str) -> None:
    """An outage of the server that its author does not even know must not need a person afterwards."""
    with ChartRepository() as server:
        address = server.add_file("config.json", '{"type": "object"}')
        source = with_schema(chart_root / ns, address)
        server.stop()
        cluster.apply(managedchart("small", source, retry=RETRY), namespace=ns)
        chart = read_failure(cluster, ns, "small", "ChartSourceUnavailable", transient=True)
        failure = chart["status"]["lastFailure"]
        assert failure["message"] == (
            f"The chart's values.schema.json needs {address}, which cannot be fetched: connection refused"
        )
        assert "spec.skipSchemaValidation: true" in failure["hint"]
        server.start()
        ready = cluster.wait_ready(ns, "small")
        assert ready["status"]["attempt"]["failures"] == 0


def test_a_schema_that_refers_to_a_file_is_refused(cluster: Cluster, chart_root: Path, ns: str) -> None:
    """helm would read it in the operator's pod. Where nothing is checked, nothing is read."""
    source = with_schema(chart_root / ns, "file:///etc/passwd", where="charts/sub/values.schema.json")
    (chart_root / ns / "charts/sub/Chart.yaml").write_text("apiVersion: v2\nname: sub\nversion: 1.0.0\n")
    cluster.apply(managedchart("small", source, values={"sub": {"config": 1}}), namespace=ns)
    chart = read_failure(cluster, ns, "small", "ChartInvalid", transient=False)
    assert 'charts/sub/values.schema.json refers to "file:///etc/passwd"' in told(chart)
    assert "helmError" not in chart["status"]["lastFailure"], "helm has read it"
    assert cluster.revisions(ns, "small") == []
    cluster.apply(managedchart("small", source, values={"sub": {"config": 1}}, skipSchemaValidation=True), namespace=ns)
    cluster.wait_ready(ns, "small")


def test_a_schema_of_an_allowed_source_is_used(cluster: Cluster, chart_root: Path, ns: str) -> None:
    """Apart from the install, whose requests to the API server go on as always."""
    with ChartRepository() as server:
        source = with_schema(chart_root / ns, server.add_file("config.json", '{"required": ["b"]}'))
        cluster.apply(managedchart("small", source), namespace=ns)
        chart = read_failure(cluster, ns, "small", "ValuesRefused", transient=False)
        assert "config: missing property 'b'" in told(chart)
        cluster.apply(managedchart("small", source, values={"config": {"b": 1}}), namespace=ns)
        cluster.wait_ready(ns, "small")
        assert set(server.requests) == {"/config.json"}


def test_a_schema_of_an_internal_address_is_refused(cluster: Cluster, chart_root: Path, ns: str) -> None:
    """S15: the node's metadata service answers whoever calls from the operator's pod."""
    source = with_schema(chart_root / ns, "http://169.254.169.254/latest/meta-data")
    cluster.apply(managedchart("small", source, retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "small", "ValuesSchemaRemote", transient=True)
    assert chart["status"]["lastFailure"]["message"] == (
        "The chart's values.schema.json needs http://169.254.169.254/latest/meta-data, which the operator may not call for a "
        "chart: its address is link-local"
    )
    cluster.apply(managedchart("small", source, skipSchemaValidation=True), namespace=ns)
    cluster.wait_ready(ns, "small")


def test_a_source_with_an_internal_address_is_refused(cluster: Cluster, ns: str) -> None:
    """S14: before anything is called, and again after the settings have changed, since it is retried."""
    source = {"repository": "https://10.96.0.1/charts", "name": "small"}
    cluster.apply(managedchart("internal", source, retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "internal", "ChartSourceNotAllowed", transient=True)
    failure = chart["status"]["lastFailure"]
    assert failure["message"] == (
        "spec.chart.repository: the operator may not call https://10.96.0.1/charts for a chart: its address is private"
    )
    assert "MANAGEDCHART_CHART_ADDRESSES" in failure["hint"]
    assert "helmError" not in failure


def test_missing_chart_dependencies_are_listed(cluster: Cluster, chart_root: Path, ns: str) -> None:
    files = {
        "Chart.yaml": "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies:\n"
        "  - {name: redis, version: 1.x, repository: 'https://charts.example.org'}\n"
    }
    folder = write_chart(chart_root / ns, files)
    cluster.apply(managedchart("parent", {"path": str(folder)}), namespace=ns)
    chart = read_failure(cluster, ns, "parent", "ChartInvalid", transient=False)
    assert "redis" in chart["status"]["lastFailure"]["message"]
    assert "helm dependency build" in chart["status"]["lastFailure"]["hint"]
    assert str(REPOSITORY) not in told(chart)
