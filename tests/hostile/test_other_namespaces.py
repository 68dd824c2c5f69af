"""What a team gets of the namespaces and the files of another one: nothing without its consent."""

import json
from pathlib import Path
from typing import Any

from harness.chart_files import chart_files, contents, package_chart, write_chart
from harness.cluster import MANAGEDCHARTS, condition_of, managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import Tenant

SMALL = contents(package_chart())
PAYROLL = contents(package_chart(chart_files("payroll-system", "7.3.1"), top="payroll-system"))


def _said(team: Tenant, *names: str) -> str:
    """What the team can read: its ManagedCharts, and the Events of its namespace."""
    charts = [team.cluster.managedchart(team.namespace, name) for name in names]
    return json.dumps([charts, team.cluster.items(f"/api/v1/namespaces/{team.namespace}/events")])


def _into(team: Tenant, name: str, release: str, **spec: Any) -> dict[str, Any]:
    """A ManagedChart with a release in the namespace of another team."""
    return managedchart(name, spec.pop("chart", SMALL), targetNamespace=team.namespace, releaseName=release, **spec)


def test_without_consent_a_namespace_is_closed(operator: OperatorProcess, teams: tuple[Tenant, Tenant]) -> None:
    """S16: neither does a team reserve a release of another one, nor learn anything about it."""
    attacker, victim = teams
    attacker.create(_into(victim, "squat", "web", action="Skip"))
    attacker.create(_into(victim, "squat-too", "web", chart={"path": "/nowhere"}))
    attacker.cluster.wait_failed(attacker.namespace, "squat", "Forbidden")
    victim.create(managedchart("web", SMALL))
    victim.create(managedchart("payroll", PAYROLL))
    for name in ("web", "payroll"):
        victim.cluster.wait_ready(victim.namespace, name)

    attacker.create(_into(victim, "spy", "payroll", retry={"limit": 0}))
    attacker.create(_into(victim, "spy-dry", "payroll", dryRun=True))
    for name in ("spy", "spy-dry", "squat-too"):
        refused = attacker.cluster.wait_failed(attacker.namespace, name, "Forbidden")
        assert "release" not in refused["status"]
        hint = refused["status"]["lastFailure"]["hint"]
        assert f"kubectl label namespace {victim.namespace} from.managedchart.dev/{attacker.namespace}=true" in hint
    attacker.delete("spy")
    attacker.cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{attacker.namespace}/managedcharts", "spy")
    said = _said(attacker, "squat", "squat-too", "spy-dry")
    for secret in ("payroll-system", "7.3.1", "evision 1", "superseded", "ReleaseLeft", "TakingOver", "exist"):
        assert secret not in said
    about_attacker = [line for line in operator.log.splitlines() if attacker.namespace in line]
    assert not [line for line in about_attacker if "payroll-system" in line or "revision" in line]
    assert victim.cluster.revisions(victim.namespace, "payroll") == [(1, "deployed")]


def test_consent_is_given_and_withdrawn_without_a_restart(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """S16: a consent that ends touches nothing, and what was deployed with it can still be uninstalled."""
    assert operator.running
    guest, host = teams
    cluster = guest.cluster
    guest.create(_into(host, "guest", "guest"))
    cluster.wait_failed(guest.namespace, "guest", "Forbidden")
    # A permission is a consent, too. A label alone would be none that the account can use.
    host.grant(guest, "admin")
    cluster.wait_ready(guest.namespace, "guest")
    host.grant(guest, "edit-only", verbs=["get", "list", "watch", "update", "patch", "delete"])
    host.revoke(guest, "admin")
    refused = cluster.wait_failed(guest.namespace, "guest", "Forbidden")
    assert condition_of(refused, "Ready")["message"].endswith("; the release that was deployed there is left as it is")
    assert cluster.revisions(host.namespace, "guest") == [(1, "deployed")]
    guest.delete("guest")
    cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{guest.namespace}/managedcharts", "guest")
    assert cluster.revisions(host.namespace, "guest") == []


def test_a_team_reads_only_its_own_chart_root(
    operator: OperatorProcess, teams: tuple[Tenant, Tenant], chart_root: Path, team_folders: Path
) -> None:
    """S23: values files of another team may have its passwords."""
    attacker, victim = teams
    assert operator.running
    chart = write_chart(chart_root / "small")
    for team in teams:
        (team_folders / team.namespace).mkdir()
        (team_folders / team.namespace / "values.yaml").write_text(f"message: of {team.namespace}\n")
    files = {team: str(team_folders / team.namespace / "values.yaml") for team in teams}
    attacker.create(managedchart("own", {"path": str(chart)}, valuesFiles=[files[attacker]]))
    attacker.create(managedchart("thief", {"path": str(chart)}, valuesFiles=[files[victim]]))
    attacker.cluster.wait_ready(attacker.namespace, "own")
    refused = attacker.cluster.wait_failed(attacker.namespace, "thief", "PathNotAllowed")
    assert victim.namespace not in condition_of(refused, "Ready")["message"].partition("is not below")[2]


def test_a_forged_status_reserves_nothing(operator: OperatorProcess, teams: tuple[Tenant, Tenant]) -> None:
    """S16: neither one that says that nobody has refused it, nor one with so much in it that it takes long to be read."""
    attacker, victim = teams
    cluster = attacker.cluster
    attacker.create(_into(victim, "squat", "shop"))
    cluster.wait_failed(attacker.namespace, "squat", "Forbidden")
    record = {"revision": 1, "action": "Install", "outcome": "deployed", "time": "2030-01-01T00:00:00Z"}
    phase = {"name": "Exec", "state": "Running", "startedAt": "2030-01-01T00:00:00Z"}
    forged = {"attempt": {"outlook": "Retry"}, "history": [record], "phases": [phase] * 1000}
    cluster.kubectl(
        "patch", "managedchart", "squat", f"--namespace={attacker.namespace}", "--subresource=status", "--type=merge",
        f"--patch={json.dumps({'status': forged})}",
    )  # fmt: skip
    victim.create(managedchart("shop", SMALL))
    cluster.wait_ready(victim.namespace, "shop")
    attacker.delete("squat")
    cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{attacker.namespace}/managedcharts", "squat")
    assert cluster.revisions(victim.namespace, "shop") == [(1, "deployed")]
    assert operator.running
