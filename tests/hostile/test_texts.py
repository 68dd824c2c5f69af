"""S9, S19, S29: texts that a chart makes helm, the API server and the operator repeat."""

from pathlib import Path

from conftest import CHARTS
from harness.chart_files import chart_files, write_chart
from harness.cluster import managedchart
from harness.loop_lag import MAX_SECONDS
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

WEB = {"path": str(CHARTS / "web")}
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n"
HIDDEN = "\\u001b[2J\\rgone\\u202e"


def test_no_error_text_holds_up_the_operator(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant], chart_root: Path
) -> None:
    """S9: a label of 40 KB, which was 81 s of the event loop; a message of addresses and of passwords; others go on."""
    attacker, victim = teams
    cluster = attacker.cluster
    templates = {
        "label": HEAD + '  labels: {x: {{ repeat 8000 "a:1:1" | quote }}}\n',
        "addresses": '{{ fail (repeat 20000 "http://a:b") }}',
        "passwords": '{{ fail (repeat 10000 "password: x://") }}',
        "lines": '{{ fail (repeat 10000 "\\nfailed pre-x: resource a/b/c not ready. status: ") }}',
    }
    with operator.watching() as delays:
        for name, template in templates.items():
            chart = write_chart(chart_root / f"texts-{name}", chart_files(a=template))
            attacker.create(managedchart(name, {"path": str(chart)}, retry={"limit": 0}))
        victim.create(managedchart("web", WEB, wait=False))
        for name in templates:
            failure = cluster.wait_failed(attacker.namespace, name)["status"]["lastFailure"]
            assert len(failure["message"]) <= 1024
        cluster.wait_ready(victim.namespace, "web")
    assert delays.longest <= MAX_SECONDS, delays


def test_control_characters_reach_nobody(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant], chart_root: Path
) -> None:
    """S29: neither status nor Event nor log has what would change how a terminal shows it."""
    attacker, _ = teams
    cluster, where = attacker.cluster, attacker.namespace
    files = chart_files(a=f'{{{{ fail "wrong {HIDDEN} value" }}}}')
    files["Chart.yaml"] += f'appVersion: "1{HIDDEN}"\n'
    chart = write_chart(chart_root / "control", files)
    attacker.create(managedchart("control", {"path": str(chart)}, retry={"limit": 0}))
    failed = cluster.wait_failed(where, "control", "TemplateError")
    [event] = cluster.wait_event(where, "control", "TemplateError")
    for text in (failed["status"]["lastFailure"]["message"], event["message"], operator.log):
        assert "gone value" in text
        assert not {"\x1b", "\r", "\u202e"} & set(text)
