"""A cluster and an operator that the test may kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from conftest import CHARTS, REPOSITORY
from harness.cluster import MANAGEDCHARTS, Cluster, cluster_beside, install_operator_objects, namespace
from harness.operator_process import OperatorProcess, service_account_kubeconfig


@pytest.fixture(scope="module")
def own_cluster(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which no other operator works."""
    with cluster_beside(kind_cluster, "own", tmp_path_factory.mktemp("own-cluster")) as own:
        found = Cluster(own)
        install_operator_objects(found, REPOSITORY)
        yield found


@pytest.fixture
def own_operator(own_cluster: Cluster, helm_binary: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that the test may kill."""
    kubeconfig = service_account_kubeconfig(own_cluster, tmp_path / "kubeconfig")
    operator = OperatorProcess(
        kubeconfig=kubeconfig,
        folder=tmp_path,
        helm=helm_binary,
        chart_roots=[CHARTS],
        MANAGEDCHART_PROBE_SECONDS="1",
    )
    with operator:
        yield operator


@pytest.fixture
def own_ns(own_cluster: Cluster, own_operator: OperatorProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, cleared at its end, while `own_operator` runs: what the next one starts is counted."""
    with namespace(own_cluster, f"restart-{abs(hash(request.node.name)) % 10**8}") as made:
        yield made
    path = f"{MANAGEDCHARTS}/namespaces/{made}/managedcharts"
    for chart in own_cluster.items(path):
        own_cluster.wait_gone(path, chart["metadata"]["name"])
