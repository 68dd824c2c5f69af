"""What others have changed in a release, or made before: it is taken over, and an Event says what, from whom."""

import json
import os
import subprocess

import pytest

from e2e.fields.steps import CHARTS, WEB, deploy
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

RAW = {"path": str(CHARTS / "raw")}
NEVER = {"podAnnotations": {"devcluster.managedchart.dev/fail": "never"}}
"""Pods that say nothing and never start."""
FAILS = {"timeout": "8s", "retry": {"limit": 0}}
REPLICAS = "Deployment {ns}/web spec.replicas (set by kubectl, subresource scale)"
IMAGE = "Deployment {ns}/web spec.template.spec.containers[name=web].image (set by kubectl-set)"
CLIENT_SIDE = "--server-side=false"
"""How helm 3 applies, too."""


def test_an_upgrade_takes_over_changed_fields(cluster: Cluster, ns: str) -> None:
    """One Event names each with its manager; what the chart does not set, and what nobody changed, is not in it."""
    deploy(cluster, ns, "web", WEB)
    _scale(cluster, ns, 3)
    _set_image(cluster, ns)
    cluster.kubectl("annotate", "deployment", "web", "example.com/note=a", f"--namespace={ns}")
    deploy(cluster, ns, "web", WEB, values={"message": "two", "replicas": 2})
    assert _replicas(cluster, ns) == 2
    [event] = cluster.wait_event(ns, "web", "FieldsTakenOver")
    assert event["type"] == "Warning"
    assert event["message"] == (
        f"Upgrade took over fields that other managers had set: {REPLICAS.format(ns=ns)}; {IMAGE.format(ns=ns)}"
    )
    deploy(cluster, ns, "web", WEB, values={"message": "three", "replicas": 2})
    assert len(cluster.wait_event(ns, "web", "FieldsTakenOver")) == 1, "they are the chart's own by now"


def test_a_field_with_the_charts_value_is_not_reported(cluster: Cluster, ns: str) -> None:
    """The chart follows what somebody has changed by hand: both own the field then."""
    deploy(cluster, ns, "web", WEB)
    cluster.wait_event(ns, "web", "Deployed")  # it follows the status, and a new spec would come before it
    _scale(cluster, ns, 3)
    deploy(cluster, ns, "web", WEB, values={"replicas": 3})
    assert _replicas(cluster, ns) == 3
    cluster.wait_event(ns, "web", "Deployed", count=2)
    assert _events(cluster, ns, "FieldsTakenOver") == []


def test_a_rollback_takes_over_changed_fields(cluster: Cluster, ns: str) -> None:
    """It once failed for the same conflict as the upgrade, and then for ever."""
    deploy(cluster, ns, "web", WEB)
    _fail_and_change(cluster, ns)
    assert cluster.revisions(ns, "web")[-1] == (3, "deployed")
    [event] = cluster.wait_event(ns, "web", "FieldsTakenOver")
    assert event["message"] == f"Rollback took over fields that other managers had set: {IMAGE.format(ns=ns)}"
    assert _events(cluster, ns, "RollbackFailed") == []


def test_a_rollback_to_a_client_side_revision_succeeds(cluster: Cluster, ns: str) -> None:
    """As helm 3 does, and forceUpgrade: there helm refuses to force conflicts."""
    deploy(cluster, ns, "web", WEB, forceUpgrade=True)
    _fail_and_change(cluster, ns)
    assert cluster.revisions(ns, "web")[-1] == (3, "deployed")
    assert _events(cluster, ns, "RollbackFailed") == []


def test_a_replacement_reports_taken_over_fields(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "web", WEB)
    _set_image(cluster, ns)
    deploy(cluster, ns, "web", WEB, forceUpgrade=True)
    [event] = cluster.wait_event(ns, "web", "FieldsTakenOver")
    assert event["message"].endswith(IMAGE.format(ns=ns))


def test_a_client_side_release_is_taken_over(cluster: Cluster, ns: str, helm_binary: str) -> None:
    """As helm 3 makes it; whatever others have changed since. The Event is there before anything is changed."""
    values = ("--set=message=correct-horse", "--set=podAnnotations.team=battery", "--set=port=81")
    _helm(cluster, helm_binary, "upgrade", "--install", "web", WEB["path"], f"--namespace={ns}", CLIENT_SIDE, *values)
    _scale(cluster, ns, 3)
    deploy(cluster, ns, "web", WEB, values={"message": "ours", "port": 81, "replicas": 2})
    assert cluster.revisions(ns, "web") == [(1, "superseded"), (2, "deployed")]
    assert _replicas(cluster, ns) == 2
    [announced] = cluster.wait_event(ns, "web", "ReleaseTakenOver")
    assert announced["type"] == "Warning"
    assert announced["message"] == (
        f"Taking over release {ns}/web, revision 1 (chart web 1.2.3), which was not made by this resource. "
        "Values of that revision that no longer apply: message, podAnnotations"
    )
    changed = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/web")
    assert changed is not None
    assert int(announced["metadata"]["resourceVersion"]) < int(changed["metadata"]["resourceVersion"])
    [taken] = cluster.wait_event(ns, "web", "FieldsTakenOver")
    assert taken["message"].endswith(REPLICAS.format(ns=ns))
    told = json.dumps(_events(cluster, ns)) + json.dumps(cluster.managedchart(ns, "web")["status"])
    assert "correct-horse" not in told
    assert "battery" not in told


def test_a_take_over_that_fails_is_announced_once(cluster: Cluster, ns: str, helm_binary: str) -> None:
    """The retry upgrades the revision that the first try has made."""
    _helm(cluster, helm_binary, "upgrade", "--install", "web", WEB["path"], f"--namespace={ns}")
    retry = {"limit": 1, "backoff": "1s"}
    cluster.apply(managedchart("web", WEB, values=NEVER, timeout="2s", atomic=False, retry=retry), namespace=ns)
    cluster.wait_chart(
        ns, "web", lambda found: "Gave up after" in condition_of(found, "Stalled").get("message", ""), what="given up"
    )
    assert cluster.revisions(ns, "web")[-1] == (3, "failed")
    assert len(_events(cluster, ns, "ReleaseTakenOver")) == 1


def _fail_and_change(cluster: Cluster, ns: str) -> None:
    """Let an upgrade fail, change a field while it waits, and return when it was rolled back to revision 1."""
    cluster.apply(managedchart("web", WEB, values=NEVER, **FAILS), namespace=ns)
    cluster.wait(
        f"/apis/apps/v1/namespaces/{ns}/deployments",
        "web",
        lambda found: found and "never" in json.dumps(found["spec"]["template"]["metadata"]["annotations"]),
        what="changed",
    )
    _set_image(cluster, ns)
    cluster.wait_chart(
        ns,
        "web",
        lambda found: condition_of(found, "Stalled").get("message", "").startswith("Rolled back to revision 1"),
        what="rolled back",
    )


def _set_image(cluster: Cluster, ns: str) -> None:
    cluster.kubectl("set", "image", "deployment/web", "web=registry.example/other:1", f"--namespace={ns}")


def _scale(cluster: Cluster, ns: str, replicas: int) -> None:
    cluster.kubectl("scale", "deployment", "web", f"--replicas={replicas}", f"--namespace={ns}")


def _replicas(cluster: Cluster, ns: str) -> int:
    found = cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/web")
    assert found is not None
    return int(found["spec"]["replicas"])


def _events(cluster: Cluster, ns: str, reason: str | None = None) -> list[str]:
    """The messages of the Events so far."""
    found = cluster.items(f"/api/v1/namespaces/{ns}/events")
    return [event["message"] for event in found if reason in (None, event["reason"])]


def _helm(cluster: Cluster, helm: str, *arguments: str) -> None:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    subprocess.run([helm, *arguments], check=True, capture_output=True, env=environment)
