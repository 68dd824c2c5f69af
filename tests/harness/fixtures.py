"""Fixtures of every test on a real cluster: the cluster with the CRD and the identity of deploy/, and a namespace per test."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from conftest import REPOSITORY
from harness.cluster import Cluster, install_operator_objects, namespace
from harness.operator_process import service_account_kubeconfig

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


@pytest.fixture
def ns(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with namespace(cluster, f"{name}-{next(_numbers)}") as made:
        yield made
