"""What a rendered Secret contains is in no text that the operator writes, and everything else stays readable."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from conftest import CHARTS
from harness.cluster import Cluster, managedchart
from harness.operator_process import OperatorProcess

RAW = {"path": str(CHARTS / "raw")}
# The cluster's containers log this path.
LOGGED = "/etc/app/config.yaml"
SECRET = 'correct "horse" battery'
FORMS = (LOGGED, SECRET, json.dumps(SECRET)[1:-1], "horse", "battery")


def objects(namespace: str, *, label: str) -> list[dict[str, Any]]:
    """Return a Secret with everyday words beside what must not be shown, and a Deployment that crashes."""
    data = {"path": LOGGED, "sentence": SECRET, "user": "admin", "namespace": namespace, "name": "one-admin"}
    labels = {"app": "one"}
    annotations = {"devcluster.managedchart.dev/fail": "crash", "devcluster.managedchart.dev/exit-code": "1"}
    container = {"name": "main", "image": "registry.example/one:1"}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [container]}}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}, "stringData": data},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "one-admin", "labels": {"about": label}},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
    ]


def test_no_text_shows_what_is_in_a_secret(cluster: Cluster, operator: OperatorProcess, ns: str) -> None:
    """A crash log, an Event, and the API server's refusal repeat it; admin, the namespace and names stay."""
    event = {
        "metadata": {"name": "one"},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "one-admin", "namespace": ns},
        "type": "Warning",
        "reason": "Told",
        "message": f"admin of {ns} logged in with {json.dumps(SECRET)} in one-admin",
        "lastTimestamp": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    cluster.create(f"/api/v1/namespaces/{ns}/events", event)
    spec: dict[str, Any] = {"timeout": "100s", "retry": {"limit": 0}, "atomic": False}
    values = {"objects": objects(ns, label="fine")}
    cluster.apply(managedchart("one", RAW, values=values, **spec), namespace=ns)
    crashed = cluster.wait_failed(ns, "one", "CrashLoop")["status"]["lastFailure"]
    [told] = [each for each in crashed["events"] if each["reason"] == "Told"]
    assert told["message"] == f'admin of {ns} logged in with "***" in one-admin'
    assert "reading the configuration from ***\n" in crashed["containers"][0]["previousLog"]

    values = {"objects": objects(ns, label=SECRET)}
    cluster.apply(managedchart("one", RAW, values=values, **spec), namespace=ns)
    refused = cluster.wait_failed(ns, "one", "ObjectInvalid")["status"]["lastFailure"]
    assert "one-admin" in refused["message"]
    assert "metadata.labels" in refused["message"]
    assert 'Invalid value: "***"' in refused["helmError"]

    written = [each for each in cluster.items(f"/api/v1/namespaces/{ns}/events") if each["reason"] != "Told"]
    logged = [line for line in operator.log.splitlines() if ns in line]
    assert logged
    texts = json.dumps([crashed, refused, cluster.managedchart(ns, "one")["status"], written])
    for form in FORMS:
        assert form not in texts
        assert not any(form in line for line in logged)
