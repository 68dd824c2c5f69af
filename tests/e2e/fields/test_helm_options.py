"""atomic, wait, timeout, forceUpgrade and lastBreakingVersionRequiringRestart."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import UNREADY, WEB, config, deploy, helm, refused, small, uid
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

# For what never becomes ready: long enough for its pod to say why, and nobody wants to wait for longer.
SHORT = {"timeout": "3s", "retry": {"limit": 0}}
BAD = {"podAnnotations": UNREADY, "message": "bad"}

NEVER = """
apiVersion: v1
kind: Pod
metadata: {name: never, annotations: {devcluster.managedchart.dev/fail: unready}}
spec: {containers: [{name: a, image: registry.example/a}]}
"""
HELD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: a, finalizers: [managedchart.dev/test]}
"""


def settled(chart: dict[str, Any]) -> bool:
    """Whether a failed run was remedied too: the message of Stalled begins with what was done."""
    stalled = condition_of(chart, "Stalled")
    return bool(stalled) and stalled["message"].startswith(
        ("Rolled back", "The failed", "The rollback", "The uninstall")
    )


def test_atomic_uninstalls_a_failed_first_install(cluster: Cluster, ns: str) -> None:
    """After the evidence is collected: the status still has the deleted pod."""
    cluster.apply(managedchart("a", WEB, values=BAD, **SHORT), namespace=ns)
    found = cluster.wait_chart(ns, "a", settled, what="settled")
    assert cluster.revisions(ns, "a") == []
    assert config(cluster, ns, "a") is None
    assert "release" not in found["status"]
    assert found["status"]["lastFailure"]["revision"] == 1
    assert "Unhealthy" in [event["reason"] for event in found["status"]["lastFailure"]["events"]]


def test_an_uninstall_that_times_out_is_reported(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """helm forgets a release although it could not wait for the end of its objects."""
    cluster.apply(managedchart("a", small(chart_root, name="held", held=HELD, never=NEVER), **SHORT), namespace=ns)
    found = cluster.wait_chart(ns, "a", settled, what="settled")
    cluster.kubectl(
        "patch", "configmap", "a", f"--namespace={ns}", "--type=merge", '-p={"metadata":{"finalizers":null}}'
    )
    assert condition_of(found, "Stalled")["message"].startswith("The uninstall failed: ")
    assert cluster.revisions(ns, "a") == []
    assert "release" not in found["status"]


def test_atomic_rolls_a_failed_upgrade_back(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "a", WEB, values={"message": "good"})
    cluster.apply(managedchart("a", WEB, values=BAD, **SHORT), namespace=ns)
    found = cluster.wait_chart(ns, "a", settled, what="settled")
    assert condition_of(found, "Stalled")["message"].startswith("Rolled back to revision 1")
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert config(cluster, ns, "a") == {"MESSAGE": "good"}
    assert condition_of(found, "Ready")["status"] == "False"
    assert found["status"]["release"]["revision"] == 3


def rolled_back(cluster: Cluster, ns: str) -> dict[str, Any]:
    """Wait until the upgrade was rolled back, and nothing is under way."""
    return cluster.wait_chart(
        ns,
        "a",
        lambda chart: condition_of(chart, "Stalled").get("message", "").startswith("Rolled"),
        what="rolled back",
    )


def test_a_rolled_back_upgrade_is_not_retried_automatically(cluster: Cluster, ns: str) -> None:
    """Each attempt would disturb what runs. The annotation gives one more, whatever the limit says."""
    deploy(cluster, ns, "a", WEB, values={"message": "good"})
    often = {"timeout": "3s", "retry": {"limit": 5, "backoff": "1s"}}
    cluster.apply(managedchart("a", WEB, values=BAD, **often), namespace=ns)
    found = rolled_back(cluster, ns)
    told = condition_of(found, "Stalled")["message"]
    assert "set spec.retry.afterRollback to true" in told
    assert "managedchart.dev/retry" in told
    assert not condition_of(found, "Reconciling")
    assert "nextRetryAt" not in found["status"]["attempt"]
    assert len(cluster.revisions(ns, "a")) == 3
    cluster.kubectl("annotate", "managedchart", "a", f"--namespace={ns}", "managedchart.dev/retry=once")
    found = cluster.wait_chart(
        ns, "a", lambda chart: chart["status"]["history"][0]["revision"] == 5, what="rolled back again"
    )
    assert found["status"]["history"][0]["action"] == "Rollback"
    assert cluster.revisions(ns, "a")[-1] == (5, "deployed")


def test_after_rollback_asks_for_retries(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "a", WEB, values={"message": "good"})
    retry = {"limit": 1, "backoff": "1s", "afterRollback": True}
    cluster.apply(managedchart("a", WEB, values=BAD, timeout="3s", retry=retry), namespace=ns)
    found = rolled_back(cluster, ns)
    assert "Gave up after 2 attempts" in condition_of(found, "Stalled")["message"]
    assert [number for number, _ in cluster.revisions(ns, "a")] == [1, 2, 3, 4, 5]


def test_without_atomic_a_failed_first_install_stays(cluster: Cluster, ns: str) -> None:
    refused(cluster, ns, "a", WEB, values=BAD, atomic=False, **SHORT)
    assert cluster.revisions(ns, "a") == [(1, "failed")]
    assert config(cluster, ns, "a") == {"MESSAGE": "bad"}
    deploy(cluster, ns, "a", WEB, values={"message": "good"}, atomic=False)
    assert cluster.revisions(ns, "a")[-1] == (2, "deployed")


def test_an_unready_revision_is_not_rolled_back_to(cluster: Cluster, ns: str) -> None:
    """helm supersedes a failed revision with the next one that it has applied, whether that becomes ready or not."""
    refused(cluster, ns, "a", WEB, values=BAD, atomic=False, **SHORT)
    refused(cluster, ns, "a", WEB, values={**BAD, "message": "worse"}, atomic=False, **SHORT)
    assert cluster.revisions(ns, "a") == [(1, "failed"), (2, "failed")]
    cluster.apply(managedchart("a", WEB, values={**BAD, "message": "worst"}, **SHORT), namespace=ns)
    found = cluster.wait_chart(ns, "a", settled, what="settled")
    assert condition_of(found, "Stalled")["message"].startswith("The failed first install was uninstalled")
    assert cluster.revisions(ns, "a") == []


@pytest.mark.parametrize("atomic", [False, True], ids=["left", "rolled back"])
def test_objects_of_failed_revisions_only_are_deleted(
    cluster: Cluster, ns: str, chart_root: Path, *, atomic: bool
) -> None:
    """An upgrade compares with the deployed revision, a rollback with the last one: both miss the second revision."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {a: b}\n"
    deploy(cluster, ns, "a", small(chart_root, name="left"))
    second = small(chart_root, "2.0.0", name="left", extra=text.replace("NAME", "extra"), never=NEVER)
    refused(cluster, ns, "a", second, atomic=False, **SHORT)
    assert config(cluster, ns, "extra") == {"a": "b"}
    third = text.replace("NAME", "wrong").replace("b}", "[]}")
    cluster.apply(
        managedchart("a", small(chart_root, "3.0.0", name="left", wrong=third), atomic=atomic, **SHORT), namespace=ns
    )
    if atomic:
        cluster.wait_chart(ns, "a", settled, what="settled")
        assert cluster.revisions(ns, "a")[-1] == (4, "deployed")
    else:
        cluster.wait_failed(ns, "a")
        deploy(cluster, ns, "a", small(chart_root, "1.0.1", name="left"))
    assert config(cluster, ns, "extra") is None
    cluster.wait_gone(f"/api/v1/namespaces/{ns}/pods", "never")
    assert config(cluster, ns, "a") == {"message": "hello"}


def test_a_failed_release_of_others_is_not_uninstalled(cluster: Cluster, ns: str, helm_binary: str) -> None:
    """Its objects may have become ready since, and be in use."""
    annotations = f"--set-json=podAnnotations={json.dumps(UNREADY)}"
    with pytest.raises(subprocess.CalledProcessError):
        helm(
            cluster,
            helm_binary,
            "install",
            "a",
            WEB["path"],
            f"--namespace={ns}",
            "--wait",
            "--timeout=1s",
            annotations,
        )
    assert cluster.revisions(ns, "a") == [(1, "failed")]
    cluster.apply(managedchart("a", WEB, values=BAD, **SHORT), namespace=ns)
    found = cluster.wait_chart(ns, "a", settled, what="settled")
    told = condition_of(found, "Stalled")["message"]
    assert told.startswith("The failed release is left as it is: revision 1 was not made by this resource")
    assert cluster.revisions(ns, "a") == [(1, "failed"), (2, "failed")]
    assert found["status"]["release"]["revision"] == 2
    deploy(cluster, ns, "a", WEB, values={"message": "good"})


def test_without_atomic_a_failed_upgrade_stays(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "a", WEB, values={"message": "good"})
    refused(cluster, ns, "a", WEB, values=BAD, atomic=False, **SHORT)
    assert cluster.revisions(ns, "a") == [(1, "deployed"), (2, "failed")]
    assert config(cluster, ns, "a") == {"MESSAGE": "bad"}


def test_without_wait_pods_need_not_be_ready(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "a", WEB, values=BAD, wait=False, **SHORT)
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_by_default_a_release_needs_ready_pods(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "a", WEB)
    deployment = cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/a")
    assert deployment is not None
    assert deployment["status"]["availableReplicas"] == 1


def test_timeout_bounds_the_wait(cluster: Cluster, ns: str) -> None:
    failed = cluster_failed_exec(cluster, ns)
    assert 3 <= failed["durationSeconds"] < 60, "the default is three minutes"


def cluster_failed_exec(cluster: Cluster, ns: str) -> dict[str, Any]:
    """Deploy what never becomes ready, and return the exec phase of the run."""
    refused(cluster, ns, "a", WEB, values=BAD, **SHORT)
    phases = {phase["name"]: phase for phase in cluster.managedchart(ns, "a")["status"]["phases"]}
    assert phases["Exec"]["state"] == "Failed"
    assert phases["OnDeployFailure"]["state"] == "Succeeded"
    found: dict[str, Any] = phases["Exec"]
    return found


@pytest.mark.parametrize("force", [False, True], ids=["patched", "replaced"])
def test_force_upgrade_replaces_whole_objects(cluster: Cluster, ns: str, chart_root: Path, *, force: bool) -> None:
    """By default an upgrade keeps fields of other writers; with forceUpgrade the object is what the chart says."""
    deploy(cluster, ns, "a", small(chart_root))
    before = uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a")
    cluster.kubectl("patch", "configmap", "a", f"--namespace={ns}", "--type=merge", '-p={"data": {"other": "x"}}')
    deploy(cluster, ns, "a", small(chart_root), values={"message": "new"}, forceUpgrade=force)
    assert config(cluster, ns, "a") == ({"message": "new"} if force else {"message": "new", "other": "x"})
    assert uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a") == before


@pytest.mark.parametrize(
    ("breaking", "reinstalled"), [("2.0.0", True), ("v1.5", True), ("3.0.0", False), ("1.0.0", False), (None, False)]
)
def test_crossing_the_breaking_version_uninstalls_first(
    cluster: Cluster, ns: str, chart_root: Path, breaking: str | None, *, reinstalled: bool
) -> None:
    deploy(cluster, ns, "a", small(chart_root, "1.0.0"))
    before = uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a")
    options = {"lastBreakingVersionRequiringRestart": breaking} if breaking else {}
    deploy(cluster, ns, "a", small(chart_root, "2.0.0"), **options)
    assert (uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a") != before) is reinstalled
    assert cluster.revisions(ns, "a") == ([(1, "deployed")] if reinstalled else [(1, "superseded"), (2, "deployed")])


def test_the_breaking_version_is_crossed_only_once(cluster: Cluster, ns: str, chart_root: Path) -> None:
    for revision, name in enumerate(("one", "two"), start=1):
        deploy(
            cluster,
            ns,
            "a",
            small(chart_root, "2.0.0"),
            values={"message": name},
            lastBreakingVersionRequiringRestart="2.0.0",
        )
        assert cluster.managedchart(ns, "a")["status"]["release"]["revision"] == revision
