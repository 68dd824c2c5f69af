"""The engine on a real API server: one run at a time, cancelled immediately, and none for a resource in sync."""

import os
import subprocess
from typing import Any

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, is_ready, managedchart
from harness.operator_process import OperatorProcess

WEB = {"path": str(CHARTS / "web")}
NEVER = {"devcluster.managedchart.dev/fail": "never"}
STARTED = "managedchart_helm_processes_started_total"


def waiting_for_pods(chart: dict[str, Any]) -> bool:
    """Whether helm runs in the exec phase."""
    return (chart.get("status") or {}).get("phase") == "Exec"


def secrets_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


def test_a_new_spec_interrupts_the_wait(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The fix of a deployment that would wait for three minutes is deployed at once; the interrupted run is not a failure."""
    cluster.apply(managedchart("web", WEB, values={"podAnnotations": NEVER}), namespace=ns)
    cluster.wait(secrets_path(ns), "sh.helm.release.v1.web.v1", lambda secret: secret, what="there")
    cluster.apply(managedchart("web", WEB, values={}), namespace=ns)
    chart = cluster.wait_ready(ns, "web")  # which waits for a minute at most
    assert chart["status"]["attempt"]["failures"] == 0
    assert "lastFailure" not in chart["status"]
    assert cluster.revisions(ns, "web")[-1] == (2, "deployed")


def test_a_delete_during_an_install_removes_its_objects(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Deleting a resource during the wait leaves neither release nor objects."""
    cluster.apply(managedchart("web", WEB, values={"podAnnotations": NEVER}), namespace=ns)
    cluster.wait(f"/apis/apps/v1/namespaces/{ns}/deployments", "web", lambda found: found, what="there")
    cluster.kubectl("delete", "managedchart", "web", f"--namespace={ns}", "--timeout=60s")
    assert cluster.revisions(ns, "web") == []
    # helm's wait may end a moment before the last object, which is deleted in the foreground (seen with 4.3.1).
    cluster.wait_gone(f"/apis/apps/v1/namespaces/{ns}/deployments", "web")


def test_being_in_sync_costs_no_helm_process_or_write(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """A label, and a spec change that changes nothing of what runs, start no helm; the label writes nothing either."""
    # What an earlier test has left is deleted in the background, also by helm.
    cluster.wait_empty(f"{MANAGEDCHARTS}/managedcharts")
    cluster.apply(managedchart("web", WEB), namespace=ns)
    ready = cluster.wait_ready(ns, "web")
    started = operator.metric(STARTED)
    cluster.kubectl("label", "managedchart", "web", "team=a", f"--namespace={ns}")
    version = cluster.managedchart(ns, "web")["metadata"]["resourceVersion"]
    cluster.apply(managedchart("web", WEB, timeout="170s"), namespace=ns)
    again = cluster.wait_ready(ns, "web")
    assert operator.metric(STARTED) == started
    assert again["status"]["release"] == ready["status"]["release"]
    assert int(again["metadata"]["resourceVersion"]) > int(version)
    written = [entry["time"] for entry in again["metadata"]["managedFields"] if entry.get("subresource") == "status"]
    assert len(written) == 1
    assert cluster.revisions(ns, "web") == [(1, "deployed")]


def test_a_manual_change_is_reverted_and_reported(
    cluster: Cluster, operator: OperatorProcess, ns: str, helm_binary: str
) -> None:
    """helm copies the operator's labels to a manual revision, which is detected nevertheless."""
    cluster.apply(managedchart("web", WEB, values={"message": "ours"}), namespace=ns)
    cluster.wait_ready(ns, "web")
    command = [helm_binary, "upgrade", "web", WEB["path"], f"--namespace={ns}", "--set=message=theirs"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)})
    chart = cluster.wait_chart(
        ns, "web", lambda found: is_ready(found) and found["status"]["release"]["revision"] == 3, what="brought back"
    )
    assert chart["status"]["release"]["status"] == "deployed"
    config = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/web")
    assert config is not None
    assert config["data"]["MESSAGE"] == "ours"
    reasons = [event["reason"] for event in cluster.items(f"/api/v1/namespaces/{ns}/events")]
    assert "ReleaseChanged" in reasons


def test_a_manually_removed_release_is_installed_again(
    cluster: Cluster, operator: OperatorProcess, ns: str, helm_binary: str
) -> None:
    """The release Secrets are the truth; the status alone proves nothing."""
    cluster.apply(managedchart("web", WEB), namespace=ns)
    first = cluster.wait_ready(ns, "web")
    command = [helm_binary, "uninstall", "web", f"--namespace={ns}"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)})
    deployed = first["status"]["release"]["lastDeployed"]
    cluster.wait_chart(
        ns,
        "web",
        lambda found: is_ready(found) and found["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"],
        what="installed again",
    )
    assert cluster.revisions(ns, "web") == [(1, "deployed")]
    assert deployed


def test_ready_stays_true_during_an_upgrade(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Ready does not flap; Reconciling shows the upgrade, and kubectl wait works."""
    cluster.apply(managedchart("web", WEB), namespace=ns)
    cluster.wait_ready(ns, "web")
    cluster.apply(managedchart("web", WEB, values={"podAnnotations": NEVER}), namespace=ns)
    during = cluster.wait_chart(ns, "web", waiting_for_pods, what="waiting for pods")
    assert condition_of(during, "Ready")["status"] == "True"
    assert condition_of(during, "Ready")["observedGeneration"] == 1
    assert condition_of(during, "Reconciling")["status"] == "True"
    assert during["status"]["observedGeneration"] == 2


def test_a_failed_upgrade_is_rolled_back_after_its_evidence(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """Evidence first, then the rollback, and no loop on the same input."""
    cluster.apply(managedchart("web", WEB), namespace=ns)
    cluster.wait_ready(ns, "web")
    broken = {"podAnnotations": {"devcluster.managedchart.dev/fail": "image"}}
    cluster.apply(managedchart("web", WEB, values=broken, timeout="3s", retry={"limit": 0}), namespace=ns)
    chart = cluster.wait_chart(
        ns,
        "web",
        lambda found: condition_of(found, "Stalled") and "Rolled back" in condition_of(found, "Stalled")["message"],
        what="rolled back",
    )
    failure = chart["status"]["lastFailure"]
    assert failure["phase"] == "Exec"
    assert failure["revision"] == 2
    assert any("pull" in event["message"].lower() for event in failure["events"]), failure["events"]
    assert cluster.revisions(ns, "web") == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert condition_of(chart, "Ready")["status"] == "False"


def test_a_failed_first_install_is_uninstalled_after_its_evidence(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """atomic is on by default; the events stay in the status."""
    broken = {"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}
    cluster.apply(managedchart("web", WEB, values=broken, timeout="3s", retry={"limit": 0}), namespace=ns)
    chart = cluster.wait_chart(
        ns,
        "web",
        lambda found: condition_of(found, "Stalled") and "uninstalled" in condition_of(found, "Stalled")["message"],
        what="uninstalled",
    )
    assert cluster.revisions(ns, "web") == []
    assert any(event["reason"] == "BackOff" for event in chart["status"]["lastFailure"]["events"])


def test_without_atomic_the_failed_release_stays(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """atomic: false leaves everything for whoever wants to look."""
    broken = {"podAnnotations": NEVER}
    cluster.apply(managedchart("web", WEB, values=broken, timeout="2s", atomic=False, retry={"limit": 0}), namespace=ns)
    cluster.wait_failed(ns, "web")
    assert cluster.revisions(ns, "web") == [(1, "failed")]
