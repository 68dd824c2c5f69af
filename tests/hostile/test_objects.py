"""Objects of a team that are as large, or as deep, as the API server lets them be."""

import time

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

WEB = {"path": str(CHARTS / "web")}


def test_an_object_that_cannot_hold_its_status_costs_little(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """S26: an Event says so, with the remedy; the pause grows; the operator goes on, and a smaller spec is carried out."""
    attacker, victim = teams
    # What an earlier test has left is deleted in the background.
    attacker.cluster.wait_empty(f"{MANAGEDCHARTS}/managedcharts")
    began = time.monotonic()
    # 500 bytes below what etcd takes: it gets its finalizer, but no status.
    attacker.create(managedchart("full", WEB, action="Skip", values={"a": "x" * 1_571_600}))
    cluster, where = attacker.cluster, attacker.namespace
    [event] = cluster.wait_event(where, "full", "StatusTooLarge")
    assert f"kubectl -n {where} edit managedchart full" in event["message"]
    assert "next try in 30 s" in operator.log
    before = operator.metric("managedchart_api_requests_total")
    victim.create(managedchart("web", WEB, wait=False))
    cluster.wait_ready(victim.namespace, "web")
    # The install costs 28 of them. Without the pause there would be hundreds.
    assert operator.metric("managedchart_api_requests_total") - before < 60, operator.log
    tries = 1 + (time.monotonic() - began) // 30
    assert 1 <= operator.log.count(f"cannot write status {where}/full") <= tries

    path = f"{MANAGEDCHARTS}/namespaces/{where}/managedcharts"
    cluster.kubectl(
        "patch", "managedchart", "full", f"--namespace={where}", "--type=merge", '--patch={"spec":{"values":null}}'
    )
    cluster.wait_ready(where, "full")
    attacker.delete("full")
    cluster.wait_gone(path, "full")
