"""What was in the cluster before a release, and what keeps data, when the first deployment fails."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.fields.steps import config, deploy, refused, small, uid
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

NEW = """
apiVersion: v1
kind: ConfigMap
metadata: {name: made}
data: {a: b}
"""
PRECIOUS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: precious}
data: {key: new}
"""
AGENT = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: LABEL}}
  template:
    metadata: {labels: {app: LABEL}, annotations: {devcluster.managedchart.dev/fail: "MODE"}}
    spec: {containers: [{name: main, image: registry.example/x:1}]}
"""
DATABASE = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  podManagementPolicy: Parallel  # else Kubernetes never replaces a broken pod
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}, annotations: {devcluster.managedchart.dev/fail: "MODE"}}
    spec: {containers: [{name: main, image: registry.example/x:1}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
SHORT: dict[str, Any] = {"timeout": "6s", "retry": {"limit": 0}}


def agent(label: str, mode: str = "") -> str:
    return AGENT.replace("LABEL", label).replace("MODE", mode)


def marked(ns: str, release: str, text: str) -> dict[str, Any]:
    """An object as a person marks it, following the hint of ObjectOwned."""
    found: dict[str, Any] = yaml.safe_load(text)
    meta = found["metadata"]
    meta["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    meta["annotations"] = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": ns}
    return found


def uids(cluster: Cluster, ns: str) -> tuple[str, str]:
    return (
        uid(cluster, f"/apis/apps/v1/namespaces/{ns}/daemonsets/agent"),
        uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/precious"),
    )


@pytest.mark.parametrize(("label", "mode"), [("other", ""), ("agent", "crash")], ids=["ImmutableField", "CrashLoop"])
def test_a_failed_first_install_leaves_existing_objects(
    cluster: Cluster, ns: str, chart_root: Path, label: str, mode: str
) -> None:
    """What it made itself is uninstalled; the status names what was left."""
    cluster.apply(marked(ns, "a", agent("agent")), marked(ns, "a", PRECIOUS.replace("new", "old")), namespace=ns)
    before = uids(cluster, ns)
    chart = small(chart_root, name=f"adopts-{label}", made=NEW, precious=PRECIOUS, agent=agent(label, mode))
    cluster.apply(managedchart("a", chart, **SHORT), namespace=ns)
    found = cluster.wait_chart(ns, "a", _uninstalled, what="uninstalled")
    told = condition_of(found, "Stalled")["message"]
    assert f"DaemonSet {ns}/agent" in told
    assert f"ConfigMap {ns}/precious" in told
    assert "ConfigMap {ns}/made" not in told
    assert uids(cluster, ns) == before
    assert config(cluster, ns, "made") is None
    assert cluster.revisions(ns, "a") == []
    [event] = cluster.wait_event(ns, "a", "Uninstalled")
    assert "agent" in event["message"]


def test_a_failed_upgrade_leaves_adopted_objects(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """A rollback by helm would delete what only the failed revision renders."""
    deploy(cluster, ns, "a", small(chart_root, name="grows"))
    cluster.apply(marked(ns, "a", PRECIOUS.replace("new", "old")), namespace=ns)
    before = uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/precious")
    grown = small(chart_root, "2.0.0", name="grows", made=NEW, precious=PRECIOUS, agent=agent("agent", "crash"))
    cluster.apply(managedchart("a", grown, **SHORT), namespace=ns)
    found = cluster.wait_chart(
        ns, "a", lambda chart: condition_of(chart, "Stalled").get("message", "").startswith("Rolled back"), what="back"
    )
    assert f"ConfigMap {ns}/precious" in condition_of(found, "Stalled")["message"]
    assert uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/precious") == before
    assert config(cluster, ns, "made") is None


def test_a_failed_install_with_data_is_upgraded(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """A claim would outlive an uninstall, and a password that the next install generates would not fit its data."""
    bad = small(chart_root, name="db", db=DATABASE.replace("MODE", "crash"))
    refused(cluster, ns, "a", bad, **SHORT)
    found = cluster.wait_chart(
        ns, "a", lambda chart: "is left as it is" in condition_of(chart, "Stalled").get("message", ""), what="left"
    )
    assert "would leave the data of StatefulSet db" in condition_of(found, "Stalled")["message"]
    assert cluster.revisions(ns, "a") == [(1, "failed")]
    before = uid(cluster, f"/apis/apps/v1/namespaces/{ns}/statefulsets/db")
    good = small(chart_root, "1.0.1", name="db", db=DATABASE.replace("MODE", ""))
    deploy(cluster, ns, "a", good)
    assert uid(cluster, f"/apis/apps/v1/namespaces/{ns}/statefulsets/db") == before


def _uninstalled(chart: dict[str, Any]) -> bool:
    return condition_of(chart, "Stalled").get("message", "").startswith("The failed first install was uninstalled")
