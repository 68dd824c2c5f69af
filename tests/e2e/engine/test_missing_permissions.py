"""An operator without the permissions for its charts: it lists what is missing, and notices that it was granted."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import CHARTS, REPOSITORY
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess, service_account_kubeconfig

WEB = {"path": str(CHARTS / "web")}
# The exhausted ones would be tried again after this time, so what is seen before came from the watch of permissions.
PROBE_SECONDS = 60


@pytest.fixture
def own_operator(own_cluster: Cluster, helm_binary: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that may do nothing for charts yet; the ones after it may again."""
    own_cluster.kubectl("delete", "clusterrolebinding", "managedchart-operator-charts", "--ignore-not-found")
    operator = OperatorProcess(
        kubeconfig=service_account_kubeconfig(own_cluster, tmp_path / "kubeconfig"),
        folder=tmp_path,
        helm=helm_binary,
        chart_roots=[CHARTS],
        MANAGEDCHART_PROBE_SECONDS=str(PROBE_SECONDS),
    )
    with operator:
        yield operator
    own_cluster.kubectl("apply", "-f", str(REPOSITORY / "deploy" / "rbac.yaml"))


@pytest.mark.parametrize("where", ["a namespace that exists", "a new namespace"])
def test_all_that_is_missing_is_listed_and_granted_by_the_hint(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, where: str
) -> None:
    """The commands of the hint are run as they are; the next attempt follows although its time has not come."""
    target = own_ns if where == "a namespace that exists" else f"{own_ns}-new"
    own_cluster.apply(managedchart("web", WEB, targetNamespace=target, retry={"limit": 0}), namespace=own_ns)
    chart = own_cluster.wait_failed(own_ns, "web", "Forbidden")
    failure = chart["status"]["lastFailure"]
    assert (
        f"create, patch and delete configmaps, services, deployments.apps in namespace {target}" in failure["message"]
    )
    assert ("create and patch namespaces cluster-wide" in failure["message"]) is (target != own_ns)
    assert condition_of(chart, "Stalled")["message"].endswith("or within a minute after the permission is granted")

    started = own_operator.metric("managedchart_helm_processes_started_total")
    command = failure["hint"][failure["hint"].index("kubectl create") :]
    path = f"{own_cluster.kubectl_path.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(own_cluster.kubeconfig), "PATH": path}
    subprocess.run(["bash", "-euc", command], check=True, capture_output=True, env=environment)
    own_cluster.wait_ready(own_ns, "web", timeout=PROBE_SECONDS / 2)
    assert own_operator.metric("managedchart_helm_processes_started_total") == started + 1
    if target != own_ns:
        own_cluster.kubectl("delete", "namespace", target, "--wait=false")
