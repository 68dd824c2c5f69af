"""Objects that a chart puts into another namespace than the release's are watched, diagnosed and named there."""

from collections.abc import Iterator
from typing import Any

import pytest

from conftest import CHARTS
from harness.cluster import Cluster, managedchart, namespace
from harness.operator_process import OperatorProcess

FAIL, DELAY = "devcluster.managedchart.dev/fail", "devcluster.managedchart.dev/delay-seconds"
# Long enough that only failing fast explains an end within the test's own wait.
LONG = "100s"


@pytest.fixture
def other(cluster: Cluster, ns: str) -> Iterator[str]:
    """A second namespace."""
    with namespace(cluster, f"{ns}-b") as made:
        yield made


def deployment(where: str, fail: str, **annotations: str) -> dict[str, Any]:
    """Build a Deployment of one pod in a namespace."""
    labels = {"app": "twin"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "twin", "namespace": where},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {FAIL: fail, **annotations}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/twin:1"}]},
            },
        },
    }


def rendering(*objects: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Build a ManagedChart that renders these objects."""
    spec = {"timeout": LONG, "retry": {"limit": 0}, **spec}
    return managedchart("one", {"path": str(CHARTS / "raw")}, values={"objects": list(objects)}, **spec)


@pytest.mark.parametrize("reason", ["ImagePull", "CrashLoop"])
def test_trouble_in_another_namespace_ends_the_wait(
    cluster: Cluster, operator: OperatorProcess, ns: str, other: str, reason: str
) -> None:
    """Named with its namespace: pod, events and logs; the hint leads to what the status keeps of them."""
    fail = {"ImagePull": "image", "CrashLoop": "crash"}[reason]
    cluster.apply(rendering(deployment(other, fail)), namespace=ns)
    failure = cluster.wait_failed(ns, "one", reason)["status"]["lastFailure"]
    assert failure["rootCause"]["namespace"] == other
    assert f"Pod {other}/twin-" in failure["message"]
    assert f"kubectl -n {ns} get managedchart one -o jsonpath=" in failure["hint"]
    assert any(event["object"].startswith(f"Pod {other}/twin-") for event in failure["events"])
    [container] = failure["containers"]
    assert container["pod"] == f"{other}/{failure['rootCause']['name']}"
    assert fail != "crash" or container["previousLog"]
    assert "incomplete" not in failure


def test_an_object_of_the_same_name_elsewhere_does_not_count(
    cluster: Cluster, operator: OperatorProcess, ns: str, other: str
) -> None:
    """Its image cannot be pulled; the release's Deployment of that name is elsewhere, and only slow."""
    cluster.apply(deployment(ns, "image"))
    cluster.wait(
        f"/apis/apps/v1/namespaces/{ns}/deployments",
        "twin",
        lambda found: found and found["status"].get("unavailableReplicas"),
        what="there, with its pod",
    )
    cluster.apply(rendering(deployment(other, "slow", **{DELAY: "8"})), namespace=ns)
    chart = cluster.wait_ready(ns, "one")
    assert "lastFailure" not in chart["status"]
    assert chart["status"]["release"]["revision"] == 1
    [stranger] = cluster.items(f"/api/v1/namespaces/{ns}/pods")
    assert "ImagePull" in str(stranger["status"]), "the test proves nothing otherwise"


def test_a_hook_in_another_namespace_is_diagnosed(
    cluster: Cluster, operator: OperatorProcess, ns: str, other: str
) -> None:
    """Its image cannot be pulled, so that helm waits for nothing."""
    pod = {"metadata": {"annotations": {FAIL: "image"}}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "hook", "namespace": other, "annotations": {"helm.sh/hook": "pre-install"}},
        "spec": {
            "template": {
                **pod,
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "main", "image": "registry.example/hook:1"}],
                },
            }
        },
    }
    cluster.apply(rendering(job), namespace=ns)
    failure = cluster.wait_failed(ns, "one", "ImagePull")["status"]["lastFailure"]
    assert failure["rootCause"]["namespace"] == other
    assert f"Pod {other}/hook-" in failure["message"]
