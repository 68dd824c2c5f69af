"""Fixtures of every test on a real cluster: the CRD, the identity of deploy/, the operator, and a namespace per test.

`conftest` imports them, so that each exists once in a process of pytest: two operators on one cluster would disturb each other.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from harness.cluster import Cluster, install_operator_objects, namespace
from harness.operator_process import OperatorProcess, service_account_kubeconfig

REPOSITORY = Path(__file__).resolve().parents[2]
CHARTS = REPOSITORY / "tests" / "charts"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(kind_cluster: KindCluster) -> Cluster:
    """The cluster that pytest-kind made: of the devcluster, or of real kind with KIND=kind."""
    found = Cluster(kind_cluster)
    install_operator_objects(found, REPOSITORY)
    return found


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
        # The charts of the tests are rendered within a second or two; those that never are should not cost two minutes.
        MANAGEDCHART_RENDER_SECONDS="10",
    )
    with process:
        yield process
    assert "Traceback" not in process.log, process.log


@pytest.fixture
def ns(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with namespace(cluster, f"{name}-{next(_numbers)}") as made:
        yield made
