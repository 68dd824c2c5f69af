"""Each profile of deploy/profiles/ on a real API server, with exactly its permissions."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_kind import KindCluster

from conftest import CHARTS, REPOSITORY
from e2e.deploy.profiles import NAMESPACED, grant_namespace, installed, may
from e2e.removal.platform import delete_crd, wait_crd_gone, workloads
from harness.chart_files import chart_files, write_chart
from harness.cluster import MANAGEDCHARTS, Cluster, cluster_beside, install_operator_objects, managedchart

WEB = {"path": str(CHARTS / "web")}
STARTED = "managedchart_helm_processes_started_total"
# A pod that fails at once, with the events and statuses that a kubelet writes.
CRASH = {"podAnnotations": {"devcluster.managedchart.dev/fail": "crash"}}
ONCE = {"retry": {"limit": 0}, "timeout": "20s"}


@pytest.fixture(scope="module")
def profile_cluster(kind_cluster: KindCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which no other operator works, with the CRD and without any permission for the operator."""
    with cluster_beside(kind_cluster, "profiles", tmp_path_factory.mktemp("profiles-cluster")) as own:
        found = Cluster(own)
        install_operator_objects(found, REPOSITORY)
        found.kubectl("delete", "-f", str(REPOSITORY / "deploy" / "rbac.yaml"))
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


def is_refused(cluster: Cluster, namespace: str, name: str) -> str:
    """What the status says of a chart that was refused; nothing was deployed."""
    chart = cluster.wait_failed(namespace, name, "Forbidden")
    assert "release" not in chart["status"] or chart["status"]["release"].get("status") != "deployed"
    return str(chart["status"]["lastFailure"])


@pytest.fixture
def reading_chart(tmp_path: Path) -> Path:
    """S2: a chart that reads a Secret of somebody else and shows it by its failure."""
    template = '{{ fail (printf "stolen: %v" (lookup "v1" "Secret" .Values.namespace .Values.name)) }}'
    return write_chart(tmp_path / "attacks" / "reading", chart_files("reading", fail=template))


# ---- namespaced


def test_namespaced_works_without_any_cluster_wide_permission(
    profile_cluster: Cluster, helm_binary: str, tmp_path: Path, reading_chart: Path
) -> None:
    """In the namespaces of its list, also in one that is made later, or made again; S2 and S3 are refused outside."""
    cluster, teams = profile_cluster, ("team-a", "team-b")
    for name in ("team-a", "other"):
        cluster.create("/api/v1/namespaces", {"metadata": {"name": name}})
    cluster.apply(secret("db", "of-other"), namespace="other")
    for verb in ("get", "list"):
        assert not may(cluster, verb, "secrets")
    with installed(cluster, NAMESPACED, tmp_path, helm_binary, reading_chart.parent, namespaces=teams) as operator:
        for verb, resource, group in (
            ("list", "managedcharts", "managedchart.dev"),
            ("get", "customresourcedefinitions", "apiextensions.k8s.io"),
            ("list", "secrets", ""),
            ("get", "nodes", ""),
        ):
            assert not may(cluster, verb, resource, group=group)
        operator.start()
        assert "its schema was checked as the API server publishes it" in operator.log
        lives_a_whole_life(cluster, "team-a")

        started = operator.metric(STARTED)
        cluster.apply(managedchart("outside", WEB, targetNamespace="other"), namespace="team-a")
        failure = cluster.wait_failed("team-a", "outside", "Forbidden")["status"]["lastFailure"]
        assert failure["message"] == (
            "The operator does not work in namespace other, in which spec.targetNamespace puts the release"
        )
        assert operator.metric(STARTED) == started
        cluster.delete(f"{charts_in('team-a')}/outside")
        cluster.wait_gone(charts_in("team-a"), "outside")

        _reads_and_writes_nothing_of_others(cluster, "team-a", reading_chart, victim="other")
        _serves_a_namespace_that_is_made_later(cluster, tmp_path, "team-b")
    assert "Traceback" not in operator.log, operator.log


def _reads_and_writes_nothing_of_others(
    cluster: Cluster, namespace: str, reading_chart: Path, *, victim: str, **spec: Any
) -> None:
    """S2 in kube-system and in a neighbour's namespace, S3 in the latter; what was there is as it was."""
    before = cluster.get(f"/api/v1/namespaces/{victim}/secrets/db")
    kube_system = secret("cloud", "of-the-cluster")
    cluster.apply(kube_system, namespace="kube-system")
    for name, where in (("cloud", "kube-system"), ("db", victim), ("", victim)):
        chart = managedchart(
            "reads", {"path": str(reading_chart)}, values={"namespace": where, "name": name}, **ONCE, **spec
        )
        cluster.apply(chart, namespace=namespace)
        said = is_refused(cluster, namespace, "reads")
        assert "stolen" not in said
        assert base64.b64encode(b"of-").decode()[:3] not in said
        cluster.delete(f"{charts_in(namespace)}/reads")
        cluster.wait_gone(charts_in(namespace), "reads")
    overwritten = secret("db", "chosen")
    overwritten["metadata"]["namespace"] = victim
    for lifecycle in ("default", "aws-vpc-cni"):
        chart = managedchart(
            "writes",
            {"path": str(CHARTS / "raw")},
            values={"objects": [overwritten]},
            lifecycle={"name": lifecycle},
            **ONCE,
            **spec,
        )
        cluster.apply(chart, namespace=namespace)
        is_refused(cluster, namespace, "writes")
        cluster.delete(f"{charts_in(namespace)}/writes")
        cluster.wait_gone(charts_in(namespace), "writes")
    assert cluster.get(f"/api/v1/namespaces/{victim}/secrets/db") == before


def _serves_a_namespace_that_is_made_later(cluster: Cluster, folder: Path, namespace: str) -> None:
    """Twice, the second time after it was deleted; without a restart."""
    for _ in range(2):
        cluster.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        grant_namespace(cluster, folder, namespace)
        cluster.apply(managedchart("web", WEB), namespace=namespace)
        cluster.wait_ready(namespace, "web")
        cluster.delete(f"{charts_in(namespace)}/web")
        cluster.wait_gone(charts_in(namespace), "web")
        cluster.delete(f"/api/v1/namespaces/{namespace}")
        cluster.wait_gone("/api/v1/namespaces", namespace)


def test_namespaced_keeps_the_releases_when_the_crd_is_deleted(
    profile_cluster: Cluster, helm_binary: str, tmp_path: Path
) -> None:
    """Although the operator may not read the CRD: discovery shows it."""
    cluster = profile_cluster
    cluster.create("/api/v1/namespaces", {"metadata": {"name": "team-c"}})
    with installed(cluster, NAMESPACED, tmp_path, helm_binary, namespaces=("team-c",)) as operator:
        operator.start()
        cluster.apply(managedchart("web", WEB), namespace="team-c")
        cluster.wait_ready("team-c", "web")
        before = workloads(cluster, "team-c")
        delete_crd(cluster)
        wait_crd_gone(cluster)
        assert cluster.revisions("team-c", "web") == [(1, "deployed")]
        assert workloads(cluster, "team-c") == before
        assert operator.wait() == 1
        assert "ManagedCharts can no longer be watched" in operator.log
    install_operator_objects(cluster, REPOSITORY)
    cluster.kubectl("delete", "-f", str(REPOSITORY / "deploy" / "rbac.yaml"))
