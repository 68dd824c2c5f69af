"""Actions run around the phases on a real API server, and the status says what each has done."""

from typing import Any

import pytest

from e2e.fields.steps import WEB, refused
from harness.cluster import MANAGEDCHARTS, Cluster, KubectlError, managedchart, namespace

pytestmark = pytest.mark.usefixtures("operator")

LABELLED = {"kind": "Deployment", "selector": {"matchLabels": {"app": "a"}}}


def actions_of(chart: dict[str, Any], phase: str) -> dict[str, dict[str, Any]]:
    """Return the actions of a phase in the status, by name."""
    (found,) = (each for each in chart["status"]["phases"] if each["name"] == phase)
    return {each["name"]: each for each in found["actions"]}


def test_actions_run_in_their_phases(cluster: Cluster, ns: str) -> None:
    lifecycle = {
        "actions": [
            {"name": "nodes", "phase": "CheckPrerequisites", "exists": {"kind": "Node"}},
            {"name": "again", "phase": "PostExec", "restart": {"kind": "Deployment", "name": "a"}},
            {
                "name": "upgrade-only",
                "phase": "PostExec",
                "when": {"operation": "Upgrade"},
                "exists": {"kind": "Deployment", "name": "a"},
            },
            {
                "name": "ready",
                "phase": "Validate",
                "timeout": "30s",
                "expect": {"kind": "Deployment", "name": "a", "expr": "objects.all(o, o.spec.replicas == 1)"},
            },
        ]
    }
    cluster.apply(managedchart("a", WEB, lifecycle=lifecycle), namespace=ns)

    found = cluster.wait_ready(ns, "a")

    assert actions_of(found, "CheckPrerequisites")["nodes"]["state"] == "Succeeded"
    assert actions_of(found, "PostExec")["again"]["message"] == f"Restarted Deployment {ns}/a"
    assert actions_of(found, "PostExec")["upgrade-only"]["state"] == "Skipped"
    assert actions_of(found, "Validate")["ready"]["message"] == "True for 1 Deployment"


def test_a_failed_check_names_itself(cluster: Cluster, ns: str) -> None:
    """The message of the resource, and so `kubectl get -o wide`, has the action's name."""
    check = {"name": "quota", "phase": "CheckPrerequisites", "exists": {"kind": "ResourceQuota", "name": "team"}}

    failure = refused(cluster, ns, "a", WEB, lifecycle={"actions": [check]})

    assert failure["reason"] == "LifecycleFailed"
    assert failure["message"] == f"Action quota (exists) failed: ResourceQuota {ns}/team does not exist"
    assert cluster.revisions(ns, "a") == []


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (
            {"exists": {"kind": "Node"}, "expect": {"kind": "Node", "name": "node", "expr": "true"}},
            "set exactly one of",
        ),
        ({"exists": {"kind": "Node", "selector": {}}}, "the selector matches everything"),
        ({"phase": "Validate", "restart": {"kind": "Deployment", "name": "a"}}, "phase Validate only checks"),
    ],
    ids=["two verbs", "empty selector", "writing check"],
)
def test_the_api_server_refuses(cluster: Cluster, ns: str, action: dict[str, Any], expected: str) -> None:
    body = managedchart("a", WEB, lifecycle={"actions": [{"name": "x", "phase": "PreExec", **action}]})

    with pytest.raises(KubectlError, match=expected):
        cluster.kubectl_apply(body, namespace=ns)


def test_a_misspelt_field_is_reported_and_nothing_runs(cluster: Cluster, ns: str) -> None:
    """GitOps tools apply without strict validation; the API server would prune the field without a word."""
    lifecycle = {
        "actions": [
            {"name": "x", "phase": "PreExec", "exists": {"kind": "Pod", "selektor": {"matchLabels": {"a": "b"}}}}
        ]
    }

    failure = refused(cluster, ns, "a", WEB, lifecycle=lifecycle)

    assert failure["reason"] == "LifecycleInvalid"
    assert failure["message"] == (
        "spec.lifecycle.actions[0] (x).exists.selektor: there is no such field: correct its name to selector"
    )
    assert cluster.revisions(ns, "a") == []
    failure = refused(cluster, ns, "b", WEB, lifecycle={"action": []})
    assert failure["reason"] == "LifecycleInvalid"
    assert failure["message"] == "spec.lifecycle.action: there is no such field: correct its name"
    assert cluster.revisions(ns, "b") == []
    failure = refused(cluster, ns, "c", WEB, lifecycle={"validation": {"evry": "1m"}})
    assert failure["message"] == "spec.lifecycle.validation.evry: there is no such field: correct its name"
    assert failure["hint"] == "Correct spec.lifecycle.validation.evry to every; the fields are every, failureThreshold."


def test_what_can_no_longer_be_created_does_not_hold_up_a_namespace(cluster: Cluster) -> None:
    """A Job before the uninstall: in a namespace that is being deleted it would be refused for ever."""
    with namespace(cluster, "ending") as ns:
        job = {"name": "export", "phase": "PreDelete", "job": {"image": "registry.example/export:1"}}
        cluster.apply(managedchart("a", WEB, lifecycle={"actions": [job]}), namespace=ns)
        cluster.wait_ready(ns, "a")

    cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts", "a")
