"""One cluster that most tests of devcluster share.

State goes to a folder of the session, so that neither the user's clusters nor those of other test runs are seen.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.driver import Cluster, Devcluster

USERS_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: mine
clusters: [{name: mine, cluster: {server: "https://example.com"}}]
contexts: [{name: mine, context: {cluster: mine, user: mine}}]
users: [{name: mine, user: {token: a-users-own}}]
"""


@pytest.fixture(scope="session")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared cluster's API server writes what it was asked."""
    return tmp_path_factory.mktemp("audit") / "audit.log"


@pytest.fixture(scope="session")
def devcluster(tmp_path_factory: pytest.TempPathFactory, audit_log: Path) -> Devcluster:
    """The command line with the session's state folder, and a kubeconfig that a user has filled before."""
    found = Devcluster(tmp_path_factory.mktemp("state"), {"DEVCLUSTER_AUDIT_LOG": str(audit_log)})
    found.kubeconfig.write_text(USERS_KUBECONFIG)
    return found


@pytest.fixture(scope="session")
def cluster(devcluster: Devcluster) -> Iterator[Cluster]:
    """The cluster that the tests share; each test uses names of its own."""
    yield devcluster.create("shared")
    devcluster.delete("shared")
