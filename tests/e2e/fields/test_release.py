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


def test_the_release_defaults_to_the_resources_name(cluster: Cluster, ns: str, chart_root: Path) -> None:
    found = deploy(cluster, ns, "a", small(chart_root))
    release = found["status"]["release"]
    assert (release["name"], release["namespace"]) == ("a", ns)
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_the_spec_sets_release_name_and_namespace(cluster: Cluster, ns: str, target: str, chart_root: Path) -> None:
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


def test_one_release_name_works_in_two_namespaces(cluster: Cluster, ns: str, target: str, chart_root: Path) -> None:
    cluster.apply(
        managedchart("a", small(chart_root), releaseName="same"),
        managedchart("b", small(chart_root), releaseName="same", targetNamespace=target),
        namespace=ns,
    )
    for name, where in (("a", ns), ("b", target)):
        assert cluster.wait_ready(ns, name)["status"]["release"]["namespace"] == where
    delete(cluster, ns, "a")
    assert message(cluster, target, "same") == "hello"


def test_a_missing_namespace_is_reported_until_it_exists(cluster: Cluster, ns: str, chart_root: Path) -> None:
    target = f"{ns}-made"
    failure = refused(cluster, ns, "a", small(chart_root), targetNamespace=target, createNamespace=False, retry=SOON)
    assert (failure["phase"], failure["reason"]) == ("CheckPrerequisites", "NamespaceNotFound")
    assert failure["message"] == f"Namespace {target} does not exist, and spec.createNamespace is false"
    assert cluster.get(f"{NAMESPACES}/{target}") is None
    with namespace(cluster, target):
        cluster.wait_ready(ns, "a")
        assert message(cluster, target, "a") == "hello"
        delete(cluster, ns, "a")
