"""What the tests of the fields do again and again: deploy, and look at what is really there."""

import json
import os
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

from conftest import CHARTS
from harness.chart_files import chart_files, write_chart
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, managedchart

WEB = {"path": str(CHARTS / "web")}
PRINT_VALUES = {"path": str(CHARTS / "print-values")}
UNREADY = {"devcluster.managedchart.dev/fail": "unready"}
"""Annotation of a pod that runs and never becomes ready."""
NEVER = {"devcluster.managedchart.dev/fail": "never"}
"""Annotation of a pod that says nothing and never starts, unless `make_ready` lets it."""
SOON = {"limit": 20, "backoff": "1s", "maxBackoff": "1s"}
"""Retries for tests of failures that heal."""


def deploy(cluster: Cluster, namespace: str, name: str, chart: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Apply a ManagedChart and return it when it is Ready."""
    cluster.apply(managedchart(name, chart, **spec), namespace=namespace)
    return cluster.wait_ready(namespace, name)


def refused(cluster: Cluster, namespace: str, name: str, chart: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Apply a ManagedChart and return its lastFailure when it is no longer Ready."""
    cluster.apply(managedchart(name, chart, **spec), namespace=namespace)
    failure: dict[str, Any] = cluster.wait_failed(namespace, name)["status"]["lastFailure"]
    return failure


def ready_reason(chart: dict[str, Any]) -> str:
    """Return the reason of a ManagedChart that is Ready."""
    ready = condition_of(chart, "Ready")
    assert ready["status"] == "True"
    return str(ready["reason"])


def delete(cluster: Cluster, namespace: str, *names: str) -> None:
    """`kubectl delete` ManagedCharts and wait until they are deleted."""
    cluster.kubectl("delete", "managedchart", *names, f"--namespace={namespace}", "--timeout=60s")


def is_there(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether the ManagedChart exists."""
    return cluster.get(f"{MANAGEDCHARTS}/namespaces/{namespace}/managedcharts/{name}") is not None


def config(cluster: Cluster, namespace: str, name: str) -> dict[str, str] | None:
    """Return the data of a ConfigMap, or None."""
    found = cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    return None if found is None else found.get("data") or {}


def message(cluster: Cluster, namespace: str, name: str) -> str | None:
    """Return the message in the ConfigMap of a small chart, or None where there is none."""
    found = config(cluster, namespace, name)
    return None if found is None else found["message"]


def uid(cluster: Cluster, path: str) -> str:
    """Return the UID of an object."""
    found = cluster.get(path)
    assert found is not None, f"there is no {path}"
    return str(found["metadata"]["uid"])


def printed(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """Return the values as they reached the templates of the chart print-values."""
    found = config(cluster, namespace, "values")
    assert found is not None
    values: dict[str, Any] = json.loads(b64decode(found["values"]))
    values.pop("global", None)  # helm adds it
    return values


def small(folder: Path, version: str = "1.0.0", *, name: str = "small", **templates: str) -> dict[str, str]:
    """Write a small chart of this version below a chart root and return it as a source."""
    return {"path": str(write_chart(folder / f"{name}-{version}", chart_files(name, version, **templates)))}


def wait_for_pods(cluster: Cluster, namespace: str, deployment: str) -> None:
    """Wait until the pods of a Deployment's present template are there."""

    def there(found: dict[str, Any] | None) -> bool:
        status, generation = (
            (found or {}).get("status") or {},
            (found or {"metadata": {}})["metadata"].get("generation"),
        )
        return status.get("observedGeneration") == generation and status.get("updatedReplicas", 0) > 0

    cluster.wait(f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment, there, what="there, with its pods")


def make_ready(cluster: Cluster, namespace: str) -> None:
    """Let all pods become ready that never would (NEVER), as a kubelet does it."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    for pod in cluster.items(path):
        name, statuses = pod["metadata"]["name"], pod["status"].get("containerStatuses") or ()
        if any(each["ready"] for each in statuses):
            continue  # of an earlier revision, and deleted when the others are ready
        # What stands in for the kubelet looks at a pod once.
        seen = cluster.wait(path, name, lambda found: found and found["status"].get("containerStatuses"), what="seen")
        assert seen is not None
        status = seen["status"]
        for condition in status["conditions"]:
            condition["status"] = "True"
        for container in status["containerStatuses"]:
            container |= {"ready": True, "started": True, "state": {"running": {"startedAt": status["startTime"]}}}
        patch = json.dumps({"status": {**status, "phase": "Running"}})
        where = f"--namespace={namespace}"
        cluster.kubectl("patch", "pod", name, where, "--subresource=status", "--type=merge", f"--patch={patch}")


def helm(cluster: Cluster, binary: str, *arguments: str) -> str:
    """Run helm as a user of the cluster would."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True, env=environment).stdout


def warnings(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """Return the messages of the Warning events on a ManagedChart."""
    selector = f"involvedObject.kind=ManagedChart,involvedObject.name={name},type=Warning"
    events = cluster.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector)
    return [event["message"] for event in events]
