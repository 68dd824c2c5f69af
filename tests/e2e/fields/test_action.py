"""action: Deploy, Destroy and Skip while the resource exists."""

from pathlib import Path

import pytest

from e2e.fields.steps import deploy, message, ready_reason, small
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")


def test_the_api_server_fills_in_every_default(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """What is in force can be read from the resource itself."""
    found = deploy(cluster, ns, "a", small(chart_root))
    assert {key: value for key, value in found["spec"].items() if key != "chart"} == {
        "action": "Deploy",
        "atomic": True,
        "conflicts": {"policy": "Force"},
        "crds": "Create",
        "createNamespace": True,
        "deletionPolicy": "Uninstall",
        "dryRun": False,
        "failFast": True,
        "failFastGrace": "3s",
        "forceUpgrade": False,
        "lifecycle": {"name": "default", "validation": {"every": "5m", "failureThreshold": 3}},
        "retry": {"limit": 5, "backoff": "10s", "maxBackoff": "5m", "afterRollback": False},
        "skipSchemaValidation": False,
        "timeout": "180s",
        "wait": True,
        "waitFor": {},
    }


def test_deploy_installs_and_then_upgrades(cluster: Cluster, ns: str, chart_root: Path) -> None:
    found = deploy(cluster, ns, "a", small(chart_root), values={"message": "one"})
    assert (found["status"]["phase"], ready_reason(found)) == ("Ready", "Deployed")
    assert message(cluster, ns, "a") == "one"
    found = deploy(cluster, ns, "a", small(chart_root), values={"message": "two"})
    assert message(cluster, ns, "a") == "two"
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "deployed")]
    assert found["status"]["release"]["revision"] == 2
    assert condition_of(found, "Released")["status"] == "True"


def test_destroy_uninstalls_and_deploy_installs_again(cluster: Cluster, ns: str, chart_root: Path) -> None:
    deploy(cluster, ns, "a", small(chart_root))
    found = deploy(cluster, ns, "a", small(chart_root), action="Destroy")
    assert (found["status"]["phase"], ready_reason(found)) == ("Destroyed", "Destroyed")
    assert "release" not in found["status"]
    assert cluster.revisions(ns, "a") == []
    assert message(cluster, ns, "a") is None
    found = deploy(cluster, ns, "a", small(chart_root), action="Deploy")
    assert ready_reason(found) == "Deployed"
    assert message(cluster, ns, "a") == "hello"


def test_destroy_without_a_release_succeeds(cluster: Cluster, ns: str) -> None:
    """Neither its chart nor its values need to be there."""
    found = deploy(cluster, ns, "a", {"path": "/charts/gone"}, action="Destroy", valuesFiles=["/charts/gone.yaml"])
    assert ready_reason(found) == "Destroyed"
    assert condition_of(found, "Ready")["message"] == "Nothing was deployed"


def test_skip_does_not_touch_a_release(cluster: Cluster, ns: str, chart_root: Path) -> None:
    deploy(cluster, ns, "a", small(chart_root), values={"message": "one"})
    found = deploy(cluster, ns, "a", small(chart_root), values={"message": "two"}, action="Skip")
    assert (found["status"]["phase"], ready_reason(found)) == ("Skipped", "Skipped")
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    assert message(cluster, ns, "a") == "one"
    deploy(cluster, ns, "a", small(chart_root), values={"message": "two"})
    assert message(cluster, ns, "a") == "two"


def test_skip_deploys_nothing(cluster: Cluster, ns: str) -> None:
    found = deploy(cluster, ns, "a", {"path": "/charts/gone"}, action="Skip", targetNamespace=f"{ns}-none")
    assert ready_reason(found) == "Skipped"
    assert cluster.get(f"/api/v1/namespaces/{ns}-none") is None
    assert cluster.revisions(ns, "a") == []


def test_kubectl_shows_the_outcome_of_each_action(cluster: Cluster, ns: str, chart_root: Path) -> None:
    cluster.apply(
        managedchart("deploy", small(chart_root)),
        managedchart("destroy", small(chart_root), action="Destroy"),
        managedchart("skip", small(chart_root), action="Skip"),
        namespace=ns,
    )
    for name in ("deploy", "destroy", "skip"):
        cluster.wait_ready(ns, name)
    lines = cluster.kubectl("get", "managedcharts", f"--namespace={ns}", "--no-headers").splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["deploy", "True", "Deployed"],
        ["destroy", "True", "Destroyed"],
        ["skip", "True", "Skipped"],
    ]
