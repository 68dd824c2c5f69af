"""Attacks of one team on the operator and on another team, run with the teams' identities on a real API server."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import CHARTS
from harness.cluster import Cluster
from harness.fixtures import chart_root, cluster, operator_folder, operator_kubeconfig
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant, tenants

__all__ = ["chart_root", "cluster", "operator_folder", "operator_kubeconfig"]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def operator(
    operator_kubeconfig: Path, helm_binary: str, chart_root: Path, operator_folder: Path
) -> Iterator[OperatorProcess]:
    """The operator that the attacks share: after each of them it still has to be ready."""
    process = OperatorProcess(
        kubeconfig=operator_kubeconfig, folder=operator_folder, helm=helm_binary, chart_roots=[CHARTS, chart_root]
    )
    with process:
        yield process


@pytest.fixture
def teams(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[Tenant, Tenant]]:
    """The attacker and the victim."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with tenants(cluster, f"{name}-{next(_numbers)}") as found:
        yield found
