"""What all tests share."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.fixtures import (
    CHARTS,
    REPOSITORY,
    chart_root,
    cluster,
    ns,
    operator,
    operator_folder,
    operator_kubeconfig,
)

__all__ = ["CHARTS", "chart_root", "cluster", "ns", "operator", "operator_folder", "operator_kubeconfig"]

DEVCLUSTER = REPOSITORY / "hack" / "devcluster" / "devcluster"


def pytest_configure(config: pytest.Config) -> None:
    """Give each process that runs tests a cluster of its own."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        config.option.cluster_name = f"{config.option.cluster_name}-{worker}"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with helm, kubectl and the other real programs; `make test` builds them before."""
    return Path(subprocess.check_output([str(DEVCLUSTER), "bin"], text=True).strip())


@pytest.fixture(scope="session")
def helm_binary(tools: Path) -> str:
    """The real helm."""
    found = tools / "helm"
    path = str(found) if found.exists() else shutil.which("helm")
    assert path, "helm is not built yet: run `make tools`"
    return path
