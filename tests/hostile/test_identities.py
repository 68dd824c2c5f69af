"""What a chart makes helm and the operator do is done with the account of its team, and with nothing else (S2, S3)."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import CHARTS
from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, managedchart
from harness.operator_process import SERVICE_ACCOUNT, SYSTEM_NAMESPACE, OperatorProcess
from harness.tenants import DEFAULT, DEPLOYER, Tenant

RAW, WEB = {"path": str(CHARTS / "raw")}, {"path": str(CHARTS / "web")}
PASSWORD = "the-password-of-the-victim"


@pytest.fixture(scope="module", params=["by the spec", "by the setting", "by an operator with all permissions"])
def attack(request: pytest.FixtureRequest, operator: OperatorProcess, cluster: Cluster) -> Iterator[dict[str, str]]:
    """What a spec has to say about its account, which is named there, or by the setting for those that name none.

    With all permissions an operator that forgets once to impersonate does not fail, so the attack succeeds.
    """
    assert operator.running
    if request.param != "by an operator with all permissions":
        yield {"serviceAccountName": DEPLOYER} if request.param == "by the spec" else {}
        return
    account = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": SYSTEM_NAMESPACE}
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "all-permissions"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [account],
        }
    )
    yield {}
    cluster.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/all-permissions")


@pytest.fixture
def secret(cluster: Cluster, teams: tuple[Tenant, Tenant]) -> Tenant:
    """A Secret of the victim; returns the victim."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": PASSWORD}}
    cluster.apply(body, namespace=teams[1].namespace)
    return teams[1]


def refused(cluster: Cluster, attacker: Tenant, chart: dict[str, Any]) -> str:
    """Let the attacker create a ManagedChart, and return its message once it is Forbidden; it shows nothing of the Secret."""
    attacker.create({**chart, "spec": {**chart["spec"], "retry": {"limit": 0}}})
    name = chart["metadata"]["name"]
    found = cluster.wait_failed(attacker.namespace, name, "Forbidden")
    events = cluster.items(f"/api/v1/namespaces/{attacker.namespace}/events")
    shown = json.dumps([found["status"], events])
    assert PASSWORD not in shown
    assert base64.b64encode(PASSWORD.encode()).decode() not in shown
    return str(condition_of(found, "Ready")["message"])


def test_a_lookup_reads_no_secret_of_another_namespace(
    cluster: Cluster, attack: dict[str, str], teams: tuple[Tenant, Tenant], secret: Tenant
) -> None:
    """S2. By name and by list; into an object, and by a dry run into the error message, which needs no permission to write."""
    attacker, account = teams[0], attack.get("serviceAccountName", DEFAULT)
    user = f"system:serviceaccount:{attacker.namespace}:{account}"
    by_name = f'(lookup "v1" "Secret" "{secret.namespace}" "db").data'
    charts = {
        "store": managedchart("store", _chart(_loot(by_name)), **attack),
        "tell": managedchart("tell", _chart("{{ fail (toJson " + by_name + ") }}"), dryRun=True, **attack),
        "list": managedchart("list", _chart(_loot('(lookup "v1" "Secret" "" "")')), **attack),
    }
    for name, chart in charts.items():
        message = refused(cluster, attacker, chart)
        verb, where = ("list", "cluster-wide") if name == "list" else ("get", f"in namespace {secret.namespace}")
        assert message.startswith(f"User {user} has no permission to {verb} secrets {where}"), message
    assert cluster.get(f"/api/v1/namespaces/{attacker.namespace}/configmaps/loot") is None
    _goes_on(cluster, secret)


def test_nothing_is_written_into_another_namespace(
    cluster: Cluster, attack: dict[str, str], teams: tuple[Tenant, Tenant], secret: Tenant
) -> None:
    """S3. With the lifecycle that adopts objects, and with a target namespace, also where that accepts the attacker."""
    attacker, there = teams[0], secret.namespace
    secret.accept(attacker)
    forged = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": there},
        "stringData": {"password": "chosen-by-the-attacker"},
    }
    planted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planted", "namespace": there}}
    adopts = {"values": {"objects": [forged]}, "lifecycle": {"name": "aws-vpc-cni"}, **attack}
    refused(cluster, attacker, managedchart("adopts", RAW, **adopts))
    refused(cluster, attacker, managedchart("plants", RAW, values={"objects": [planted]}, **attack))
    refused(cluster, attacker, managedchart("moves", RAW, targetNamespace=there, values={"objects": []}, **attack))
    found = cluster.get(f"/api/v1/namespaces/{there}/secrets/db")
    assert found is not None
    assert base64.b64decode(found["data"]["password"]).decode() == PASSWORD
    assert "labels" not in found["metadata"], "nothing was marked either"
    assert cluster.get(f"/api/v1/namespaces/{there}/configmaps/planted") is None
    _goes_on(cluster, secret)


def test_nothing_of_another_teams_release_and_pods_is_shown(
    cluster: Cluster, attack: dict[str, str], teams: tuple[Tenant, Tenant]
) -> None:
    """S2. Neither its revision and chart, nor its pods, their Events and logs, also where the attacker may name them."""
    attacker, victim = teams
    victim.accept(attacker)
    cluster.apply(
        managedchart(
            "web", WEB, values={"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}, wait=False, **attack
        ),
        namespace=victim.namespace,
    )
    cluster.wait_ready(victim.namespace, "web")
    # No ManagedChart owns this one, so the attacker is not refused for that.
    labels = {"owner": "helm", "name": "by-hand", "status": "deployed", "version": "1"}
    by_hand = {
        "type": "helm.sh/release.v1",
        "metadata": {"name": "sh.helm.release.v1.by-hand.v1", "labels": labels},
        "stringData": {"release": "what only helm reads"},
    }
    cluster.create(f"/api/v1/namespaces/{victim.namespace}/secrets", by_hand)
    spied = {"targetNamespace": victim.namespace, "releaseName": "web", "timeout": "3s"}
    spies = {"spy": spied, "dry": {**spied, "dryRun": True}, "takes-over": {**spied, "releaseName": "by-hand"}}
    for name, fields in spies.items():
        chart = managedchart(name, WEB, **fields, **attack)
        attacker.create({**chart, "spec": {**chart["spec"], "retry": {"limit": 0}}})
        found = cluster.wait_failed(attacker.namespace, name)
        status = found["status"]
        assert "release" not in status
        failure = status["lastFailure"]
        assert failure.get("events", []) == failure.get("containers", []) == []
        events = cluster.items(f"/api/v1/namespaces/{attacker.namespace}/events")
        shown = json.dumps([status["conditions"], failure, [event["message"] for event in events]])
        assert "revision 1" not in shown
        attacker.delete(name)
    for name in spies:
        cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{attacker.namespace}/managedcharts", name)
    events = cluster.items(f"/api/v1/namespaces/{attacker.namespace}/events")
    assert "revision 1" not in json.dumps([event["message"] for event in events])
    for release in ("web", "by-hand"):
        assert cluster.revisions(victim.namespace, release) == [(1, "deployed")]
    _goes_on(cluster, victim)


def _loot(lookup: str) -> str:
    """A template that stores the result of a lookup."""
    data = "{loot: {{ toJson " + lookup + " | quote }}}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: loot}}\ndata: {data}\n"


def _chart(template: str) -> dict[str, str]:
    return contents(package_chart(chart_files(attack=template)))


def _goes_on(cluster: Cluster, victim: Tenant) -> None:
    """The victim's own charts are still deployed, on behalf of its own account."""
    cluster.apply(managedchart("own", WEB, serviceAccountName=DEPLOYER), namespace=victim.namespace)
    cluster.wait_ready(victim.namespace, "own")
