"""A ManagedChart with an account of its own: what is done for it is done with that account's permissions."""

import os
import subprocess
import time
from typing import Any

import pytest

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, WAIT_SECONDS, Cluster, managedchart
from harness.operator_process import SYSTEM_NAMESPACE, OperatorProcess

WEB, RAW = {"path": str(CHARTS / "web")}, {"path": str(CHARTS / "raw")}
RBAC = "rbac.authorization.k8s.io"
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}}
RULES = [
    {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["get", "list", "create", "update", "patch", "delete"]}
]

pytestmark = pytest.mark.usefixtures("operator")


def binding(namespace: str, *, kind: str = "ClusterRole", role: str = "admin") -> dict[str, Any]:
    """Bind a role to the account of a namespace."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}],
    }


def paste(cluster: Cluster, hint: str) -> None:
    """Run the command of a hint."""
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "PATH": f"{cluster.kubectl_path.parent}:{os.environ['PATH']}",
    }
    command = hint[hint.index("kubectl create") :]
    subprocess.run(["bash", "-euc", command], check=True, capture_output=True, env=environment)


def test_a_missing_account_and_its_permissions_are_granted_by_the_hints(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """Nothing is spawned without the account; each hint is run as it is, and its result is noticed."""
    # What an earlier test has left is deleted in the background, also by helm.
    cluster.wait_empty(f"{MANAGEDCHARTS}/managedcharts")
    helms = operator.metric("managedchart_helm_processes_started_total")
    cluster.apply(managedchart("web", WEB, serviceAccountName="deployer", retry={"backoff": "1s"}), namespace=ns)
    failure = cluster.wait_failed(ns, "web", "Forbidden")["status"]["lastFailure"]
    assert failure["message"] == f"ServiceAccount deployer does not exist in namespace {ns}"
    assert operator.metric("managedchart_helm_processes_started_total") == helms

    paste(cluster, failure["hint"])

    def lacks_permissions(chart: dict[str, Any]) -> bool:
        return "deployments.apps" in str((chart["status"].get("lastFailure") or {}).get("message"))

    chart = cluster.wait_chart(ns, "web", lacks_permissions, what="refused")
    failure = chart["status"]["lastFailure"]
    assert failure["reason"] == "Forbidden"
    assert failure["message"].startswith(f"User system:serviceaccount:{ns}:deployer has no permission to ")
    assert "update and delete secrets" in failure["message"]
    assert f"--serviceaccount={ns}:deployer" in failure["hint"]

    paste(cluster, failure["hint"])
    cluster.wait_ready(ns, "web")


def test_what_an_account_may_not_watch_is_listed(cluster: Cluster, ns: str) -> None:
    """The release becomes ready all the same, and an Event says what it costs."""
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "no-watch"}, "rules": RULES}
    cluster.apply(ACCOUNT, role, binding(ns, kind="Role", role="no-watch"), namespace=ns)
    # Its pod starts after the operator has begun to wait.
    slow = {
        "podAnnotations": {"devcluster.managedchart.dev/fail": "slow", "devcluster.managedchart.dev/delay-seconds": "3"}
    }
    cluster.apply(managedchart("web", WEB, serviceAccountName="deployer", values=slow), namespace=ns)
    cluster.wait_ready(ns, "web")
    sentence = (
        f"User system:serviceaccount:{ns}:deployer has no permission to watch deployments.apps in namespace {ns}; the operator"
        " lists them every 5 s instead, which is slower and costs more"
    )
    assert sentence in [event["message"] for event in _events(cluster, ns, "WatchRefused")]


def test_a_namespace_is_deleted_although_its_account_is_gone(cluster: Cluster, ns: str) -> None:
    """The operator uninstalls nothing with its own permissions, and lists what is left where somebody can read it."""
    home = f"{ns}-home"
    cluster.create("/api/v1/namespaces", {"metadata": {"name": home}})
    cluster.apply(ACCOUNT, namespace=home)
    cluster.apply(binding(home), namespace=ns)
    left = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "left"}}
    chart = managedchart("far", RAW, serviceAccountName="deployer", targetNamespace=ns, values={"objects": [left]})
    cluster.apply(chart, namespace=home)
    cluster.wait_ready(home, "far")
    cluster.delete(f"/api/v1/namespaces/{home}/serviceaccounts/deployer")
    cluster.delete(f"/api/v1/namespaces/{home}")
    cluster.wait_gone("/api/v1/namespaces", home)
    assert cluster.get(f"/api/v1/namespaces/{ns}/configmaps/left") is not None
    messages = [event["message"] for event in _events(cluster, SYSTEM_NAMESPACE, "ReleaseLeft")]
    expected = (
        f"The release {ns}/far (revision 1) of the deleted ManagedChart {home}/far was not uninstalled: ServiceAccount deployer"
        f" does not exist in namespace {home}. Left in the cluster outside of namespace {home}, which is being deleted:"
        f" ConfigMap {ns}/left"
    )
    assert [message for message in messages if f"{home}/far" in message] == [expected]


def test_everything_about_a_failure_is_read_with_the_account(cluster: Cluster, ns: str) -> None:
    """Here the account may deploy into a namespace and read nothing about pods there, and says so."""
    rules = [*RULES, {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["watch"]}]
    rules[0] = {**rules[0], "resources": ["secrets", "services", "configmaps", "deployments"]}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "no-pods"}, "rules": rules}
    cluster.apply(ACCOUNT, role, binding(ns, kind="Role", role="no-pods"), namespace=ns)
    values = {"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}
    chart = managedchart("web", WEB, serviceAccountName="deployer", timeout="3s", atomic=False, values=values)
    cluster.apply({**chart, "spec": {**chart["spec"], "retry": {"limit": 0}}}, namespace=ns)
    found = cluster.wait_failed(ns, "web")
    failure = found["status"]["lastFailure"]
    assert failure.get("containers", []) == []
    assert failure.get("events", []) == []
    assert f'"system:serviceaccount:{ns}:deployer" cannot list resource' in failure["incomplete"]


def test_another_account_is_deployed_with_at_once(cluster: Cluster, ns: str) -> None:
    """Its permissions are proven when it is named, and not only by the next upgrade."""
    cluster.apply(managedchart("web", WEB), namespace=ns)
    assert cluster.wait_ready(ns, "web")["status"]["release"]["revision"] == 1
    cluster.apply(ACCOUNT, binding(ns), namespace=ns)
    cluster.apply(managedchart("web", WEB, serviceAccountName="deployer"), namespace=ns)
    assert cluster.wait_ready(ns, "web")["status"]["release"]["revision"] == 2


def _events(cluster: Cluster, namespace: str, reason: str) -> list[dict[str, Any]]:
    """Return the Events of a reason once there is one; they follow the status."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := cluster.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector=f"reason={reason}")):
        assert time.monotonic() < deadline, f"there is no Event {reason}"
        time.sleep(0.1)  # Events have no object that could be watched by name
    return found
