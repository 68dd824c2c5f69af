"""A cluster and an operator that the test may kill."""

from collections.abc import Iterator

import pytest

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, Cluster, namespace
from harness.operator_process import OperatorProcess, service_account_kubeconfig


@pytest.fixture(scope="module")
def killed_operator(
    own_cluster: Cluster, helm_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator of a file; a start of its own for each test would be most of what these tests cost."""
    folder = tmp_path_factory.mktemp("own-operator")
    operator = OperatorProcess(
        kubeconfig=service_account_kubeconfig(own_cluster, folder / "kubeconfig"),
        folder=folder,
        helm=helm_binary,
        chart_roots=[CHARTS],
        MANAGEDCHART_PROBE_SECONDS="1",
    )
    with operator:
        yield operator


@pytest.fixture
def own_operator(killed_operator: OperatorProcess) -> OperatorProcess:
    """A running operator that the test may kill."""
    if not killed_operator.running:
        killed_operator.start()
    return killed_operator


@pytest.fixture
def own_ns(own_cluster: Cluster, own_operator: OperatorProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, cleared at its end, while `own_operator` runs: what the next one starts is counted."""
    with namespace(own_cluster, f"restart-{abs(hash(request.node.name)) % 10**8}") as made:
        yield made
    path = f"{MANAGEDCHARTS}/namespaces/{made}/managedcharts"
    for chart in own_cluster.items(path):
        own_cluster.wait_gone(path, chart["metadata"]["name"])
