"""The lifecycle aws-vpc-cni, with a tiny chart of the same kinds: a DaemonSet, a ClusterRole and their company."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import deploy, ready_reason, refused, small
from harness.cluster import Cluster

pytestmark = pytest.mark.usefixtures("operator")

LIFECYCLE = {"lifecycle": {"name": "aws-vpc-cni"}}
OBJECTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {{name: aws-node, namespace: {where}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: cni, namespace: {where}}}
stringData: {{token: x}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {where}-aws-node}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [{verb}]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {where}-aws-node}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {where}-aws-node}}
subjects: [{{kind: ServiceAccount, name: aws-node, namespace: {where}}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: aws-node, namespace: {where}}}
spec:
  selector: {{matchLabels: {{k8s-app: aws-node}}}}
  template:
    metadata: {{labels: {{k8s-app: aws-node}}}}
    spec:
      containers: [{{name: aws-node, image: "{image}"}}]
"""
NEW = """
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: amazon-vpc-cni, namespace: {where}}}
"""
ANNOTATIONS = ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace")


def paths(ns: str) -> dict[str, str]:
    """Return where the objects are, by kind."""
    return {
        "ServiceAccount": f"/api/v1/namespaces/{ns}/serviceaccounts/aws-node",
        "Secret": f"/api/v1/namespaces/{ns}/secrets/cni",
        "ClusterRole": f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ns}-aws-node",
        "ClusterRoleBinding": f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{ns}-aws-node",
        "DaemonSet": f"/apis/apps/v1/namespaces/{ns}/daemonsets/aws-node",
    }


def objects(cluster: Cluster, ns: str) -> dict[str, dict[str, Any]]:
    """Return the objects by kind; all of them are there."""
    found = {kind: cluster.get(path) for kind, path in paths(ns).items()}
    there = {kind: item for kind, item in found.items() if item is not None}
    assert there.keys() == found.keys()
    return there


def owner(item: dict[str, Any]) -> tuple[str | None, ...]:
    """Return who owns an object, by Helm's marks."""
    annotations = item["metadata"].get("annotations") or {}
    labels = item["metadata"].get("labels") or {}
    return (*(annotations.get(key) for key in ANNOTATIONS), labels.get("app.kubernetes.io/managed-by"))


def mark_managers(item: dict[str, Any]) -> set[str]:
    """Return the field managers of the mark that names the release."""
    key = f"f:{ANNOTATIONS[0]}"
    return {
        entry["manager"]
        for entry in item["metadata"]["managedFields"]
        if key in entry["fieldsV1"].get("f:metadata", {}).get("f:annotations", {})
    }


def untouched(found: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> bool:
    """Whether no object is marked, and none was written but by the DaemonSet's controller, which writes its status."""
    return set(map(owner, found.values())) == {(None, None, None)} and all(
        item["metadata"][version] == before[kind]["metadata"][version]
        for kind, item in found.items()
        for version in ["generation" if kind == "DaemonSet" else "resourceVersion"]
    )


@pytest.fixture
def chart(chart_root: Path, ns: str) -> dict[str, str]:
    """The chart, whose objects live in the test's namespace wherever its release does."""
    text = (OBJECTS + NEW).format(where=ns, image="registry.example/cni:2", verb="list")
    return small(chart_root, name=f"cni-{ns}", objects=text)


@pytest.fixture
def installed(cluster: Cluster, ns: str) -> Iterator[dict[str, dict[str, Any]]]:
    """The objects as the cloud brings them: another image and another rule, and no mark of Helm."""
    cluster.kubectl("apply", "-f", "-", input=OBJECTS.format(where=ns, image="registry.example/cni:1", verb="get"))
    yield objects(cluster, ns)
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", f"{ns}-aws-node", "--ignore-not-found")


def test_existing_objects_are_adopted_without_recreation(
    cluster: Cluster, ns: str, chart: dict[str, str], installed: dict[str, dict[str, Any]]
) -> None:
    """Cluster-wide ones too, in the release and the namespace that the spec names; former managers lose their fields."""
    target = f"{ns}-release"
    found = deploy(cluster, ns, "a", chart, releaseName="cni", targetNamespace=target, **LIFECYCLE)
    assert found["status"]["release"]["revision"] == 1
    assert cluster.revisions(target, "cni") == [(1, "deployed")]
    now = objects(cluster, ns)
    assert {kind: owner(item) for kind, item in now.items()} == dict.fromkeys(now, ("cni", target, "Helm"))
    assert {kind: item["metadata"]["uid"] for kind, item in now.items()} == {
        kind: item["metadata"]["uid"] for kind, item in installed.items()
    }
    assert now["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/cni:2"
    assert now["ClusterRole"]["rules"][0]["verbs"] == ["list"]
    cluster.kubectl("delete", "managedchart", "a", f"--namespace={ns}", "--timeout=60s")
    assert [kind for kind, path in paths(ns).items() if cluster.get(path)] == []
    cluster.kubectl("delete", "namespace", target, "--wait=false")


def test_an_upgrade_adopts_existing_objects(cluster: Cluster, ns: str, chart_root: Path, chart: dict[str, str]) -> None:
    """The fields of its former manager too. A dry run reports it first, and changes nothing."""
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    extra = "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: extra, namespace: {where}}}, data: {{by: {by}}}}}"
    cluster.kubectl("apply", "--server-side", "-f", "-", input=extra.format(where=ns, by="cloud"))
    path = f"/api/v1/namespaces/{ns}/configmaps/extra"
    before = cluster.get(path)
    text = (OBJECTS + NEW + "---\n" + extra).format(where=ns, by="chart", image="registry.example/cni:2", verb="list")
    newer = small(chart_root, "1.1.0", name=f"cni-{ns}", objects=text)
    found = deploy(cluster, ns, "a", newer, dryRun=True, **LIFECYCLE)
    assert ready_reason(found) == "DryRunSucceeded"
    assert cluster.get(path) == before
    found = deploy(cluster, ns, "a", newer, **LIFECYCLE)
    assert found["status"]["release"]["revision"] == 2
    after = cluster.get(path)
    assert before is not None
    assert after is not None
    assert (after["metadata"]["uid"], owner(after)) == (before["metadata"]["uid"], ("a", ns, "Helm"))
    assert after["data"] == {"by": "chart"}


def test_an_adopted_object_names_the_operator(
    cluster: Cluster, ns: str, chart: dict[str, str], installed: dict[str, dict[str, Any]]
) -> None:
    """Also after helm has applied it: that it was there before the release must be found out at any later time."""
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    for item in objects(cluster, ns).values():
        assert mark_managers(item) == {"managedchart-operator", "helm"}
    made = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/amazon-vpc-cni")
    assert made is not None
    assert mark_managers(made) == {"helm"}


def test_a_different_selector_is_refused_before_any_change(
    cluster: Cluster, ns: str, chart_root: Path, installed: dict[str, dict[str, Any]]
) -> None:
    """Although the DaemonSet stands behind others that could be adopted; the one that EKS installs has such a selector."""
    text = (OBJECTS + NEW).format(where=ns, image="registry.example/cni:2", verb="list")
    other = small(chart_root, name=f"selector-{ns}", objects=text.replace("k8s-app: aws-node", "app: other"))
    failure = refused(cluster, ns, "a", other, **LIFECYCLE)
    assert (failure["phase"], failure["reason"]) == ("PreExec", "ImmutableField")
    assert failure["message"] == f"DaemonSet {ns}/aws-node: spec.selector: field is immutable; no object was adopted"
    assert failure["hint"].endswith(f"kubectl delete DaemonSet aws-node --namespace {ns}")
    assert cluster.revisions(ns, "a") == []
    assert untouched(objects(cluster, ns), installed)


def test_all_objects_that_cannot_be_adopted_are_reported(
    cluster: Cluster, ns: str, chart_root: Path, installed: dict[str, dict[str, Any]]
) -> None:
    text = OBJECTS.format(where=ns, image="registry.example/cni:2", verb="list")
    text = text.replace("k8s-app: aws-node", "app: other").replace("roleRef: {", "roleRef: {wrong: x, ")
    failure = refused(cluster, ns, "a", small(chart_root, name=f"two-{ns}", objects=text), **LIFECYCLE)
    assert failure["phase"] == "PreExec"
    assert "(1 more refused" in failure["message"]
    assert "DaemonSet" in failure["helmError"]
    assert "ClusterRoleBinding" in failure["helmError"]
    assert untouched(objects(cluster, ns), installed)


def test_without_existing_objects_the_chart_is_installed(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    assert set(map(owner, objects(cluster, ns).values())) == {("a", ns, "Helm")}


def test_an_object_of_another_release_is_not_adopted(
    cluster: Cluster, ns: str, chart: dict[str, str], installed: dict[str, dict[str, Any]]
) -> None:
    """Although it is cluster-wide, and stands behind others that could be adopted."""
    marks = [f"{ANNOTATIONS[0]}=theirs", f"{ANNOTATIONS[1]}=kube-system"]
    cluster.kubectl("annotate", "clusterrole", f"{ns}-aws-node", *marks)
    failure = refused(cluster, ns, "a", chart, **LIFECYCLE)
    assert (failure["phase"], failure["reason"]) == ("PreExec", "ObjectOwned")
    assert failure["message"] == f"ClusterRole {ns}-aws-node belongs to the release kube-system/theirs"
    assert failure["hint"]
    assert cluster.revisions(ns, "a") == []
    now = objects(cluster, ns)
    assert {kind: owner(item) for kind, item in now.items() if kind != "ClusterRole"} == dict.fromkeys(
        set(now) - {"ClusterRole"}, (None, None, None)
    )


def test_the_default_lifecycle_refuses_to_adopt(
    cluster: Cluster, ns: str, chart: dict[str, str], installed: dict[str, dict[str, Any]]
) -> None:
    failure = refused(cluster, ns, "a", chart)
    assert (failure["phase"], failure["reason"]) == ("Exec", "ObjectOwned")
    assert set(map(owner, objects(cluster, ns).values())) == {(None, None, None)}


def test_a_dry_run_predicts_the_adoption(
    cluster: Cluster, ns: str, chart: dict[str, str], installed: dict[str, dict[str, Any]]
) -> None:
    found = deploy(cluster, ns, "a", chart, dryRun=True, **LIFECYCLE)
    assert ready_reason(found) == "DryRunSucceeded"
    assert untouched(objects(cluster, ns), installed)
