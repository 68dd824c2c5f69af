"""The operator itself waits for a release's objects; however the wait ends, it leaves what helm would leave."""

import time
from pathlib import Path
from typing import Any

import pytest

from e2e.engine.test_killed_rollback import helms
from e2e.fields.steps import NEVER, UNREADY, WEB, config, deploy, make_ready, small, wait_for_pods
from harness.cluster import WAIT_SECONDS, Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess
from managedchart_operator.helm.stored_release import decode

STARTED = "managedchart_helm_processes_started_total"
_FAIL = "devcluster.managedchart.dev/fail"
LATE = {"podAnnotations": NEVER}
BAD = {"podAnnotations": UNREADY}


def until_waiting(cluster: Cluster, namespace: str, revision: int) -> None:
    """Return when helm has deployed a revision and has ended: the operator now waits for its objects."""

    def deployed(secret: dict[str, Any] | None) -> object:
        return secret and secret["metadata"]["labels"]["status"] == "deployed"

    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    cluster.wait(secrets, f"sh.helm.release.v1.web.v{revision}", deployed, what="deployed")
    deadline = time.monotonic() + WAIT_SECONDS
    while helms(namespace, b"upgrade"):
        assert time.monotonic() < deadline, "helm does not end"
        time.sleep(0.01)  # not a child of this process


def stalled(chart: dict[str, Any]) -> bool:
    """Whether it was given up, and what atomic asks for is done."""
    return condition_of(chart, "Stalled").get("message", "").startswith(("Rolled back", "The failed first install"))


def test_a_restart_continues_the_wait_without_helm(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """Nothing runs twice: the revision that was waited for is the one that becomes Ready."""
    own_cluster.apply(managedchart("web", WEB, values=LATE), namespace=own_ns)
    until_waiting(own_cluster, own_ns, 1)
    own_operator.kill()
    assert condition_of(own_cluster.managedchart(own_ns, "web"), "Ready")["status"] == "Unknown"
    own_operator.start()
    wait_for_pods(own_cluster, own_ns, "web")
    make_ready(own_cluster, own_ns)
    chart = own_cluster.wait_ready(own_ns, "web")
    assert chart["status"]["release"]["revision"] == 1
    assert own_operator.metric(STARTED) == 0
    assert own_cluster.revisions(own_ns, "web") == [(1, "deployed")]


def test_a_restart_during_the_wait_does_not_fail(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """An operator that is updated meanwhile ends immediately, and its successor continues."""
    own_cluster.apply(managedchart("web", WEB, values=LATE), namespace=own_ns)
    until_waiting(own_cluster, own_ns, 1)
    assert own_operator.stop() == 0
    own_operator.start()
    wait_for_pods(own_cluster, own_ns, "web")
    make_ready(own_cluster, own_ns)
    own_cluster.wait_ready(own_ns, "web")
    assert own_cluster.revisions(own_ns, "web") == [(1, "deployed")]


def test_a_restart_rolls_back_a_release_that_stays_unready(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """The failure and the way back are those of a run that nobody has interrupted."""
    deploy(own_cluster, own_ns, "web", WEB)
    spec = {"timeout": "3s", "retry": {"limit": 0}}
    own_cluster.apply(managedchart("web", WEB, values=BAD, **spec), namespace=own_ns)
    until_waiting(own_cluster, own_ns, 2)
    own_operator.kill()
    own_operator.start()
    chart = own_cluster.wait_chart(own_ns, "web", stalled, what="given up")
    failure = chart["status"]["lastFailure"]
    assert (failure["phase"], failure["revision"]) == ("Exec", 2)
    assert "Unhealthy" in [event["reason"] for event in failure["events"]]
    assert own_cluster.revisions(own_ns, "web") == [(1, "superseded"), (2, "failed"), (3, "deployed")]


def test_a_restart_uninstalls_a_first_install_that_stays_unready(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    own_cluster.apply(managedchart("web", WEB, values=BAD, timeout="3s", retry={"limit": 0}), namespace=own_ns)
    until_waiting(own_cluster, own_ns, 1)
    own_operator.kill()
    own_operator.start()
    own_cluster.wait_chart(own_ns, "web", stalled, what="given up")
    assert own_cluster.revisions(own_ns, "web") == []


def test_a_lost_status_does_not_uninstall_a_ready_release(
    own_cluster: Cluster, own_operator: OperatorProcess, own_ns: str
) -> None:
    """Whether it was ever ready is unknown: it is reported as not ready, and nothing is deleted."""
    deploy(own_cluster, own_ns, "web", WEB)
    own_operator.kill()
    own_cluster.kubectl(
        "patch", "managedchart", "web", f"--namespace={own_ns}", "--subresource=status", "--type=json",
        '-p=[{"op": "remove", "path": "/status"}]',
    )  # fmt: skip
    own_cluster.kubectl(
        "patch", "deployment", "web", f"--namespace={own_ns}", "--type=merge",
        f'-p={{"spec": {{"template": {{"metadata": {{"annotations": {{"{_FAIL}": "never"}}}}}}}}}}',
    )  # fmt: skip
    own_cluster.apply(managedchart("web", WEB, timeout="3s", retry={"limit": 0}), namespace=own_ns)
    own_operator.start()
    own_cluster.wait_chart(own_ns, "web", lambda chart: condition_of(chart, "Stalled"), what="given up")
    assert own_cluster.revisions(own_ns, "web") == [(1, "deployed")]
    assert own_cluster.get(f"/apis/apps/v1/namespaces/{own_ns}/deployments/web") is not None


@pytest.mark.usefixtures("operator")
def test_an_unproven_revision_is_not_rolled_back_to(cluster: Cluster, ns: str) -> None:
    """It was never seen ready."""
    deploy(cluster, ns, "web", WEB)
    cluster.apply(managedchart("web", WEB, values={**BAD, "message": "two"}), namespace=ns)
    until_waiting(cluster, ns, 2)
    spec = {"timeout": "3s", "retry": {"limit": 0}}
    cluster.apply(managedchart("web", WEB, values={**BAD, "message": "three"}, **spec), namespace=ns)
    chart = cluster.wait_chart(ns, "web", stalled, what="given up")
    assert condition_of(chart, "Stalled")["message"].startswith("Rolled back to revision 1")
    assert [status for _, status in cluster.revisions(ns, "web")] == ["superseded", "failed", "failed", "deployed"]


@pytest.mark.usefixtures("operator")
def test_an_unready_revision_is_stored_as_helm_stores_it(cluster: Cluster, ns: str) -> None:
    """Without atomic, so that it stays: the revision before it is the deployed one, for whoever uses helm by hand."""
    deploy(cluster, ns, "web", WEB)
    spec = {"timeout": "3s", "retry": {"limit": 0}, "atomic": False}
    cluster.apply(managedchart("web", WEB, values=BAD, **spec), namespace=ns)
    failure = cluster.wait_failed(ns, "web", "ReadinessProbe")["status"]["lastFailure"]
    assert "helmError" not in failure, "helm has ended without an error"
    stored = cluster.get(f"/api/v1/namespaces/{ns}/secrets/sh.helm.release.v1.web.v2")
    assert stored is not None
    assert f"resource Deployment/{ns}/web not ready. status: InProgress" in decode(stored).description
    assert cluster.revisions(ns, "web") == [(1, "deployed"), (2, "failed")]


POD = """
apiVersion: v1
kind: Pod
metadata:
  name: slow
  annotations: {devcluster.managedchart.dev/fail: slow, devcluster.managedchart.dev/delay-seconds: "3"}
spec: {containers: [{name: a, image: registry.example/a}]}
"""
HOOK = """
apiVersion: v1
kind: ConfigMap
metadata: {name: hook, annotations: {helm.sh/hook: WHEN}}
data: {a: b}
"""


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(("when", "status"), [("post-install", "pending-install"), ("pre-install", "deployed")])
def test_helm_waits_if_a_hook_runs_afterwards(
    cluster: Cluster, ns: str, chart_root: Path, when: str, status: str
) -> None:
    """A hook must not run before the objects are ready; for all others helm ends as soon as they are applied."""
    chart = small(chart_root, name=when, pod=POD, hook=HOOK.replace("WHEN", when))
    cluster.apply(managedchart("web", chart), namespace=ns)
    if status == "deployed":
        until_waiting(cluster, ns, 1)
    slow = cluster.wait(f"/api/v1/namespaces/{ns}/pods", "slow", lambda pod: pod, what="there")
    assert slow is not None
    assert cluster.revisions(ns, "web") == [(1, status)]
    assert (config(cluster, ns, "hook") is not None) is (when == "pre-install")
    cluster.wait_ready(ns, "web")
    assert config(cluster, ns, "hook") == {"a": "b"}
