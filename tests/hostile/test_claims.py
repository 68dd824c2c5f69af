"""What a team can reserve of a namespace that accepts its releases: nothing that it does not deploy."""

import json
from typing import Any

import pytest

from harness.chart_files import contents, package_chart
from harness.cluster import MANAGEDCHARTS, managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

SMALL = contents(package_chart())


@pytest.mark.parametrize("spec", [{"action": "Skip"}, {"chart": {"path": "/nowhere"}}], ids=["skip", "fails"])
def test_who_deploys_nothing_reserves_nothing(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant], spec: dict[str, Any]
) -> None:
    """S16, with consent: the release belongs to who lives in its namespace, also from one that hangs."""
    assert operator.running
    attacker, victim = teams
    victim.accept(attacker)
    squat = managedchart("squat", targetNamespace=victim.namespace, releaseName="web", **{"chart": SMALL, **spec})
    squat["metadata"]["finalizers"] = ["example.com/never-removed"]
    attacker.create(squat)
    attacker.cluster.wait_chart(
        attacker.namespace, "squat", lambda found: (found.get("status") or {}).get("attempt"), what="seen"
    )
    if spec.get("action") == "Skip":
        attacker.delete("squat")
    victim.create(managedchart("web", SMALL))
    victim.cluster.wait_ready(victim.namespace, "web")
    path = f"{MANAGEDCHARTS}/namespaces/{attacker.namespace}/managedcharts"
    attacker.cluster.kubectl(
        "patch", "managedchart", "squat", f"--namespace={attacker.namespace}", "--type=merge",
        "--patch", '{"metadata":{"finalizers":null}}',
    )  # fmt: skip
    if spec.get("action") != "Skip":
        # Its next attempt finds whose the release is, and does not say it.
        attacker.cluster.kubectl(
            "annotate", "managedchart", "squat", "managedchart.dev/retry=1", f"--namespace={attacker.namespace}"
        )
        attacker.cluster.wait_failed(attacker.namespace, "squat", "ReleaseOwned")
        assert f"ManagedChart {victim.namespace}/web" not in json.dumps(
            attacker.cluster.managedchart(attacker.namespace, "squat")
        )
        attacker.delete("squat")
    attacker.cluster.wait_gone(path, "squat")
    assert victim.cluster.revisions(victim.namespace, "web") == [(1, "deployed")]
