"""Nothing stays stuck: probes, locks, removals."""

import base64
import gzip
import json
import os
import signal
import subprocess
import time

from conftest import CHARTS
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

WEB = {"path": str(CHARTS / "web")}
RAW = {"path": str(CHARTS / "raw")}
FAIL = "devcluster.managedchart.dev/fail"
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}


def test_a_finalizer_that_blocks_an_uninstall_is_named(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The resource says which object and which finalizer; nobody has to search."""
    cluster.apply(
        managedchart("one", RAW, values={"objects": [CONFIG]}, timeout="2s", retry={"backoff": "1s"}), namespace=ns
    )
    cluster.wait_ready(ns, "one")
    held = json.dumps({"metadata": {"finalizers": ["example.com/held"]}})
    cluster.kubectl("patch", "configmap", "one", f"--namespace={ns}", "--type=merge", "-p", held)
    cluster.kubectl("delete", "managedchart", "one", f"--namespace={ns}", "--wait=false")
    chart = cluster.wait_chart(
        ns, "one", lambda found: "example.com/held" in condition_of(found, "Ready").get("message", ""), what="held up"
    )
    assert condition_of(chart, "Ready")["reason"] == "UninstallBlocked"
    assert "ConfigMap" in condition_of(chart, "Ready")["message"]
    assert chart["status"]["phase"] == "Deleting"
    free = json.dumps({"metadata": {"finalizers": None}})
    cluster.kubectl("patch", "configmap", "one", f"--namespace={ns}", "--type=merge", "-p", free)
    cluster.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{ns}/managedcharts", "one")


def test_a_missing_target_namespace_never_blocks_deletion(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Its objects are deleted, so no uninstall is needed."""
    target = f"{ns}-target"
    cluster.apply(managedchart("one", RAW, values={"objects": [CONFIG]}, targetNamespace=target), namespace=ns)
    cluster.wait_ready(ns, "one")
    cluster.kubectl("delete", "namespace", target, "--timeout=60s")
    cluster.kubectl("delete", "managedchart", "one", f"--namespace={ns}", "--timeout=60s")


def test_deleting_the_whole_namespace_finishes(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Resource and release in one namespace that goes away."""
    inner = f"{ns}-inner"
    cluster.kubectl("create", "namespace", inner)
    cluster.apply(managedchart("web", WEB), namespace=inner)
    cluster.wait_ready(inner, "web")
    cluster.kubectl("delete", "namespace", inner, "--timeout=60s")


def test_a_lock_of_somebody_else_is_waited_for(
    cluster: Cluster, operator: OperatorProcess, ns: str, helm_binary: str
) -> None:
    """A manual helm is not interrupted; when it ends, the operator continues immediately."""
    slow = {"podAnnotations": {FAIL: "never"}}
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [helm_binary, "install", "web", WEB["path"], f"--namespace={ns}", "--wait", "--timeout=60s", "--values=-"]
    hand = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        assert hand.stdin
        hand.stdin.write(json.dumps(slow).encode())
        hand.stdin.close()
        cluster.wait(f"/api/v1/namespaces/{ns}/secrets", "sh.helm.release.v1.web.v1", lambda found: found, what="there")
        cluster.apply(managedchart("web", WEB), namespace=ns)
        chart = cluster.wait_chart(
            ns,
            "web",
            lambda found: "Another Helm operation" in condition_of(found, "Reconciling").get("message", ""),
            what="waiting",
        )
        assert "revision 1" in condition_of(chart, "Reconciling")["message"]
        assert "takes over its lock at" in condition_of(chart, "Reconciling")["message"]
        assert chart["status"]["attempt"]["nextRetryAt"]
    finally:
        hand.send_signal(signal.SIGTERM)
        hand.wait(20)
    cluster.wait_ready(ns, "web")


def test_an_old_lock_is_taken_over(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """An old pending release, whose helm must have ended, is marked failed and upgraded; never uninstalled."""
    document = {
        "name": "one",
        "info": {"status": "pending-install", "description": "Initial install underway"},
        "chart": {"metadata": {"name": "raw", "version": "1.0.0", "apiVersion": "v2"}},
        "manifest": "",
        "version": 1,
        "namespace": ns,
    }
    packed = base64.b64encode(gzip.compress(json.dumps(document).encode()))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {
            "name": "sh.helm.release.v1.one.v1",
            "labels": {
                "owner": "helm",
                "name": "one",
                "status": "pending-install",
                "version": "1",
                "createdAt": str(int(time.time()) - 3600),
            },
        },
        "data": {"release": base64.b64encode(packed).decode()},
    }
    cluster.kubectl("create", f"--namespace={ns}", "-f", "-", input=json.dumps(secret))
    cluster.apply(managedchart("one", RAW, values={"objects": [CONFIG]}), namespace=ns)
    chart = cluster.wait_ready(ns, "one")
    assert chart["status"]["release"]["revision"] == 2


def test_a_retry_annotation_restarts_a_stalled_resource_once(
    cluster: Cluster, operator: OperatorProcess, ns: str
) -> None:
    """A token is carried out once, and the status says which."""
    broken = {"objects": [{**CONFIG, "metadata": {"name": "Not-A-Name"}}]}
    cluster.apply(managedchart("one", RAW, values=broken), namespace=ns)
    cluster.wait_chart(ns, "one", lambda found: condition_of(found, "Stalled"), what="stalled")
    before = cluster.managedchart(ns, "one")["status"]["lastFailure"]["time"]
    time.sleep(1.1)  # times in a status have whole seconds
    cluster.kubectl("annotate", "managedchart", "one", "managedchart.dev/retry=1", f"--namespace={ns}")
    chart = cluster.wait_chart(
        ns,
        "one",
        lambda found: (
            ((found["status"].get("attempt") or {}).get("handledRequests") or {}).get("managedchart.dev/retry") == "1"
        ),
        what="tried again",
    )
    assert chart["status"]["lastFailure"]["time"] > before


def test_history_lists_the_last_revisions(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Newest first, with what was done and what came of it."""
    for number in range(3):
        config = {**CONFIG, "data": {"a": str(number)}}
        cluster.apply(managedchart("one", RAW, values={"objects": [config]}), namespace=ns)
        chart = cluster.wait_ready(ns, "one")
    records = chart["status"]["history"]
    assert [record["revision"] for record in records] == [3, 2, 1]
    assert [record["action"] for record in records] == ["Upgrade", "Upgrade", "Install"]
    assert {record["outcome"] for record in records} == {"deployed"}
