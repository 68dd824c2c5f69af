"""A refused pod ends a deployment only if it is still refused, and nothing can change that."""

import json
from typing import Any

from conftest import CHARTS
from harness.cluster import Cluster, managedchart
from harness.operator_process import OperatorProcess

FAIL, DELAY = "devcluster.managedchart.dev/fail", "devcluster.managedchart.dev/delay-seconds"


def quota(pods: int) -> dict[str, Any]:
    """Build a quota of so many pods."""
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "pods"},
        "spec": {"hard": {"pods": str(pods)}},
    }


def impose(cluster: Cluster, ns: str, pods: int) -> None:
    """Put a quota into force."""
    cluster.apply(quota(pods), namespace=ns)
    cluster.wait(
        f"/api/v1/namespaces/{ns}/resourcequotas",
        "pods",
        lambda found: found and ((found.get("status") or {}).get("hard") or {}).get("pods") == str(pods),
        what="in force",
    )


def two_pods(*, image: str, seconds: int, unavailable: int, **spec: Any) -> dict[str, Any]:
    """Build a ManagedChart of two pods that are ready after so many seconds, updated with one pod more or less."""
    labels = {"app": "two"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "two"},
        "spec": {
            "replicas": 2,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": unavailable}},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {FAIL: "slow", DELAY: str(seconds)}},
                "spec": {"containers": [{"name": "main", "image": f"registry.example/two:{image}"}]},
            },
        },
    }
    spec = {"timeout": "55s", "retry": {"limit": 0}, **spec}
    return managedchart("two", {"path": str(CHARTS / "raw")}, values={"objects": [deployment]}, **spec)


def refused(cluster: Cluster, ns: str) -> bool:
    """Whether a pod of the namespace was refused."""
    events = cluster.items(f"/api/v1/namespaces/{ns}/events", fieldSelector="reason=FailedCreate")
    return bool(events)


def test_a_rolling_update_under_a_tight_quota_succeeds(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """Each new pod is refused until an old one is deleted, which takes longer than the grace."""
    impose(cluster, ns, 2)
    cluster.apply(two_pods(image="1", seconds=1, unavailable=1), namespace=ns)
    cluster.wait_ready(ns, "two")
    cluster.apply(two_pods(image="2", seconds=6, unavailable=1), namespace=ns)
    chart = cluster.wait_ready(ns, "two")
    assert refused(cluster, ns), "the test proves nothing otherwise"
    assert chart["status"]["release"]["revision"] == 2
    assert "lastFailure" not in chart["status"]


def test_a_quota_that_is_raised_in_time_is_ignored(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """The pods are created within the grace, and become ready long after it."""
    impose(cluster, ns, 0)
    cluster.apply(two_pods(image="1", seconds=10, unavailable=1, failFastGrace="6s"), namespace=ns)
    cluster.wait(
        f"/apis/apps/v1/namespaces/{ns}/deployments",
        "two",
        lambda found: found and "exceeded quota" in json.dumps(found.get("status")),
        what="refused its pods",
    )
    cluster.apply(quota(5), namespace=ns)
    chart = cluster.wait_ready(ns, "two")
    assert chart["status"]["release"]["revision"] == 1
    assert "lastFailure" not in chart["status"]


def test_a_permanently_blocked_rolling_update_is_ended(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """No old pod may go before a new one is ready, and no new one may come: nothing can change that."""
    impose(cluster, ns, 2)
    cluster.apply(two_pods(image="1", seconds=1, unavailable=0, timeout="100s"), namespace=ns)
    cluster.wait_ready(ns, "two")
    cluster.apply(two_pods(image="2", seconds=1, unavailable=0, timeout="100s"), namespace=ns)
    chart = cluster.wait_failed(ns, "two", "QuotaExceeded")
    assert "exceeded quota" in chart["status"]["lastFailure"]["message"]
