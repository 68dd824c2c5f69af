"""Checks of a deployed release run again on a real API server, without helm."""

import pytest

from e2e.fields.steps import WEB
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

CHECK = {"name": "gate", "phase": "Validate", "exists": {"kind": "ConfigMap", "name": "gate"}}
GATE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gate"}}


def test_a_check_fails_and_heals(cluster: Cluster, ns: str, operator: OperatorProcess) -> None:
    # What an earlier test has left is deleted in the background, also by helm.
    cluster.wait_empty(f"{MANAGEDCHARTS}/managedcharts")
    cluster.apply(GATE, namespace=ns)
    lifecycle = {"actions": [CHECK], "validation": {"every": "10s", "failureThreshold": 1}}
    cluster.apply(managedchart("a", WEB, lifecycle=lifecycle), namespace=ns)
    cluster.wait_ready(ns, "a")
    started = operator.metric("managedchart_helm_processes_started_total")

    cluster.delete(f"/api/v1/namespaces/{ns}/configmaps/gate")
    failed = cluster.wait_failed(ns, "a", "ValidationFailed")

    assert condition_of(failed, "Validated")["status"] == "False"
    assert failed["status"]["validation"]["origin"] == "spec"
    assert (
        failed["status"]["lastFailure"]["message"] == f"Action gate (exists) failed: ConfigMap {ns}/gate does not exist"
    )
    cluster.apply(GATE, namespace=ns)
    healed = cluster.wait_ready(ns, "a")
    assert "validation" not in healed["status"]
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    assert operator.metric("managedchart_helm_processes_started_total") == started
    assert cluster.wait_event(ns, "a", "ValidationPassed")


def test_an_interval_that_is_too_short_is_refused(cluster: Cluster, ns: str) -> None:
    body = managedchart("a", WEB, lifecycle={"actions": [CHECK], "validation": {"every": "1s"}})

    with pytest.raises(Exception, match="every can be 0s for never, or at least 10s"):
        cluster.kubectl_apply(body, namespace=ns)
