"""A cluster and an operator for one test, for tests that would disturb the shared ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from conftest import CHARTS, REPOSITORY
from harness.cluster import Cluster, cluster_beside, install_operator_objects
from harness.operator_process import OperatorProcess, service_account_kubeconfig


@dataclass(frozen=True)
class OwnCluster:
    """A cluster on which no other operator works."""

    name: str
    cluster: Cluster
    folder: Path
    helm: str

    def operator(self, **settings: str) -> OperatorProcess:
        """Make an operator with these variables in its environment; one at a time."""
        return OperatorProcess(
            kubeconfig=service_account_kubeconfig(self.cluster, self.folder / "operator-kubeconfig"),
            folder=self.folder,
            helm=self.helm,
            chart_roots=[CHARTS],
            **settings,
        )


@pytest.fixture(scope="module")
def own(
    kind_cluster: KindCluster,
    helm_binary: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OwnCluster]:
    """A cluster of this module's own."""
    folder = tmp_path_factory.mktemp("own-cluster")
    with cluster_beside(kind_cluster, request.module.__name__.rpartition("_")[2], folder) as kind:
        cluster = Cluster(kind)
        install_operator_objects(cluster, REPOSITORY)
        yield OwnCluster(kind.name, cluster, folder, helm_binary)
