"""What survives a `kill -9` of the operator, on a cluster of its own."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from conftest import CHARTS
from harness.cluster import Cluster, condition_of, is_ready, managedchart
from harness.operator_process import OperatorProcess
from managedchart_operator.api.spec import ChartSource, ManagedChartSpec
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.store import ChartStore
from managedchart_operator.reconcile.earlier_operators import version_1_digest

RAW = {"path": str(CHARTS / "raw")}
WEB = {"path": str(CHARTS / "web")}
STARTED = "managedchart_helm_processes_started_total"
HELD = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "held", "finalizers": ["managedchart.dev/test"]},
}
"""An object whose deletion does not end before `let_go`."""


def let_go(cluster: Cluster, namespace: str) -> None:
    """Take the finalizer off HELD."""
    free = '-p={"metadata": {"finalizers": null}}'
    cluster.kubectl("patch", "configmap", "held", f"--namespace={namespace}", "--type=merge", free)


def test_a_killed_operator_finishes_after_a_restart(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """kill -9 while helm works: the successor takes the pending release over and reaches Ready."""
    slow = {"devcluster.managedchart.dev/fail": "slow", "devcluster.managedchart.dev/delay-seconds": "4"}
    own_cluster.apply(managedchart("web", WEB, values={"podAnnotations": slow}), namespace=own_ns)
    path = f"/api/v1/namespaces/{own_ns}/secrets"
    own_cluster.wait(path, "sh.helm.release.v1.web.v1", lambda secret: secret, what="there")
    own_operator.kill()
    own_operator.start()
    chart = own_cluster.wait_ready(own_ns, "web")
    assert chart["status"]["attempt"]["failures"] == 0
    statuses = [status for _, status in own_cluster.revisions(own_ns, "web")]
    assert statuses[-1] == "deployed"
    assert not any(status.startswith("pending") for status in statuses)


def test_a_restart_in_sync_costs_nothing(own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str) -> None:
    """Everything needed is in the release Secrets and in the status."""
    own_cluster.apply(managedchart("web", WEB), namespace=own_ns)
    before = own_cluster.wait_ready(own_ns, "web")
    assert own_operator.stop() == 0
    own_operator.start()
    own_cluster.apply(managedchart("other", WEB), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "other")
    assert own_operator.metric(STARTED) == 1  # the other one's
    after = own_cluster.managedchart(own_ns, "web")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_digest_of_an_older_operator_starts_no_helm(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, tmp_path: Path
) -> None:
    """It had no version, and was computed over all values merged; it stays where it is until the next run."""
    fields = {
        "yamlFilesContent": [{"filename": "f", "yamlContent": "replicas: 0x0 # none\npodAnnotations: {a: b}\n"}],
        "values": {"podAnnotations": {"c": "d"}},
        "set": [{"key": "podAnnotations.e", "value": "f"}, {"key": "port", "value": "8080"}],
    }
    merged = {"replicas": 0, "podAnnotations": {"a": "b", "c": "d", "e": "f"}, "port": 8080}
    own_cluster.apply(managedchart("web", WEB, **fields), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "web")
    assert own_operator.stop() == 0

    charts = ChartStore(roots=ChartRoots([CHARTS]), cache_dir=tmp_path, pull=_no_pull)
    spec = ManagedChartSpec.model_validate({"chart": WEB, **fields})
    chart = asyncio.run(charts.fingerprint(spec.chart))
    old = version_1_digest(spec, chart=chart, values=merged)
    label = f"managedchart.dev/digest={old}"
    own_cluster.kubectl("label", "secret", "sh.helm.release.v1.web.v1", label, "--overwrite", f"--namespace={own_ns}")
    status = json.dumps({"status": {"attempt": {"digest": old}, "release": {"digest": old}}})
    patch = ["patch", "managedchart", "web", "--subresource=status", "--type=merge", f"--patch={status}"]
    own_cluster.kubectl(*patch, f"--namespace={own_ns}")
    before = own_cluster.managedchart(own_ns, "web")

    own_operator.start()
    own_cluster.apply(managedchart("other", WEB), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "other")
    assert own_operator.metric(STARTED) == 1  # the other one's
    assert own_cluster.revisions(own_ns, "web") == [(1, "deployed")]
    after = own_cluster.managedchart(own_ns, "web")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

    fields["set"][1]["value"] = "8081"
    own_cluster.apply(managedchart("web", WEB, **fields), namespace=own_ns)
    ready = own_cluster.wait_ready(own_ns, "web")
    assert own_cluster.revisions(own_ns, "web") == [(1, "superseded"), (2, "deployed")]
    assert ready["status"]["attempt"]["digest"].startswith("2-")


async def _no_pull(source: ChartSource, destination: Path) -> None:
    raise AssertionError("the chart is a folder")


def test_a_restart_finishes_a_pending_rollback(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """The stored state is enough: the newest revision is the failed one of the status."""
    own_cluster.apply(managedchart("web", WEB), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "web")
    never = {"podAnnotations": {"devcluster.managedchart.dev/fail": "never"}}
    own_cluster.apply(managedchart("web", WEB, values=never, timeout="2s", retry={"limit": 0}), namespace=own_ns)
    own_cluster.wait_failed(own_ns, "web")
    own_operator.kill()
    own_operator.start()
    own_cluster.wait_chart(
        own_ns,
        "web",
        lambda found: "Rolled back" in condition_of(found, "Stalled").get("message", ""),
        what="rolled back",
    )
    assert own_cluster.revisions(own_ns, "web")[-1][1] == "deployed"


def test_a_restart_finishes_the_uninstall_of_a_failed_install(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """Although the attempts are used up, so that nothing else would come."""
    never = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "never", "annotations": {"devcluster.managedchart.dev/fail": "never"}},
        "spec": {"containers": [{"name": "a", "image": "registry.example/a"}]},
    }
    spec = {"values": {"objects": [HELD, never]}, "timeout": "3s", "retry": {"limit": 0}}
    own_cluster.apply(managedchart("raw", RAW, **spec), namespace=own_ns)
    own_cluster.wait(
        f"/api/v1/namespaces/{own_ns}/secrets",
        "sh.helm.release.v1.raw.v1",
        lambda secret: secret and secret["metadata"]["labels"]["status"] == "uninstalling",
        what="being uninstalled",
    )
    own_operator.kill()
    let_go(own_cluster, own_ns)
    own_operator.start()
    own_cluster.wait_chart(
        own_ns,
        "raw",
        lambda found: (
            condition_of(found, "Stalled").get("message", "").startswith("The failed first install was uninstalled")
        ),
        what="taken back",
    )
    assert own_cluster.revisions(own_ns, "raw") == []


def test_a_delete_during_downtime_is_carried_out(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """The finalizer keeps the resource until its release is deleted."""
    own_cluster.apply(managedchart("web", WEB), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "web")
    own_operator.kill()
    own_cluster.kubectl("delete", "managedchart", "web", f"--namespace={own_ns}", "--wait=false")
    own_operator.start()
    own_cluster.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{own_ns}/managedcharts", "web")
    assert own_cluster.revisions(own_ns, "web") == []


def a_deployment() -> dict[str, Any]:
    """Build a Deployment of one pod."""
    labels = {"app": "one"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {"name": "main", "image": "registry.example/one:1", "env": [{"name": "A", "value": "1"}]}
                    ]
                },
            },
        },
    }


def test_the_probe_promotes_a_stalled_release_that_healed(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """After the last retry the operator still checks whether the workload has become ready."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    own_cluster.apply(quota, namespace=own_ns)

    def in_force(found: dict[str, Any] | None) -> object:
        return found and (found.get("status") or {}).get("hard")

    own_cluster.wait(f"/api/v1/namespaces/{own_ns}/resourcequotas", "none", in_force, what="in force")
    spec = {"timeout": "3s", "atomic": False, "retry": {"limit": 0}}
    own_cluster.apply(managedchart("one", RAW, values={"objects": [a_deployment()]}, **spec), namespace=own_ns)
    stalled = own_cluster.wait_chart(own_ns, "one", lambda found: condition_of(found, "Stalled"), what="stalled")
    assert stalled["status"]["attempt"]["nextRetryAt"]
    own_cluster.kubectl("delete", "resourcequota", "none", f"--namespace={own_ns}")
    own_cluster.wait_ready(own_ns, "one")


def test_a_missing_permission_is_reported_and_heals(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """Which verb on which resource; nobody has to restart anything."""
    binding = "clusterrolebinding/managedchart-operator-charts"
    kept = own_cluster.kubectl("get", binding, "-o", "json")
    own_cluster.kubectl("delete", binding)
    try:
        retry = {"limit": 30, "backoff": "1s", "maxBackoff": "1s"}
        own_cluster.apply(managedchart("web", WEB, retry=retry), namespace=own_ns)
        chart = own_cluster.wait_failed(own_ns, "web", "Forbidden")
        message = condition_of(chart, "Ready")["message"]
        assert "no permission to get, list, watch, create, patch and delete configmaps" in message
    finally:
        body = json.loads(kept)
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            body["metadata"].pop(field, None)
        own_cluster.kubectl("create", "-f", "-", input=json.dumps(body))
    own_cluster.wait_ready(own_ns, "web")


def test_a_change_during_downtime_is_reverted(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, helm_binary: str
) -> None:
    """helm copied the operator's labels, and a cleaner of old Secrets removed the revision that they came from."""
    own_cluster.apply(managedchart("web", WEB, values={"message": "ours"}), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "web")
    own_operator.stop()
    command = [helm_binary, "upgrade", "web", WEB["path"], f"--namespace={own_ns}", "--set=message=theirs"]
    environment = {**os.environ, "KUBECONFIG": str(own_cluster.kubeconfig)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    own_cluster.delete(f"/api/v1/namespaces/{own_ns}/secrets/sh.helm.release.v1.web.v1")
    own_operator.start()
    own_cluster.wait_chart(
        own_ns, "web", lambda found: found["status"]["release"]["revision"] == 3 and is_ready(found), what="back"
    )
    config = own_cluster.get(f"/api/v1/namespaces/{own_ns}/configmaps/web")
    assert config is not None
    assert config["data"]["MESSAGE"] == "ours"


def test_a_restart_finishes_a_removal(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str, helm_binary: str
) -> None:
    """helm has kept the revisions, so the operator waits for the remaining objects."""
    own_cluster.apply(managedchart("raw", RAW, values={"objects": [HELD]}), namespace=own_ns)
    own_cluster.wait_ready(own_ns, "raw")
    own_operator.kill()
    command = [helm_binary, "uninstall", "raw", f"--namespace={own_ns}", "--keep-history"]
    environment = {**os.environ, "KUBECONFIG": str(own_cluster.kubeconfig)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    own_cluster.kubectl("delete", "managedchart", "raw", f"--namespace={own_ns}", "--wait=false")
    own_operator.start()
    own_cluster.wait_chart(
        own_ns,
        "raw",
        lambda found: any(phase["name"] == "Exec" for phase in found["status"]["phases"]),
        what="being removed",
    )
    assert [status for _, status in own_cluster.revisions(own_ns, "raw")] == ["uninstalled"]
    let_go(own_cluster, own_ns)
    own_cluster.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{own_ns}/managedcharts", "raw")
    assert own_cluster.revisions(own_ns, "raw") == []
    assert own_operator.metric(STARTED) == 0
