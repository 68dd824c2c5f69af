"""Attacks of one team on the operator and on another team, run with the teams' identities on a real API server.

The operator has exactly the permissions and the settings of the profile `impersonate`, whose promise these tests hold it to. So
it works in a cluster of its own: that of the other tests has an operator with all permissions.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_kind import KindCluster

from harness.cluster import Cluster
from harness.operator_process import OperatorProcess
from harness.profiles import install_without_permissions, installed
from harness.tenants import Tenant, tenants

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """In the place of the cluster of the other tests, which is not created where only these tests run."""
    options = request.config.option
    own = KindCluster(
        f"{options.cluster_name}-teams",
        tmp_path_factory.mktemp("teams-cluster") / "kubeconfig",
        image=options.kind_image,
        kind_path=options.kind_bin and Path(options.kind_bin),
        kubectl_path=options.kind_kubectl_bin and Path(options.kind_kubectl_bin),
    )
    own.create()
    try:
        found = Cluster(own)
        install_without_permissions(found)
        yield found
    finally:
        own.delete()


@pytest.fixture(scope="session")
def operator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this operator keeps its logs and its cache."""
    return tmp_path_factory.mktemp("impersonating-operator")


@pytest.fixture(scope="session")
def team_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a chart root for each namespace."""
    return tmp_path_factory.mktemp("teams")


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, operator_folder: Path, helm_binary: str, chart_root: Path, team_folders: Path
) -> Iterator[OperatorProcess]:
    """The operator with the profile `impersonate`: it runs as the account `default` what names none, and asks for consent."""
    with installed(
        cluster,
        "impersonate",
        operator_folder,
        helm=helm_binary,
        chart_roots=[chart_root, team_folders / "{namespace}"],
        # The charts of the tests are rendered within a second or two; those that never are should not cost two minutes.
        MANAGEDCHART_RENDER_SECONDS="10",
        # Few, so that a test can take all that it gets.
        MANAGEDCHART_APPLY_SLOTS="4",
        MANAGEDCHART_HELM_PROCESSES="12",
        # A consent is asked for every second.
        MANAGEDCHART_PROBE_SECONDS="20",
    ) as process:
        yield process.start()
    assert "Traceback" not in process.log, process.log


@pytest.fixture
def teams(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[Tenant, Tenant]]:
    """The attacker and the victim."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    with tenants(cluster, f"{name}-{next(_numbers)}") as found:
        yield found
