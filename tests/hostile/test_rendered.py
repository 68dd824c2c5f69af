"""S10: what a chart renders, or somebody writes into a release Secret, costs the operator neither memory nor time."""

import base64
import gzip
import json
from pathlib import Path

from conftest import CHARTS
from harness.chart_files import chart_files, write_chart
from harness.cluster import managedchart
from harness.loop_lag import MAX_SECONDS
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

WEB = {"path": str(CHARTS / "web")}
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n"


def test_output_that_no_release_can_hold_is_not_read(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant], chart_root: Path
) -> None:
    """S10: 100 bytes of a template that render 3 MB of lists, or 20 MB of text; others' charts go on."""
    attacker, victim = teams
    cluster = attacker.cluster
    lists = write_chart(chart_root / "lists", chart_files(a=HEAD + 'x: [{{ repeat 1000000 "[]," }}]\n'))
    text = write_chart(chart_root / "text", chart_files(a=HEAD + 'x: {{ repeat 20000000 "y" }}\n'))
    with operator.watching() as delays:
        for name, chart in (("lists", lists), ("text", text)):
            spec = {"lifecycle": {"name": "aws-vpc-cni"}, "dryRun": True, "retry": {"limit": 0}}
            attacker.create(managedchart(name, {"path": str(chart)}, **spec))
        victim.create(managedchart("web", WEB, wait=False))
        failures = {
            name: cluster.wait_failed(attacker.namespace, name)["status"]["lastFailure"] for name in ("lists", "text")
        }
        cluster.wait_ready(victim.namespace, "web")
    assert failures["lists"]["message"].endswith("it has more than 250000 values"), failures["lists"]
    # Or Helm itself needs more memory than it may have.
    assert failures["text"]["reason"] in ("ReleaseTooLarge", "ChartTooLarge"), failures["text"]
    assert delays.longest <= MAX_SECONDS, delays


def test_a_forged_release_costs_nothing(operator: OperatorProcess, teams: tuple[Tenant, Tenant]) -> None:
    """S10: some kilobytes of a release Secret that are megabytes of lists, or far more than a release can have."""
    attacker, victim = teams
    cluster, where = attacker.cluster, attacker.namespace
    forged = {
        "manifest": {"manifest": "kind: A\nx: [" + "[]," * 1_500_000 + "]\n"},
        "values": {"config": {"a": [[]] * 3_000_000}},
        "text": {"manifest": "x" * 100_000_000},
    }
    with operator.watching() as delays:
        for name, document in forged.items():
            data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode())))
            labels = {"owner": "helm", "name": name, "status": "deployed", "version": "1"}
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "helm.sh/release.v1",
                "metadata": {"name": f"sh.helm.release.v1.{name}.v1", "labels": labels},
                "data": {"release": data.decode()},
            }
            cluster.create(f"/api/v1/namespaces/{where}/secrets", secret)
            attacker.create(managedchart(name, WEB, retry={"limit": 0}, timeout="20s"))
        victim.create(managedchart("web", WEB, wait=False))
        cluster.wait_ready(victim.namespace, "web")
        for name in forged:
            cluster.wait_failed(where, name)
            attacker.delete(name)
        for name in forged:
            cluster.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{where}/managedcharts", name)
    assert delays.longest <= MAX_SECONDS, delays
