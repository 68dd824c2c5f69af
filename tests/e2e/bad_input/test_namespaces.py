"""Target namespaces that are not there, or not any more."""

import json
from collections.abc import Iterator

import pytest

from e2e.bad_input.reading import RETRY, read_failure, told
from harness.chart_files import contents, package_chart
from harness.cluster import Cluster, managedchart

pytestmark = pytest.mark.usefixtures("operator")

SMALL = contents(package_chart())


@pytest.fixture
def target(cluster: Cluster, ns: str) -> Iterator[str]:
    """The name of a namespace that does not exist yet."""
    name = f"{ns}-target"
    yield name
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def test_a_missing_namespace_is_explained_and_heals(cluster: Cluster, ns: str, target: str) -> None:
    cluster.apply(
        managedchart("homeless", SMALL, targetNamespace=target, createNamespace=False, retry=RETRY), namespace=ns
    )
    chart = read_failure(cluster, ns, "homeless", "NamespaceNotFound", transient=True)
    failure = chart["status"]["lastFailure"]
    assert failure["message"] == f"Namespace {target} does not exist, and spec.createNamespace is false"
    assert f"kubectl create namespace {target}" in failure["hint"]
    assert "spec.createNamespace: true" in failure["hint"]
    cluster.kubectl("create", "namespace", target)
    cluster.wait_ready(ns, "homeless")
    assert cluster.revisions(target, "homeless") == [(1, "deployed")]


def test_create_namespace_heals_a_missing_namespace(cluster: Cluster, ns: str, target: str) -> None:
    cluster.apply(managedchart("homeless", SMALL, targetNamespace=target, createNamespace=False), namespace=ns)
    read_failure(cluster, ns, "homeless", "NamespaceNotFound", transient=True)
    cluster.apply(managedchart("homeless", SMALL, targetNamespace=target, createNamespace=True), namespace=ns)
    cluster.wait_ready(ns, "homeless")


def test_a_terminating_namespace_is_waited_for(cluster: Cluster, ns: str, target: str) -> None:
    """A finalizer holds it; without that, the namespace is created again and the chart deployed."""
    cluster.kubectl("create", "namespace", target)
    holder = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "holder", "finalizers": ["example.org/holds"]},
    }
    cluster.apply(holder, namespace=target)
    cluster.kubectl("delete", "namespace", target, "--wait=false")
    cluster.apply(managedchart("early", SMALL, targetNamespace=target, retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "early", "NamespaceTerminating", transient=True)
    assert f"Namespace {target} is being deleted" in told(chart)
    assert f"kubectl get namespace {target} -o yaml" in chart["status"]["lastFailure"]["hint"]
    cluster.kubectl(
        "patch", "configmap", "holder", f"--namespace={target}", "--type=merge",
        "-p", json.dumps({"metadata": {"finalizers": None}}),
    )  # fmt: skip
    cluster.wait_ready(ns, "early")
    assert cluster.revisions(target, "early") == [(1, "deployed")]
