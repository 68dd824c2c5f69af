"""What team A can read, write, reserve, delay and delete of team B's: nothing, and no object of B's gets another version.

A knows the names of all that B has. What other modules of this folder show is not repeated; docs/security.md has the table.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from conftest import CHARTS, REPOSITORY
from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, current, managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import DEFAULT, Tenant, tenants

RAW, SMALL = {"path": str(CHARTS / "raw")}, contents(package_chart())
RBAC = "rbac.authorization.k8s.io"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/managedcharts.managedchart.dev"
PASSWORD = "the-password-of-payroll"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: payroll}\nstringData: {password: {{ .Values.password }}}\n"
PAYROLL = contents(package_chart(chart_files("payroll-system", "7.3.1", secret=SECRET), top="payroll-system"))
OF_B = (PASSWORD, base64.b64encode(PASSWORD.encode()).decode(), "payroll-system", "7.3.1")
"""What nobody else may learn."""
COLLECTIONS = (
    *(f"/api/v1/namespaces/{{}}/{name}" for name in ("configmaps", "events", "pods", "secrets", "serviceaccounts")),
    "/apis/batch/v1/namespaces/{}/jobs",
    f"/apis/{RBAC}/v1/namespaces/{{}}/rolebindings",
    f"{MANAGEDCHARTS}/namespaces/{{}}/managedcharts",
)


@pytest.fixture(scope="module")
def pair(cluster: Cluster, operator: OperatorProcess) -> Iterator[tuple[Tenant, Tenant]]:
    """A, and B with a release."""
    assert operator.running
    with tenants(cluster, "two-teams") as (a, b):
        b.create(managedchart("payroll", PAYROLL, values={"password": PASSWORD}))
        cluster.wait_ready(b.namespace, "payroll")
        cluster.wait_event(b.namespace, "payroll", "Deployed")
        yield a, b


def versions(team: Tenant) -> dict[tuple[str, str], str]:
    """The resourceVersions of all that a team has."""
    paths = [collection.format(team.namespace) for collection in COLLECTIONS]
    found = {(path, item["metadata"]["name"]): item for path in paths for item in team.cluster.items(path)}
    found["namespace", team.namespace] = team.cluster.get(f"/api/v1/namespaces/{team.namespace}") or {}
    # A controller makes it some time after the namespace.
    return {key: each["metadata"]["resourceVersion"] for key, each in found.items() if key[1] != "kube-root-ca.crt"}


@contextmanager
def nothing_happens(pair: tuple[Tenant, Tenant], operator: OperatorProcess) -> Iterator[None]:
    """Whatever A does meanwhile: nothing of B's changes, and A can read nothing of it, nor is it in the log about A."""
    a, b = pair
    before = versions(b)
    yield
    assert versions(b) == before
    events, charts = COLLECTIONS[1].format(a.namespace), COLLECTIONS[-1].format(a.namespace)
    about_a = [line for line in operator.log.splitlines() if a.namespace in line]
    said = json.dumps([a.cluster.items(events), a.cluster.items(charts), about_a])
    assert [secret for secret in OF_B if secret in said] == []


def failures(team: Tenant, charts: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Let the team create ManagedCharts, and return why each has failed."""
    names = [team.create(chart)["metadata"]["name"] for chart in charts]
    return {name: team.cluster.wait_failure(team.namespace, name)["lastFailure"] for name in names}


def reasons(failed: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: failure["reason"] for name, failure in failed.items()}


def chart(**templates: str) -> dict[str, str]:
    return contents(package_chart(chart_files(**templates)))


def once(name: str, source: dict[str, str], **spec: Any) -> dict[str, Any]:
    return managedchart(name, source, retry={"limit": 0}, **spec)


def test_reads(pair: tuple[Tenant, Tenant], operator: OperatorProcess) -> None:
    """Neither specs, releases and Events by lookup, nor with an account of B's name, nor from the operator's HTTP port."""
    a, b = pair
    reader = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "only-b-has-it"}}
    b.cluster.apply(reader, namespace=b.namespace)
    lookups = {
        "spec": f'"managedchart.dev/v1alpha1" "ManagedChart" "{b.namespace}" "payroll"',
        "release": f'"v1" "Secret" "{b.namespace}" "sh.helm.release.v1.payroll.v1"',
        "events": f'"v1" "Event" "{b.namespace}" ""',
        "teams": '"managedchart.dev/v1alpha1" "ManagedChart" "" ""',
    }
    attacks = [once(name, chart(x=f"{{{{ fail (toJson (lookup {what})) }}}}")) for name, what in lookups.items()]
    attacks.append(once("account", SMALL, serviceAccountName="only-b-has-it"))
    attacks.append(once("metrics", {"repository": f"http://127.1:{operator.port}/metrics", "name": "web"}))
    with nothing_happens(pair, operator):
        failed = failures(a, attacks)
    assert reasons(failed) == dict.fromkeys([*lookups, "account"], "Forbidden") | {"metrics": "ChartSourceUnauthorized"}
    assert failed["account"]["message"] == f"ServiceAccount only-b-has-it does not exist in namespace {a.namespace}"


def test_writes(pair: tuple[Tenant, Tenant], operator: OperatorProcess) -> None:
    """Neither a consent or a permission in B's name, nor B's ManagedCharts and what B runs, nor what all teams share."""
    a, b = pair
    grant = {
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": DEFAULT, "namespace": a.namespace}],
    }
    objects = {
        "consent": {"kind": "Namespace", "metadata": {"labels": {"managedchart.dev/from-any-namespace": "true"}}},
        "grant": {"kind": "RoleBinding", "apiVersion": f"{RBAC}/v1", "metadata": {"name": "charts"}, **grant},
        "deputy": managedchart("deputy", SMALL),
        "changed": managedchart("payroll", PAYROLL, values={"password": "chosen-by-a"}),
        "job": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "spy"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c"}]}}},
        },
    }
    for each in objects.values():
        each["metadata"] = {"name": b.namespace, "namespace": b.namespace, **each["metadata"]}
    objects["consent"] |= {"apiVersion": "v1"}
    del objects["consent"]["metadata"]["namespace"]
    # This lifecycle takes over objects that are not of the release.
    adopts = {"lifecycle": {"name": "aws-vpc-cni"}}
    attacks = [once(name, RAW, values={"objects": [each]}, **adopts) for name, each in objects.items()]
    annotations = {"helm.sh/hook": "pre-install", "helm.sh/hook-delete-policy": "before-hook-creation"}
    hook = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payroll", "namespace": b.namespace}}
    attacks.append(once("hook", chart(hook=json.dumps(_with(hook, annotations)))))
    crds = {"crds/crd.yaml": (REPOSITORY / "crds" / "managedchart.yaml").read_text()}
    attacks.append(once("crd", contents(package_chart(chart_files() | crds)), crds="CreateReplace"))
    crd = b.cluster.get(CRD)
    with nothing_happens(pair, operator):
        failed = failures(a, attacks)
        assert reasons(failed) == dict.fromkeys([*objects, "hook", "crd"], "Forbidden"), failed
    assert b.cluster.get(CRD) == crd


def _with(item: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}


def _claims(b: Tenant, release: str) -> Iterator[dict[str, Any]]:
    """ManagedCharts that name a release of B's, each in another way, and are tried again each second."""
    again = {"retry": {"limit": 1000, "backoff": "1s", "maxBackoff": "1s"}, "releaseName": release}
    ways: dict[str, dict[str, Any]] = {
        "deploys": {},
        "skips": {"action": "Skip"},
        "destroys": {"action": "Destroy"},
        "tries": {"dryRun": True},
        "restarts": {"lastBreakingVersionRequiringRestart": "1.0.0"},
        "fails": {"chart": {"path": "/nowhere"}},
    }
    for way, spec in ways.items():
        source = spec.pop("chart", SMALL)
        yield managedchart(f"{way}-{release}", source, targetNamespace=b.namespace, **again, **spec)


def test_reserves(pair: tuple[Tenant, Tenant], operator: OperatorProcess) -> None:
    """Neither the name of a release that B makes later, nor a namespace; and A does not learn which of them exist."""
    a, b = pair
    later = f"{b.namespace}-later"
    with nothing_happens(pair, operator):
        failed = failures(a, [*_claims(b, "ledger"), once("later", SMALL, targetNamespace=later)])
    message = f"Namespace {{}} does not accept releases of ManagedCharts in namespace {a.namespace}"
    assert {failure["message"].replace(later, b.namespace) for failure in failed.values()} == {
        message.format(b.namespace)
    }
    assert set(reasons(failed).values()) == {"Forbidden"}
    assert b.cluster.get(f"/api/v1/namespaces/{later}") is None
    b.create(managedchart("ledger", SMALL))
    b.cluster.wait_ready(b.namespace, "ledger")
    # It is the last that is written about it; the next test compares all that B has.
    b.cluster.wait_event(b.namespace, "ledger", "Deployed")
    assert b.cluster.revisions(b.namespace, "ledger") == [(1, "deployed")]


def test_delays(pair: tuple[Tenant, Tenant], operator: OperatorProcess) -> None:
    """Neither an install, nor an upgrade, nor a deletion of B waits for what A claims, or for A's deletions that hang."""
    a, b = pair
    claims = list(_claims(b, "stock"))
    hanging = [{**each, "metadata": {"name": f"{each['metadata']['name']}-hangs"}} for each in _claims(b, "stock")]
    for each in hanging:
        each["metadata"]["finalizers"] = ["example.com/never-removed"]
    try:
        with nothing_happens(pair, operator):
            failed = failures(a, [*claims, *hanging])
            assert set(reasons(failed).values()) == {"Forbidden"}
            for each in hanging:
                a.delete(each["metadata"]["name"])
        _lives_a_whole_life(a, b)
    finally:
        for each in hanging:
            name = each["metadata"]["name"]
            patch = '--patch={"metadata":{"finalizers":null}}'
            a.cluster.kubectl("patch", "managedchart", name, f"--namespace={a.namespace}", "--type=merge", patch)


def _lives_a_whole_life(a: Tenant, b: Tenant) -> None:
    """A release of B is installed, upgraded and deleted, and nothing of A is said meanwhile."""
    path = f"{MANAGEDCHARTS}/namespaces/{b.namespace}/managedcharts"
    before = b.cluster.version(path)
    b.create(managedchart("stock", SMALL))
    b.cluster.wait_ready(b.namespace, "stock")
    b.cluster.apply(managedchart("stock", SMALL, values={"message": "two"}), namespace=b.namespace)
    b.cluster.wait_ready(b.namespace, "stock")
    states = list(b.cluster.states_since(path, "stock", before))
    assert {condition_of(each, "Ready").get("reason") for each in states} <= {None, "Progressing", "Deployed"}
    assert a.namespace not in json.dumps(states)
    b.delete("stock")
    b.cluster.wait_gone(path, "stock")
    assert b.cluster.revisions(b.namespace, "stock") == []


def test_deletes(pair: tuple[Tenant, Tenant], operator: OperatorProcess) -> None:
    """Neither by an uninstall of B's release, nor by one of A's own, or an upgrade, after A has written B's objects into it."""
    a, b = pair
    charts = f"{MANAGEDCHARTS}/namespaces/{a.namespace}/managedcharts"
    with nothing_happens(pair, operator):
        claims = failures(a, _claims(b, "payroll"))
        for name in claims:
            a.delete(name)
        for name in ("upgraded", "uninstalled"):
            a.create(once(name, SMALL))
        for name in ("upgraded", "uninstalled"):
            a.cluster.wait_ready(a.namespace, name)
            _write_objects_of(b, a, name)
        a.delete("uninstalled")
        a.cluster.apply(once("upgraded", SMALL, values={"message": "two"}), namespace=a.namespace)
        failure = a.cluster.wait_failure(a.namespace, "uninstalled")["lastFailure"]
        assert failure["reason"] == "Forbidden", failure
        a.cluster.wait_chart(a.namespace, "upgraded", _done, what="done")
        for name in claims:
            a.cluster.wait_gone(charts, name)


def _done(found: dict[str, Any]) -> bool:
    """Whether the present generation was carried out, or is not for now."""
    ready = condition_of(found, "Ready")
    return current(found, ready) and ready["status"] != "Unknown" and not condition_of(found, "Reconciling")


def _write_objects_of(b: Tenant, a: Tenant, release: str) -> None:
    """Rewrite the stored release of A so that it contains what B has; A may do so, because the Secret is in A's namespace."""
    name = f"sh.helm.release.v1.{release}.v1"
    found = a.cluster.get(f"/api/v1/namespaces/{a.namespace}/secrets/{name}")
    assert found is not None
    document = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(found["data"]["release"]))))
    of_b = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payroll", "namespace": b.namespace}},
        {**managedchart("payroll", {}), "metadata": {"name": "payroll", "namespace": b.namespace}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": b.namespace}},
    ]
    document["manifest"] += "---\n" + yaml.safe_dump_all(of_b)
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"release": packed}}
    a.cluster.apply(secret, namespace=a.namespace)
