"""Releases that must outlive the operator, and what proves that they do."""

import time
from typing import Any

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, WAIT_SECONDS, Cluster, managedchart

WEB = {"path": str(CHARTS / "web")}
CRD = "managedcharts.managedchart.dev"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAMES = ("web-1", "web-2", "web-3")


def deploy(cluster: Cluster, namespace: str, *names: str, **spec: Any) -> None:
    """Apply ManagedCharts of a chart with one Deployment, and wait until they are Ready."""
    cluster.apply(*[managedchart(name, WEB, **spec) for name in names], namespace=namespace)
    for name in names:
        cluster.wait_ready(namespace, name)


def workloads(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return the UIDs of all Deployments and pods that are not being deleted, by name."""
    paths = (f"/apis/apps/v1/namespaces/{namespace}/deployments", f"/api/v1/namespaces/{namespace}/pods")
    metas = [item["metadata"] for path in paths for item in cluster.items(path)]
    return {meta["name"]: meta["uid"] for meta in metas if "deletionTimestamp" not in meta}


def delete_crd(cluster: Cluster) -> None:
    """Ask for the deletion of the CRD without waiting for it."""
    cluster.delete(f"{CRDS}/{CRD}")


def wait_crd_gone(cluster: Cluster) -> None:
    """Wait until the CRD is deleted, and with it all ManagedCharts."""
    # The API server looks after ever longer pauses whether the last one is gone.
    cluster.wait_gone(CRDS, CRD, timeout=2 * WAIT_SECONDS)
    # The API server stops serving a kind a moment after it has deleted the CRD; what is no longer served cannot be watched.
    deadline = time.monotonic() + WAIT_SECONDS
    while cluster.get(f"{MANAGEDCHARTS}/managedcharts") is not None:
        assert time.monotonic() < deadline, "ManagedCharts are still served"
        time.sleep(0.05)


def wait_deleting(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Wait until a ManagedChart is being deleted."""
    return cluster.wait_chart(
        namespace, name, lambda chart: "deletionTimestamp" in chart["metadata"], what="being deleted"
    )
