"""What all tests share."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import distribution
from harness.fixtures import (
    CHARTS,
    REPOSITORY,
    chart_root,
    cluster,
    no_operator,
    ns,
    operator,
    operator_folder,
    operator_kubeconfig,
    own_cluster,
)

__all__ = [
    "CHARTS",
    "chart_root",
    "cluster",
    "no_operator",
    "ns",
    "operator",
    "operator_folder",
    "operator_kubeconfig",
    "own_cluster",
]

DEVCLUSTER = REPOSITORY / "hack" / "devcluster" / "devcluster"


def pytest_configure(config: pytest.Config) -> None:
    """Give each process that runs tests a cluster of its own."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        config.option.cluster_name = f"{config.option.cluster_name}-{worker}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first."""
    distribution.sort(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.Distribution | None:
    """Distribute files, and what belongs together, in the order of the tests."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return distribution.Distribution(config, log)


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
