"""Deleting the CRD deletes every ManagedChart and no release."""

import json

import pytest
import yaml

from conftest import CHARTS, REPOSITORY
from e2e.removal.conftest import MakeOperator
from e2e.removal.platform import CRD, CRDS, NAMES, delete_crd, deploy, wait_crd_gone, wait_deleting, workloads
from harness.cluster import Cluster, condition_of, install_operator_objects, managedchart
from harness.operator_process import SYSTEM_NAMESPACE

KEPT = [(1, "deployed")]
HOOKS = {"path": str(CHARTS / "hooks")}
NEVER = {"devcluster.managedchart.dev/fail": "never"}


def test_a_deleted_crd_keeps_every_release(installed: Cluster, own_ns: str, make_operator: MakeOperator) -> None:
    """One line of the log tells of each; re-created ManagedCharts take the releases over, and no pod is restarted."""
    operator = make_operator().start()
    deploy(installed, own_ns, *NAMES)
    before = workloads(installed, own_ns)
    installed.kubectl("delete", "-k", str(REPOSITORY / "crds"), "--timeout=60s")
    wait_crd_gone(installed)
    assert workloads(installed, own_ns) == before
    for name in NAMES:
        assert installed.revisions(own_ns, name) == KEPT
        line = operator.wait_logged(f"[{own_ns}/{name}] deleted without")  # after the finalizer is removed
        assert f"the CRD {CRD} is being deleted" in line
        assert f"The release {own_ns}/{name} (revision 1, deployed) stays" in line
        assert f"helm uninstall {name} --namespace {own_ns}" in line

    assert operator.wait() == 1
    missing = "The API server does not serve managedcharts of managedchart.dev/v1alpha1"
    assert f"Ended: ManagedCharts can no longer be watched: {missing}" in operator.log
    install_operator_objects(installed, REPOSITORY)
    operator.start()
    deploy(installed, own_ns, *NAMES)
    assert workloads(installed, own_ns) == before
    for name in NAMES:
        assert installed.revisions(own_ns, name) == [(1, "superseded"), (2, "deployed")]


def test_an_operator_that_starts_later_lets_everything_go(
    installed: Cluster, own_ns: str, make_operator: MakeOperator
) -> None:
    """Also a ManagedChart that was deleted before the CRD: while the CRD goes, the two cannot be told apart."""
    operator = make_operator().start()
    deploy(installed, own_ns, *NAMES)
    before = workloads(installed, own_ns)
    operator.stop()
    installed.kubectl("delete", "managedchart", NAMES[0], f"--namespace={own_ns}", "--wait=false")
    delete_crd(installed)
    for name in NAMES:
        wait_deleting(installed, own_ns, name)
    operator.start()
    wait_crd_gone(installed)
    assert workloads(installed, own_ns) == before
    assert [installed.revisions(own_ns, name) for name in NAMES] == [KEPT] * 3


def test_managedcharts_of_a_crd_removed_by_force_are_let_go(
    installed: Cluster, own_ns: str, make_operator: MakeOperator
) -> None:
    """Without the CRD's finalizer the API server keeps its objects, and shows them again, being deleted, with the next CRD."""
    operator = make_operator().start()
    deploy(installed, own_ns, *NAMES)
    before = workloads(installed, own_ns)
    operator.stop()
    delete_crd(installed)
    for name in NAMES:
        wait_deleting(installed, own_ns, name)
    installed.kubectl("patch", "crd", CRD, "--type=merge", '-p={"metadata": {"finalizers": null}}')
    installed.wait_gone(CRDS, CRD)
    install_operator_objects(installed, REPOSITORY)
    for name in NAMES:
        wait_deleting(installed, own_ns, name)
    operator.start()
    path = f"/apis/managedchart.dev/v1alpha1/namespaces/{own_ns}/managedcharts"
    for name in NAMES:
        installed.wait_gone(path, name)
    assert workloads(installed, own_ns) == before
    assert [installed.revisions(own_ns, name) for name in NAMES] == [KEPT] * 3


def test_an_uninstall_that_has_not_started_is_given_up(
    installed: Cluster, own_ns: str, make_operator: MakeOperator
) -> None:
    """It was asked for before, and waits for the only helm process that may run; then the CRD is deleted."""
    operator = make_operator(MANAGEDCHART_HELM_PROCESSES="1").start()
    deploy(installed, own_ns, "web")
    before = workloads(installed, own_ns)
    values = {"pre": {"enabled": False}, "post": {"podAnnotations": NEVER}}
    installed.apply(managedchart("slow", HOOKS, values=values, failFast=False), namespace=own_ns)
    installed.wait(f"/apis/batch/v1/namespaces/{own_ns}/jobs", "slow-post", lambda job: job, what="there")
    installed.kubectl("delete", "managedchart", "web", f"--namespace={own_ns}", "--wait=false")
    wait_deleting(installed, own_ns, "web")
    installed.wait_chart(
        own_ns, "web", lambda chart: chart["status"]["phases"][-1]["name"] == "Exec", what="about to be uninstalled"
    )
    delete_crd(installed)
    wait_crd_gone(installed)
    assert installed.revisions(own_ns, "web") == KEPT
    assert workloads(installed, own_ns).items() >= before.items()
    operator.wait_logged(f"[{own_ns}/web] deleted without an uninstall")


def test_a_setting_asks_for_the_uninstall_with_the_crd(
    installed: Cluster, own_ns: str, make_operator: MakeOperator
) -> None:
    make_operator(MANAGEDCHART_UNINSTALL_WITH_CRD="true").start()
    deploy(installed, own_ns, *NAMES)
    delete_crd(installed)
    wait_crd_gone(installed)
    assert workloads(installed, own_ns) == {}
    assert [installed.revisions(own_ns, name) for name in NAMES] == [[], [], []]


def test_without_the_permission_to_read_the_crd_a_deletion_waits(
    installed: Cluster, own_ns: str, make_operator: MakeOperator
) -> None:
    """The status names the permission; nothing is uninstalled. Once it is granted, an ordinary deletion goes on."""
    operator = make_operator().start()
    deploy(installed, own_ns, "web", retry={"backoff": "1s", "maxBackoff": "1s"})
    before = workloads(installed, own_ns)
    take_permission(installed)
    installed.kubectl("delete", "managedchart", "web", f"--namespace={own_ns}", "--wait=false")
    chart = installed.wait_failed(own_ns, "web", "Forbidden")
    failure = chart["status"]["lastFailure"]
    assert 'cannot get resource "customresourcedefinitions" in API group "apiextensions.k8s.io"' in failure["message"]
    assert "leaves the release unchanged" in failure["message"]
    assert "as deploy/rbac.yaml does" in failure["hint"]
    assert condition_of(chart, "Reconciling")["reason"] == "RetryScheduled"
    assert installed.revisions(own_ns, "web") == KEPT
    assert workloads(installed, own_ns) == before
    installed.kubectl("apply", "-f", str(REPOSITORY / "deploy" / "rbac.yaml"))
    installed.wait_gone(f"/apis/managedchart.dev/v1alpha1/namespaces/{own_ns}/managedcharts", "web")
    assert installed.revisions(own_ns, "web") == []
    assert "deleted without an uninstall" not in operator.log


def take_permission(cluster: Cluster) -> None:
    """Take away what lets the operator read its CRD; `admin` for the charts in its place, as deploy/rbac.yaml says."""
    cluster.kubectl("delete", "clusterrolebinding", "managedchart-operator-charts")
    cluster.kubectl(
        "create", "clusterrolebinding", "charts", "--clusterrole=admin",
        f"--serviceaccount={SYSTEM_NAMESPACE}:managedchart-operator",
    )  # fmt: skip
    role = json.loads(cluster.kubectl("get", "clusterrole", "managedchart-operator", "-o", "json"))
    role["rules"] = [rule for rule in role["rules"] if "customresourcedefinitions" not in rule["resources"]]
    cluster.kubectl("replace", "-f", "-", input=yaml.safe_dump(role))


@pytest.fixture
def held_account(installed: Cluster) -> None:
    """The operator's ServiceAccount outlives the deletion of its namespace for a while, so that the operator can still act."""
    patch = '-p={"metadata": {"finalizers": ["managedchart.dev/test"]}}'
    installed.kubectl(
        "patch", "serviceaccount", "managedchart-operator", f"--namespace={SYSTEM_NAMESPACE}", "--type=merge", patch
    )


@pytest.mark.usefixtures("held_account")
def test_only_the_operators_own_namespace_keeps_its_releases(
    installed: Cluster, own_ns: str, make_operator: MakeOperator
) -> None:
    """The deletion of any other namespace with ManagedCharts is an ordinary one."""
    make_operator().start()
    team = f"{own_ns}-team"
    installed.create("/api/v1/namespaces", {"metadata": {"name": team}})
    for home in (SYSTEM_NAMESPACE, team):
        deploy(installed, home, f"of-{home}", targetNamespace=own_ns)
    installed.kubectl("delete", "namespace", SYSTEM_NAMESPACE, team, "--wait=false")
    installed.wait_gone("/api/v1/namespaces", team)
    path = f"/apis/managedchart.dev/v1alpha1/namespaces/{SYSTEM_NAMESPACE}/managedcharts"
    installed.wait_gone(path, f"of-{SYSTEM_NAMESPACE}")
    assert installed.revisions(own_ns, f"of-{team}") == []
    assert installed.revisions(own_ns, f"of-{SYSTEM_NAMESPACE}") == KEPT
    assert f"of-{SYSTEM_NAMESPACE}" in workloads(installed, own_ns)
    assert f"of-{team}" not in workloads(installed, own_ns)
    free = '-p={"metadata": {"finalizers": null}}'
    installed.kubectl(
        "patch", "serviceaccount", "managedchart-operator", f"--namespace={SYSTEM_NAMESPACE}", "--type=merge", free
    )
    installed.wait_gone("/api/v1/namespaces", SYSTEM_NAMESPACE)
