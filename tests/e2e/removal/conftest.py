"""A cluster whose CRD a test may delete, and an operator of the test's own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from conftest import CHARTS, REPOSITORY
from harness.cluster import Cluster, cluster_beside, install_operator_objects
from harness.operator_process import OperatorProcess, service_account_kubeconfig

_numbers = itertools.count(1)

MakeOperator = Callable[..., OperatorProcess]


@pytest.fixture(scope="module")
def removal_cluster(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which no other operator works; nothing of the operator is installed yet."""
    with cluster_beside(kind_cluster, "removal", tmp_path_factory.mktemp("removal-cluster")) as own:
        yield Cluster(own)


@pytest.fixture
def installed(removal_cluster: Cluster) -> Cluster:
    """The cluster with the CRD and the operator's identity, also after a test that has removed them."""
    install_operator_objects(removal_cluster, REPOSITORY)
    return removal_cluster


@pytest.fixture
def make_operator(removal_cluster: Cluster, helm_binary: str, tmp_path: Path) -> Iterator[MakeOperator]:
    """Makes operators with the rights of deploy/ that the test starts; none of them may log a traceback."""
    made: list[OperatorProcess] = []

    def make(**settings: str) -> OperatorProcess:
        folder = tmp_path / f"operator-{len(made)}"
        folder.mkdir()
        made.append(
            OperatorProcess(
                kubeconfig=service_account_kubeconfig(removal_cluster, folder / "kubeconfig"),
                folder=folder,
                helm=helm_binary,
                chart_roots=[CHARTS],
                **settings,
            )
        )
        return made[-1]

    yield make
    for process in made:
        process.__exit__(None, None, None)
        assert "Traceback" not in process.log, process.log


@pytest.fixture
def own_ns(installed: Cluster) -> str:
    """A namespace of the test's own; it ends with the cluster."""
    name = f"apps-{next(_numbers)}"
    installed.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name
