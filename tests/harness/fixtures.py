"""Fixtures of every test on a real cluster: the CRD, the identity of deploy/, the operator, and a namespace per test.

`conftest` imports them, so that each exists once in a process of pytest: two operators on one cluster would disturb each other.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from harness.cluster import Cluster, cluster_beside, install_operator_objects
from harness.ended_namespaces import EndedNamespaces
from harness.operator_process import OperatorProcess, service_account_kubeconfig

REPOSITORY = Path(__file__).resolve().parents[2]
CHARTS = REPOSITORY / "tests" / "charts"

_numbers = itertools.count(1)
_shared: list[OperatorProcess] = []
"""The operator that most tests share, once one of them has asked for it."""
_ended: dict[Cluster, EndedNamespaces] = {}
"""Of each cluster; some folders have one of their own by the name `cluster`."""


@pytest.fixture(scope="session")
def cluster(kind_cluster: KindCluster) -> Cluster:
    """The cluster that pytest-kind made: of the devcluster, or of real kind with KIND=kind."""
    found = Cluster(kind_cluster)
    install_operator_objects(found, REPOSITORY)
    return found


@pytest.fixture(scope="session")
def own_cluster(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which no other operator works, for tests that kill theirs.

    Each leaves no ManagedChart, since the operator of the next one would carry it out, and that one counts what is started.
    Their files are listed in `distribution`.
    """
    with cluster_beside(kind_cluster, "own", tmp_path_factory.mktemp("own-cluster")) as own:
        found = Cluster(own)
        install_operator_objects(found, REPOSITORY)
        yield found


@pytest.fixture(scope="session")
def operator_kubeconfig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with the rights that deploy/ gives to the operator, and no others."""
    return service_account_kubeconfig(cluster, tmp_path_factory.mktemp("identity") / "kubeconfig")


@pytest.fixture(scope="session")
def chart_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chart root to which tests may add files."""
    return tmp_path_factory.mktemp("charts")


@pytest.fixture(scope="session")
def operator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared operator keeps its logs and its cache."""
    return tmp_path_factory.mktemp("operator")


@pytest.fixture(scope="session")
def operator(
    operator_kubeconfig: Path, helm_binary: str, chart_root: Path, operator_folder: Path
) -> Iterator[OperatorProcess]:
    """The operator that most tests share. A test that kills it uses an own cluster; one that stops it starts it again."""
    process = OperatorProcess(
        kubeconfig=operator_kubeconfig,
        folder=operator_folder,
        helm=helm_binary,
        chart_roots=[CHARTS, chart_root],
        # The labels of a namespace, and permissions that are missing, are asked for every 3 s instead of every 30 s.
        MANAGEDCHART_PROBE_SECONDS="60",
    )
    with process:
        _shared.append(process)
        yield process
    _shared.clear()
    assert "Traceback" not in process.log, process.log


@pytest.fixture(scope="module")
def no_operator() -> Iterator[None]:
    """The shared operator stands still meanwhile, if an earlier module has started it: the tests write what it would change."""
    for process in _shared:
        process.stop()
    yield
    for process in _shared:
        process.start()


@pytest.fixture
def ns(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own; its ManagedCharts are deleted at the end, without waiting."""
    name = f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())[:40].strip('-')}-{next(_numbers)}"
    cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    _ended.setdefault(cluster, EndedNamespaces(cluster)).add(name)
