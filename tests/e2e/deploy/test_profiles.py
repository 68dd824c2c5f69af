"""Each profile of deploy/profiles/ on a real API server, with exactly its permissions."""

import base64
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_kind import KindCluster

from conftest import CHARTS
from e2e.removal.platform import delete_crd, wait_crd_gone, workloads
from harness.chart_files import chart_files, write_chart
from harness.cluster import (
    MANAGEDCHARTS,
    Cluster,
    cluster_beside,
    managedchart,
    namespace,
)
from harness.operator_process import OperatorProcess
from harness.profiles import NAMESPACED, grant_namespace, install_without_permissions, installed, may

WEB = {"path": str(CHARTS / "web")}
Install = Callable[..., AbstractContextManager[OperatorProcess]]
_numbers = itertools.count(1)
# A pod that fails at once, with the events and statuses that a kubelet writes.
CRASH = {"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}
ONCE = {"retry": {"limit": 0}, "timeout": "20s"}


@pytest.fixture(scope="module")
def profile_cluster(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which no other operator works, with the CRD and without any permission for the operator."""
    with cluster_beside(kind_cluster, "profiles", tmp_path_factory.mktemp("profiles-cluster")) as own:
        found = Cluster(own)
        install_without_permissions(found)
        yield found


def charts_in(namespace: str) -> str:
    return f"{MANAGEDCHARTS}/namespaces/{namespace}/managedcharts"


def lives_a_whole_life(cluster: Cluster, namespace: str, **spec: Any) -> None:
    """A chart is deployed, upgraded, fails with evidence, and is deleted with all that it made."""
    cluster.apply(managedchart("web", WEB, **spec), namespace=namespace)
    cluster.wait_ready(namespace, "web")
    cluster.apply(managedchart("web", WEB, values={"message": "two"}, **spec), namespace=namespace)
    cluster.wait_ready(namespace, "web")
    assert cluster.revisions(namespace, "web") == [(1, "superseded"), (2, "deployed")]

    cluster.apply(managedchart("web", WEB, values={"message": "three", **CRASH}, **ONCE, **spec), namespace=namespace)
    chart = cluster.wait_failed(namespace, "web", "CrashLoop")
    failure = chart["status"]["lastFailure"]
    assert not failure.get("incomplete"), failure
    assert failure["events"], "the evidence has no Events"
    assert any(container.get("log") for container in failure["containers"]), "the evidence has no log"

    cluster.delete(f"{charts_in(namespace)}/web")
    cluster.wait_gone(charts_in(namespace), "web")
    assert cluster.revisions(namespace, "web") == []
    assert cluster.items(f"/apis/apps/v1/namespaces/{namespace}/deployments") == []


def secret(name: str, value: str) -> dict[str, Any]:
    encoded = base64.b64encode(value.encode()).decode()
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {"password": encoded}}


@pytest.fixture
def reading_chart(tmp_path: Path) -> Path:
    """S2: a chart that reads a Secret of somebody else and shows it by its failure."""
    template = '{{ fail (printf "stolen: %v" (lookup "v1" "Secret" .Values.namespace .Values.name)) }}'
    return write_chart(tmp_path / "attacks" / "reading", chart_files("reading", fail=template))


@pytest.fixture
def install(profile_cluster: Cluster, helm_binary: str, tmp_path: Path, reading_chart: Path) -> Install:
    """Installs a profile; the operator may use the chart of the attack."""
    return partial(installed, profile_cluster, folder=tmp_path, helm=helm_binary, chart_roots=[reading_chart.parent])


@pytest.fixture
def teams(profile_cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The namespaces of the attacker and of the victim; the account `default` of each may deploy in its own."""
    with ExitStack() as stack:
        names = [f"team-{letter}-{next(_numbers)}" for letter in "xy"]
        for name in names:
            stack.enter_context(namespace(profile_cluster, name))
            account = f"--serviceaccount={name}:default"
            profile_cluster.kubectl(
                "create", "rolebinding", "charts", "--clusterrole=admin", account, f"--namespace={name}"
            )
        yield names[0], names[1]


def reading(chart: Path, *, where: str, name: str) -> dict[str, Any]:
    """S2: a ManagedChart that shows a Secret of somebody else, or all of them, by its failure."""
    return managedchart("reads", {"path": str(chart)}, values={"namespace": where, "name": name}, **ONCE)


def writing(*, where: str, lifecycle: str = "default") -> dict[str, Any]:
    """S3: a ManagedChart that overwrites a Secret of somebody else; the lifecycle adopts it."""
    overwritten = secret("db", "chosen-by-the-attacker")
    overwritten["metadata"]["namespace"] = where
    raw = {"path": str(CHARTS / "raw")}
    return managedchart("writes", raw, values={"objects": [overwritten]}, lifecycle={"name": lifecycle}, **ONCE)


def attempt(cluster: Cluster, namespace: str, chart: dict[str, Any]) -> dict[str, Any]:
    """Let a ManagedChart fail, delete it, and return its last failure."""
    name = chart["metadata"]["name"]
    cluster.apply(chart, namespace=namespace)
    failed = cluster.wait_failed(namespace, name)
    cluster.delete(f"{charts_in(namespace)}/{name}")
    cluster.wait_gone(charts_in(namespace), name)
    failure: dict[str, Any] = failed["status"]["lastFailure"]
    return failure


def reads_and_writes_nothing_of(cluster: Cluster, victim: str, *, attacker: str, chart: Path) -> None:
    """S2 in kube-system and in the victim's namespace, S3 in the latter: Forbidden, and what was there is as it was."""
    cluster.apply(secret("cloud", "of-the-cluster"), namespace="kube-system")
    before = cluster.get(f"/api/v1/namespaces/{victim}/secrets/db")
    attacks = [
        reading(chart, where="kube-system", name="cloud"),
        reading(chart, where=victim, name="db"),
        reading(chart, where=victim, name=""),
        writing(where=victim),
        writing(where=victim, lifecycle="aws-vpc-cni"),
        managedchart("into", WEB, targetNamespace=victim, **ONCE),
    ]
    for attack in attacks:
        failure = attempt(cluster, attacker, attack)
        assert failure["reason"] == "Forbidden", failure
        assert "stolen" not in str(failure)
    assert cluster.get(f"/api/v1/namespaces/{victim}/secrets/db") == before
    assert cluster.revisions(victim, "into") == []


# ---- cluster-admin


def test_cluster_admin_is_closed_by_a_default_account(
    profile_cluster: Cluster, install: Install, reading_chart: Path, teams: tuple[str, str]
) -> None:
    """S2 and S3 succeed in the profile cluster-admin, as docs/security.md says, and no longer with one setting."""
    cluster, (attacker, victim) = profile_cluster, teams
    cluster.apply(secret("db", "of-the-victim"), namespace=victim)
    with install(None) as operator:
        operator.start()
        assert "ManagedCharts without spec.serviceAccountName run with the permissions of the operator" in operator.log
        assert "stolen: map[" in attempt(cluster, attacker, reading(reading_chart, where=victim, name="db"))["message"]
        cluster.apply(writing(where=victim, lifecycle="aws-vpc-cni"), namespace=attacker)
        cluster.wait_ready(attacker, "writes")
        assert (cluster.get(f"/api/v1/namespaces/{victim}/secrets/db") or {})["data"] == secret(
            "db", "chosen-by-the-attacker"
        )["data"]
        cluster.delete(f"{charts_in(attacker)}/writes")
        cluster.wait_gone(charts_in(attacker), "writes")
    cluster.apply(secret("db", "of-the-victim"), namespace=victim)
    with install(None, MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT="default") as operator:
        operator.start()
        reads_and_writes_nothing_of(cluster, victim, attacker=attacker, chart=reading_chart)
    assert "Traceback" not in operator.log, operator.log


# ---- impersonate


@pytest.mark.parametrize("component", ["impersonate", "impersonate-legacy"])
def test_impersonate_gives_each_team_its_own_permissions(
    profile_cluster: Cluster, install: Install, reading_chart: Path, teams: tuple[str, str], component: str
) -> None:
    """S2 and S3: nothing of another team or of the cluster is read or written, with either kind of impersonation."""
    cluster, (attacker, victim) = profile_cluster, teams
    legacy = component == "impersonate-legacy"
    cluster.apply(secret("db", "of-the-victim"), namespace=victim)
    with install(component) as operator:
        assert may(cluster, "impersonate", "serviceaccounts") is legacy
        for verb, resource, group in (
            ("create", "secrets", ""),
            ("delete", "secrets", ""),
            ("list", "pods", ""),
            ("list", "events", ""),
            ("list", "jobs", "batch"),
            ("patch", "deployments", "apps"),
        ):
            assert not may(cluster, verb, resource, group=group)
        operator.start()
        kind = "the verb impersonate" if legacy else "constrained impersonation"
        assert (
            f"impersonating ServiceAccounts by {kind}; ManagedCharts without spec.serviceAccountName run as default"
            in operator.log
        )
        if not legacy:
            lives_a_whole_life(cluster, attacker)
        reads_and_writes_nothing_of(cluster, victim, attacker=attacker, chart=reading_chart)
    assert "Traceback" not in operator.log, operator.log


def test_impersonate_does_not_start_without_the_permission(profile_cluster: Cluster, install: Install) -> None:
    """And not without the account: charts would run with the permissions of the operator."""
    with install("impersonate", MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT="") as operator:
        assert "MANAGEDCHART_DEFAULT_SERVICE_ACCOUNT is not set" in operator.refusal()
    with install("impersonate") as operator:
        profile_cluster.kubectl("delete", "clusterrolebinding", "managedchart-operator-impersonation")
        said = operator.refusal()
        assert "The operator cannot impersonate the ServiceAccount default" in said
        assert "deploy/profiles/impersonate" in said


# ---- namespaced


def test_namespaced_works_without_any_cluster_wide_permission(
    profile_cluster: Cluster, install: Install, reading_chart: Path, tmp_path: Path, teams: tuple[str, str]
) -> None:
    """In the namespaces of its list, also in one that is made later, or made again; S2 and S3 are refused outside."""
    cluster, (home, victim), later = profile_cluster, teams, "made-later"
    cluster.apply(secret("db", "of-the-victim"), namespace=victim)
    with install(NAMESPACED, namespaces=(home, later)) as operator:
        for verb, resource, group in (
            ("list", "managedcharts", "managedchart.dev"),
            ("get", "customresourcedefinitions", "apiextensions.k8s.io"),
            ("list", "secrets", ""),
            ("get", "nodes", ""),
        ):
            assert not may(cluster, verb, resource, group=group)
        operator.start()
        assert "its schema was checked as the API server publishes it" in operator.log
        lives_a_whole_life(cluster, home)
        reads_and_writes_nothing_of(cluster, victim, attacker=home, chart=reading_chart)
        for _ in range(2):  # the second time it is made again; without a restart
            with namespace(cluster, later):
                grant_namespace(cluster, tmp_path, later)
                cluster.apply(managedchart("web", WEB), namespace=later)
                cluster.wait_ready(later, "web")
                cluster.delete(f"{charts_in(later)}/web")
                cluster.wait_gone(charts_in(later), "web")
            cluster.wait_gone("/api/v1/namespaces", later)
    assert "Traceback" not in operator.log, operator.log


def test_namespaced_keeps_the_releases_when_the_crd_is_deleted(
    profile_cluster: Cluster, install: Install, teams: tuple[str, str]
) -> None:
    """Although the operator may not read the CRD: discovery shows it."""
    cluster, (home, _) = profile_cluster, teams
    with install(NAMESPACED, namespaces=(home,)) as operator:
        operator.start()
        cluster.apply(managedchart("web", WEB), namespace=home)
        cluster.wait_ready(home, "web")
        before = workloads(cluster, home)
        delete_crd(cluster)
        wait_crd_gone(cluster)
        assert cluster.revisions(home, "web") == [(1, "deployed")]
        assert workloads(cluster, home) == before
        assert operator.wait() == 1
        assert "ManagedCharts can no longer be watched" in operator.log
    install_without_permissions(cluster)
