"""The real thing: a cluster with the CRD and deploy/'s identity, and the operator as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import CHARTS
from harness.fixtures import chart_root, cluster, ns, operator_folder, operator_kubeconfig
from harness.operator_process import OperatorProcess

__all__ = ["chart_root", "cluster", "ns", "operator_folder", "operator_kubeconfig"]


@pytest.fixture(scope="session")
def operator(
    operator_kubeconfig: Path, helm_binary: str, chart_root: Path, operator_folder: Path
) -> Iterator[OperatorProcess]:
    """The operator that most tests share. A test that kills or restarts one uses an own cluster."""
    process = OperatorProcess(
        kubeconfig=operator_kubeconfig, folder=operator_folder, helm=helm_binary, chart_roots=[CHARTS, chart_root]
    )
    with process:
        yield process
    assert "Traceback" not in process.log, process.log
