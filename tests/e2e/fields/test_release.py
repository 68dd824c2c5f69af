"""releaseName, targetNamespace and createNamespace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.fields.steps import SOON, delete, deploy, message, refused, small
from harness.cluster import Cluster, managedchart, namespace

pytestmark = pytest.mark.usefixtures("operator")
NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
def target(cluster: Cluster, ns: str) -> Iterator[str]:
    """The name of a namespace that does not exist yet; it is deleted at the end."""
    name = f"{ns}-target"
    yield name
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_by_default_the_release_has_the_name_and_the_namespace_of_the_resource(
    cluster: Cluster, ns: str, chart_root: Path
) -> None:
    found = deploy(cluster, ns, "a", small(chart_root))
    release = found["status"]["release"]
    assert (release["name"], release["namespace"]) == ("a", ns)
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_the_release_has_the_name_and_the_namespace_of_the_spec(
    cluster: Cluster, ns: str, target: str, chart_root: Path
) -> None:
    """The namespace is made; it stays when the release goes, since others may use it."""
    found = deploy(cluster, ns, "a", small(chart_root), releaseName="b.c", targetNamespace=target)
    release = found["status"]["release"]
    assert (release["name"], release["namespace"]) == ("b.c", target)
    assert cluster.revisions(target, "b.c") == [(1, "deployed")]
    assert cluster.revisions(ns, "a") == []
    assert message(cluster, target, "b.c") == "hello"
    delete(cluster, ns, "a")
    assert cluster.revisions(target, "b.c") == []
    assert message(cluster, target, "b.c") is None
    assert (cluster.get(f"{NAMESPACES}/{target}") or {})["status"]["phase"] == "Active"


def test_two_resources_may_deploy_releases_of_one_name_into_two_namespaces(
    cluster: Cluster, ns: str, target: str, chart_root: Path
) -> None:
    cluster.apply(
        managedchart("a", small(chart_root), releaseName="same"),
        managedchart("b", small(chart_root), releaseName="same", targetNamespace=target),
        namespace=ns,
    )
    for name, where in (("a", ns), ("b", target)):
        assert cluster.wait_ready(ns, name)["status"]["release"]["namespace"] == where
    delete(cluster, ns, "a")
    assert message(cluster, target, "same") == "hello"


def test_without_create_namespace_a_missing_one_is_told_until_somebody_makes_it(
    cluster: Cluster, ns: str, chart_root: Path
) -> None:
    target = f"{ns}-made"
    failure = refused(cluster, ns, "a", small(chart_root), targetNamespace=target, createNamespace=False, retry=SOON)
    assert (failure["phase"], failure["reason"]) == ("CheckPrerequisites", "NamespaceNotFound")
    assert failure["message"] == f"Namespace {target} does not exist, and spec.createNamespace is false"
    assert cluster.get(f"{NAMESPACES}/{target}") is None
    with namespace(cluster, target):
        cluster.wait_ready(ns, "a")
        assert message(cluster, target, "a") == "hello"
        delete(cluster, ns, "a")
