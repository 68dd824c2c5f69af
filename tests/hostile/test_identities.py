"""What a chart makes helm and the operator do is done with the account of its team, and with nothing else (S2, S3)."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import DEPLOYER, Tenant

RAW, WEB = {"path": str(CHARTS / "raw")}, {"path": str(CHARTS / "web")}
PASSWORD = "the-password-of-the-victim"


@pytest.fixture(scope="module", params=["by the spec", "by the setting"])
def attack(
    request: pytest.FixtureRequest,
    operator: OperatorProcess,
    operator_kubeconfig: Path,
    helm_binary: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """What a spec has to say about its account, which is named there, or by the setting for those that name none."""
    if request.param == "by the spec":
        yield {"serviceAccountName": DEPLOYER}
        return
    other = OperatorProcess(
        kubeconfig=operator_kubeconfig,
        folder=tmp_path_factory.mktemp("default-account"),
        helm=helm_binary,
        chart_roots=[CHARTS],
        MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT=DEPLOYER,
    )
    with _in_place_of(operator), other:
        yield {}
        assert "Traceback" not in other.log


@contextmanager
def _in_place_of(operator: OperatorProcess) -> Iterator[None]:
    """Two operators must not work on one cluster."""
    operator.stop()
    try:
        yield
    finally:
        operator.start()


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
    attacker, user = teams[0], f"system:serviceaccount:{teams[0].namespace}:{DEPLOYER}"
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
    """S3. With the lifecycle that adopts objects, with a target namespace, and with an adopted release."""
    attacker, there = teams[0], secret.namespace
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
    """S2. Neither its revision and chart, nor its pods, their Events and logs, also where the attacker names them."""
    attacker, victim = teams
    cluster.apply(
        managedchart(
            "web", WEB, values={"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}, wait=False, **attack
        ),
        namespace=victim.namespace,
    )
    cluster.wait_ready(victim.namespace, "web")
    spied = {"targetNamespace": victim.namespace, "releaseName": "web", "timeout": "3s"}
    for name, fields in {"spy": spied, "dry": {**spied, "dryRun": True}}.items():
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
