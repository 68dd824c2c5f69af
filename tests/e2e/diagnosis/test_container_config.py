"""A missing ConfigMap or Secret that a container refers to is named."""

import pytest

from conftest import CHARTS
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

RAW = {"path": str(CHARTS / "raw")}
_FAIL = {"devcluster.managedchart.dev/fail": "config"}


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ({"secretRef": {"name": "password"}}, 'secret "password"'),
        ({"configMapRef": {"name": "url"}}, 'configmap "url"'),
    ],
)
def test_missing_container_configuration_is_named(
    cluster: Cluster, operator: OperatorProcess, ns: str, source: dict[str, dict[str, str]], missing: str
) -> None:
    """In the kubelet's words: such a pod shows nothing but Pending, and its image is fine."""
    labels = {"app": "one"}
    container = {"name": "main", "image": "registry.example/one:1", "envFrom": [source]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": _FAIL}, "spec": {"containers": [container]}},
        },
    }
    values = {"objects": [deployment]}
    cluster.apply(managedchart("one", RAW, values=values, timeout="4s", retry={"limit": 0}), namespace=ns)

    chart = cluster.wait_failed(ns, "one", "ContainerConfig")
    failure = chart["status"]["lastFailure"]
    assert condition_of(chart, "Ready")["message"] == failure["message"]
    assert f"cannot be started: {missing} not found" in failure["message"]
    assert failure["rootCause"]["kind"] == "Pod"
    assert failure["rootCause"]["container"] == "main"
    container_shown = failure["containers"][0]
    assert container_shown["reason"] == "CreateContainerConfigError"
    assert "log" not in container_shown, "it has never run"
    assert any(event["message"] == f"Error: {missing} not found" for event in failure["events"])
    assert "Create the ConfigMap or Secret" in failure["hint"]


def test_a_secret_of_a_late_hook_is_named_as_such(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The hook runs when the pod is ready, and the pod starts when the hook has run."""
    labels = {"app": "one"}
    container = {"name": "main", "image": "registry.example/one:1", "envFrom": [{"secretRef": {"name": "password"}}]}
    template = {"metadata": {"labels": labels, "annotations": _FAIL}, "spec": {"containers": [container]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "one"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    hook = {"name": "password", "annotations": {"helm.sh/hook": "post-install"}}
    values = {"objects": [deployment, {"apiVersion": "v1", "kind": "Secret", "metadata": hook}]}
    cluster.apply(managedchart("one", RAW, values=values, timeout="4s", retry={"limit": 0}), namespace=ns)
    failure = cluster.wait_failed(ns, "one", "ContainerConfig")["status"]["lastFailure"]
    assert 'secret "password" not found' in failure["message"]
    assert failure["hint"].startswith("Set spec.wait: false")
    assert "post-install hook of this chart" in failure["hint"]
