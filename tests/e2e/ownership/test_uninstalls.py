"""Unfinished uninstalls, by the operator and by others, of a release that is wanted."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import delete, deploy, helm, small, uid
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, is_ready, managedchart
from harness.operator_process import OperatorProcess

pytestmark = pytest.mark.usefixtures("operator")

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: "{{ .Release.Name }}-data"}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
GOODBYE = """
apiVersion: batch/v1
kind: Job
metadata:
  name: "{{ .Release.Name }}-goodbye"
  annotations: {helm.sh/hook: pre-delete, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  template:
    spec:
      serviceAccountName: cleaner
      restartPolicy: Never
      containers: [{name: c, image: registry.example/c:1}]
"""
"""Its pod cannot be created before somebody has made the ServiceAccount."""
STARTED = "managedchart_helm_processes_started_total"
OPTIONS: dict[str, Any] = {"timeout": "3s", "wait": False, "retry": {"limit": 0}}


@pytest.fixture
def chart(chart_root: Path) -> dict[str, str]:
    """A chart with data and a pre-delete hook that cannot run."""
    return small(chart_root, name="kept", claim=CLAIM, goodbye=GOODBYE)


def claim(cluster: Cluster, ns: str, name: str = "a") -> str:
    """The UID of the release's claim."""
    return uid(cluster, f"/api/v1/namespaces/{ns}/persistentvolumeclaims/{name}-data")


def hook_failed(chart: dict[str, Any]) -> bool:
    """Whether the present generation has failed in its hook."""
    ready = condition_of(chart, "Ready")
    return ready.get("status") == "False" and ready["reason"] in ("HookFailed", "HookTimeout", "AdmissionRefused")


def allow_goodbye(cluster: Cluster, ns: str) -> None:
    """From now on the hook can run, so that an uninstall would go through."""
    cluster.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "cleaner"}})


def test_orphan_during_a_deletion_keeps_the_release(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    """And a new resource deploys over it: the claim is the same one."""
    deploy(cluster, ns, "a", chart, **OPTIONS)
    before = claim(cluster, ns)
    cluster.kubectl("delete", "managedchart", "a", f"--namespace={ns}", "--wait=false")
    found = cluster.wait_chart(ns, "a", hook_failed, what="failed in its hook")
    assert found["status"]["phase"] == "Deleting"
    assert cluster.revisions(ns, "a") == [(1, "uninstalling")]
    cluster.kubectl(
        "patch", "managedchart", "a", f"--namespace={ns}", "--type=merge", '-p={"spec":{"deletionPolicy":"Orphan"}}'
    )
    cluster.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{ns}/managedcharts", "a")
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    allow_goodbye(cluster, ns)
    deploy(cluster, ns, "a", chart, deletionPolicy="Orphan", **OPTIONS)
    assert claim(cluster, ns) == before


def test_a_cancelled_destroy_keeps_the_data(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    deploy(cluster, ns, "a", chart, **OPTIONS)
    before = claim(cluster, ns)
    cluster.apply(managedchart("a", chart, action="Destroy", **OPTIONS), namespace=ns)
    cluster.wait_chart(ns, "a", hook_failed, what="failed in its hook")
    allow_goodbye(cluster, ns)
    found = deploy(cluster, ns, "a", chart, action="Deploy", **OPTIONS)
    assert claim(cluster, ns) == before
    assert cluster.revisions(ns, "a")[-1] == (2, "deployed")
    assert found["status"]["release"]["revision"] == 2


def test_a_failed_manual_uninstall_is_deployed_over(
    cluster: Cluster, ns: str, chart: dict[str, str], helm_binary: str
) -> None:
    """With force immediately; otherwise when its helm must have ended."""
    deploy(cluster, ns, "a", chart, **OPTIONS)
    before = claim(cluster, ns)
    with pytest.raises(subprocess.CalledProcessError):
        helm(cluster, helm_binary, "uninstall", "a", f"--namespace={ns}", "--timeout=1s")
    waiting = cluster.wait_chart(ns, "a", _waits_for_uninstall, what="waiting")
    allow_goodbye(cluster, ns)
    command = condition_of(waiting, "Reconciling")["message"].rpartition(": ")[2]
    _run_hint(cluster, command)
    cluster.wait_chart(
        ns, "a", lambda found: is_ready(found) and found["status"]["release"]["revision"] == 2, what="deployed over"
    )
    assert claim(cluster, ns) == before


def test_nothing_starts_during_a_manual_uninstall(
    cluster: Cluster, ns: str, chart: dict[str, str], helm_binary: str, operator: OperatorProcess
) -> None:
    """Neither a deployment nor the uninstall of a deletion; READY does not say True meanwhile."""
    # What an earlier test has left is deleted in the background, also by helm.
    cluster.wait_empty(f"{MANAGEDCHARTS}/managedcharts")
    deploy(cluster, ns, "a", chart, **OPTIONS)
    with _helm_at_work(cluster, helm_binary, "uninstall", "a", f"--namespace={ns}", "--timeout=100s"):
        waiting = cluster.wait_chart(ns, "a", _waits_for_uninstall, what="waiting")
        assert condition_of(waiting, "Ready")["status"] == "Unknown"
        started = operator.metric(STARTED)
        cluster.apply(managedchart("a", chart, values={"message": "new"}, **OPTIONS), namespace=ns)
        cluster.wait_chart(
            ns,
            "a",
            lambda found: found["status"]["observedGeneration"] == found["metadata"]["generation"],
            what="looked at again",
        )
        cluster.kubectl("delete", "managedchart", "a", f"--namespace={ns}", "--wait=false")
        cluster.wait_chart(ns, "a", lambda found: found["status"]["phase"] == "Deleting", what="Deleting")
        assert operator.metric(STARTED) == started
    allow_goodbye(cluster, ns)
    _run_hint(cluster, f"kubectl -n {ns} annotate managedchart a --overwrite managedchart.dev/force=now")
    cluster.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{ns}/managedcharts", "a")
    assert cluster.revisions(ns, "a") == []


def test_a_manual_uninstall_is_reverted(cluster: Cluster, ns: str, chart_root: Path, helm_binary: str) -> None:
    """With and without its history kept: nobody is at work any more."""
    chart = small(chart_root)
    for options in ([], ["--keep-history"]):
        deploy(cluster, ns, "a", chart)
        before = uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a")
        helm(cluster, helm_binary, "uninstall", "a", f"--namespace={ns}", *options)
        cluster.wait(
            f"/api/v1/namespaces/{ns}/configmaps",
            "a",
            lambda found, before=before: found and found["metadata"]["uid"] != before,
            what="made again",
        )
        cluster.wait_ready(ns, "a")
    delete(cluster, ns, "a")


def _waits_for_uninstall(chart: dict[str, Any]) -> bool:
    return condition_of(chart, "Reconciling").get("message", "").startswith("Another Helm operation is uninstalling")


def _run_hint(cluster: Cluster, command: str) -> None:
    """Run a kubectl command as it stands in a message."""
    done = ["bash", "-c", command.replace("kubectl", f"{cluster.kubectl_path} --kubeconfig={cluster.kubeconfig}", 1)]
    subprocess.run(done, check=True, capture_output=True)


@contextmanager
def _helm_at_work(cluster: Cluster, binary: str, *arguments: str) -> Iterator[None]:
    """Run a manual helm for as long as the block runs, and kill it at the end."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    quiet = subprocess.DEVNULL
    with subprocess.Popen([binary, *arguments], env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield
            assert process.poll() is None, "it was to be at work all the time"
        finally:
            process.send_signal(signal.SIGKILL)
