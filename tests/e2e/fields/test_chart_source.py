"""spec.chart: every source ends as the same release, and the status names what is deployed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.fields.steps import CHARTS, deploy, message, refused, small
from harness.chart_files import contents, package_chart, write_chart
from harness.cluster import Cluster
from harness.operator_process import OperatorProcess
from peers import ChartRepository, OciRegistry

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart folder outside of the operator's chart roots."""
    return write_chart(tmp_path_factory.mktemp("source") / "small")


@pytest.fixture(scope="module")
def repository(chart: Path) -> Iterator[ChartRepository]:
    """A repository with several versions, one of them a pre-release."""
    with ChartRepository() as found:
        for version in ("1.0.0", "1.1.0", "1.2.0-rc.1", "2.0.0", "2.1.0-beta.1"):
            found.add_chart(chart, version=version)
        yield found


@pytest.fixture(scope="module")
def registry(chart: Path) -> Iterator[OciRegistry]:
    """A registry without TLS, with several versions."""
    with OciRegistry() as found:
        for version in ("1.0.0", "1.1.0", "2.0.0"):
            found.add_chart(chart, version=version)
        yield found


def test_a_folder_below_a_chart_root_is_deployed(cluster: Cluster, ns: str) -> None:
    found = deploy(cluster, ns, "web", {"path": str(CHARTS / "web")}, values={"replicas": 0})
    release = found["status"]["release"]
    assert (release["chart"], release["chartVersion"], release["appVersion"]) == ("web", "1.2.3", "4.5")
    assert (release["revision"], release["status"]) == (1, "deployed")
    assert cluster.revisions(ns, "web") == [(1, "deployed")]


def test_a_packaged_chart_below_a_chart_root_is_deployed(cluster: Cluster, ns: str, chart_root: Path) -> None:
    package = chart_root / "packed-1.0.0.tgz"
    package.write_bytes(package_chart())
    found = deploy(cluster, ns, "a", {"path": str(package)})
    assert found["status"]["release"]["chart"] == "small"
    assert message(cluster, ns, "a") == "hello"


def test_a_chart_in_the_resource_itself_is_deployed(cluster: Cluster, ns: str) -> None:
    found = deploy(cluster, ns, "a", contents(package_chart()), values={"message": "inline"})
    assert found["status"]["release"]["chartVersion"] == "1.0.0"
    assert message(cluster, ns, "a") == "inline"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.0.0", "1.0.0"), ("1.x", "1.1.0"), (">=1 <2", "1.1.0"), ("2.1.0-beta.1", "2.1.0-beta.1"), (None, "2.0.0")],
    ids=["exact", "short constraint", "range", "exact pre-release", "newest stable"],
)
def test_a_repository_gives_the_requested_version(
    cluster: Cluster, ns: str, repository: ChartRepository, version: str | None, expected: str
) -> None:
    source = {"repository": repository.url, "name": "small", **({"version": version} if version else {})}
    found = deploy(cluster, ns, "a", source)
    assert found["status"]["release"]["chartVersion"] == expected
    assert message(cluster, ns, "a") == "hello"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.0.0", "1.0.0"), ("1.x", "1.1.0"), (None, "2.0.0")],
    ids=["exact", "constraint", "newest"],
)
def test_a_registry_gives_the_requested_version(
    cluster: Cluster, ns: str, registry: OciRegistry, version: str | None, expected: str
) -> None:
    source = {"oci": f"{registry.url}/small", "plainHTTP": True, **({"version": version} if version else {})}
    found = deploy(cluster, ns, "a", source)
    assert found["status"]["release"]["chartVersion"] == expected
    assert message(cluster, ns, "a") == "hello"


def test_a_registry_needs_plain_http_without_tls(cluster: Cluster, ns: str, registry: OciRegistry) -> None:
    failure = refused(cluster, ns, "a", {"oci": f"{registry.url}/small", "version": "1.0.0"})
    assert failure["phase"] == "Exec"
    assert cluster.revisions(ns, "a") == []


def test_a_missing_version_does_not_touch_the_release(cluster: Cluster, ns: str, repository: ChartRepository) -> None:
    source = {"repository": repository.url, "name": "small"}
    deploy(cluster, ns, "a", {**source, "version": "1.0.0"})
    failure = refused(cluster, ns, "a", {**source, "version": "7.x"})
    assert "7.x" in failure["message"] + failure.get("helmError", "")
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_another_version_upgrades_the_release(cluster: Cluster, ns: str, chart_root: Path) -> None:
    deploy(cluster, ns, "a", small(chart_root, "1.0.0"))
    found = deploy(cluster, ns, "a", small(chart_root, "1.1.0"))
    assert found["status"]["release"]["chartVersion"] == "1.1.0"
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "deployed")]


def test_a_path_outside_the_chart_roots_is_not_read(
    cluster: Cluster, ns: str, chart: Path, operator: OperatorProcess
) -> None:
    failure = refused(cluster, ns, "a", {"path": str(chart)})
    assert (failure["phase"], failure["reason"]) == ("CheckPrerequisites", "PathNotAllowed")
