"""The lifecycle prometheus-operator, with a tiny chart of the same kinds: six CRDs in crds/ and an object."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import delete, deploy, message, ready_reason, refused, small, uid, warnings
from harness.chart_files import chart_files, write_chart
from harness.cluster import CRDS, Cluster, KubectlError

pytestmark = pytest.mark.usefixtures("operator")

LIFECYCLE = {"lifecycle": {"name": "prometheus-operator"}}
KINDS = ("Prometheus", "PrometheusRule", "ServiceMonitor", "PodMonitor", "Alertmanager", "ThanosRuler")
PLURALS = {"Prometheus": "prometheuses"}
NAMES = [f"{PLURALS.get(kind, kind.lower() + 's')}.monitoring.coreos.com" for kind in KINDS]
CRD = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {name}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}}}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"""
HOOK = """apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-pre-delete
  annotations:
    helm.sh/hook: pre-delete
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {devcluster.managedchart.dev/fail: job-fail}}
    spec:
      restartPolicy: Never
      containers: [{name: task, image: registry.example/task}]
"""


def crd(name: str, kind: str) -> str:
    """Return a minimal CRD."""
    plural, _, group = name.partition(".")
    return CRD.format(name=name, group=group, kind=kind, plural=plural)


@pytest.fixture(scope="module", autouse=True)
def _no_crds_are_left(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.kubectl("delete", "crd", *NAMES, "--ignore-not-found", "--wait=false")


@pytest.fixture(autouse=True)
def _resources_are_gone(cluster: Cluster, ns: str) -> Iterator[None]:
    """Deleted later, with the namespace, they would take away the CRDs of the next test."""
    yield
    cluster.kubectl("delete", "managedcharts", "--all", f"--namespace={ns}", "--timeout=60s")


@pytest.fixture
def settled(cluster: Cluster) -> None:
    """No CRD is going away any more; those of the test before may stand."""
    while going := [item["metadata"]["name"] for item in cluster.items(CRDS) if is_going(item)]:
        # A CRD that is deleted right after it was made is in for minutes: its instances cannot be listed yet ("storage is
        # (re)initializing"), and the API server waits longer each time before it looks again, unless the CRD changes.
        with contextlib.suppress(KubectlError, AssertionError):  # gone meanwhile, and not gone yet
            cluster.kubectl("annotate", "crd", *going, f"test.managedchart.dev/look-again={time.monotonic()}")
            cluster.wait_gone(CRDS, going[0], timeout=2)


@pytest.fixture
def chart(settled: None, chart_root: Path) -> dict[str, str]:
    """Version 1.0.0 with the CRDs."""
    files = chart_files("prometheus-operator", "1.0.0")
    for name, kind in zip(NAMES, KINDS, strict=True):
        files[f"crds/{name}.yaml"] = crd(name, kind)
    return {"path": str(write_chart(chart_root / "prometheus-operator-1.0.0", files))}


@pytest.fixture
def further(cluster: Cluster, ns: str) -> Iterator[tuple[str, str]]:
    """Names of two more CRDs of the group, which nothing else in the cluster has."""
    names = f"as-{ns}.monitoring.coreos.com", f"bs-{ns}.monitoring.coreos.com"
    yield names
    cluster.kubectl("delete", "crd", *names, "--ignore-not-found", "--wait=false")


def bringing(folder: Path, own: str, of_subchart: str) -> dict[str, str]:
    """Write a chart that brings a CRD in its crds/ folder and one in its subchart's."""
    name = f"bringing-{own.partition('.')[0]}"
    files = chart_files(name) | {"charts/sub/Chart.yaml": chart_files("sub")["Chart.yaml"]}
    files["crds/own.yaml"] = crd(own, kind_of(own))
    files["charts/sub/crds/sub.yaml"] = crd(of_subchart, kind_of(of_subchart))
    return {"path": str(write_chart(folder / name, files))}


def kind_of(name: str) -> str:
    """Return a kind for a CRD that no other of the group has."""
    return name.partition(".")[0].title().replace("-", "")


def exists(cluster: Cluster, name: str) -> bool:
    """Whether a CRD exists and is not going away."""
    found = cluster.get(f"{CRDS}/{name}")
    return found is not None and not is_going(found)


def is_going(item: dict[str, Any]) -> bool:
    """Whether an object is being deleted."""
    return "deletionTimestamp" in item["metadata"]


def there(cluster: Cluster) -> set[str]:
    """Return which of the six CRDs exist and are not going away."""
    return {item["metadata"]["name"] for item in cluster.items(CRDS) if not is_going(item)} & set(NAMES)


def test_crossing_a_breaking_version_keeps_the_crds(
    cluster: Cluster, ns: str, chart: dict[str, str], chart_root: Path
) -> None:
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    assert there(cluster) == set(NAMES)
    before = uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a")
    newer = small(chart_root, "2.0.0", name="prometheus-operator")
    found = deploy(cluster, ns, "a", newer, lastBreakingVersionRequiringRestart="2.0.0", **LIFECYCLE)
    assert found["status"]["release"]["chartVersion"] == "2.0.0"
    assert uid(cluster, f"/api/v1/namespaces/{ns}/configmaps/a") != before
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    assert there(cluster) == set(NAMES)
    assert warnings(cluster, ns, "a") == []


def test_a_failed_uninstall_before_an_upgrade_only_warns(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """Its pre-delete hook fails, so that nothing is uninstalled."""
    old = small(chart_root, "1.0.0", name="hooked", hook=HOOK)
    deploy(cluster, ns, "a", old, **LIFECYCLE)
    new = small(chart_root, "2.0.0", name="hooked")
    found = deploy(cluster, ns, "a", new, lastBreakingVersionRequiringRestart="2.0.0", timeout="10s", **LIFECYCLE)
    assert (found["status"]["release"]["chartVersion"], found["status"]["release"]["revision"]) == ("2.0.0", 2)
    (warning,) = warnings(cluster, ns, "a")
    assert warning.startswith("Uninstall before the breaking version failed; upgrading anyway: ")
    assert "lastFailure" not in found["status"]


def test_an_orphaned_release_keeps_its_crds(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    deploy(cluster, ns, "a", chart, deletionPolicy="Orphan", **LIFECYCLE)
    delete(cluster, ns, "a")
    assert there(cluster) == set(NAMES)
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_the_default_lifecycle_leaves_crds_as_helm_does(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    deploy(cluster, ns, "a", chart)
    delete(cluster, ns, "a")
    assert there(cluster) == set(NAMES)


@pytest.mark.parametrize("how", ["Destroy", "kubectl delete"])
def test_deletion_removes_only_the_releases_crds(cluster: Cluster, ns: str, chart: dict[str, str], how: str) -> None:
    other = f"others.{ns}.example"
    cluster.kubectl("apply", "-f", "-", input=crd(other, "Other"))
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    assert there(cluster) == set(NAMES)
    if how == "Destroy":
        found = deploy(cluster, ns, "a", chart, action="Destroy", **LIFECYCLE)
        assert ready_reason(found) == "Destroyed"
    else:
        delete(cluster, ns, "a")
    assert there(cluster) == set()
    assert cluster.revisions(ns, "a") == []
    assert message(cluster, ns, "a") is None
    assert cluster.get(f"{CRDS}/{other}") is not None
    cluster.kubectl("delete", "crd", other, "--wait=false")


@pytest.mark.parametrize("how", ["Destroy", "kubectl delete"])
def test_deletion_removes_crds_of_subcharts_too(
    cluster: Cluster, ns: str, chart_root: Path, further: tuple[str, str], how: str
) -> None:
    chart = bringing(chart_root, *further)
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    assert all(exists(cluster, name) for name in further)
    if how == "Destroy":
        deploy(cluster, ns, "a", chart, action="Destroy", **LIFECYCLE)
    else:
        delete(cluster, ns, "a")
    assert not any(exists(cluster, name) for name in further)
    assert warnings(cluster, ns, "a") == []


def test_a_crd_of_another_release_stays(cluster: Cluster, ns: str, chart_root: Path, further: tuple[str, str]) -> None:
    chart = bringing(chart_root, *further)
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    marks = ["meta.helm.sh/release-name=theirs", "meta.helm.sh/release-namespace=monitoring"]
    cluster.kubectl("annotate", "crd", further[0], *marks)
    deploy(cluster, ns, "a", chart, action="Destroy", **LIFECYCLE)
    assert [exists(cluster, name) for name in further] == [True, False]
    (warning,) = warnings(cluster, ns, "a")
    assert warning.startswith(
        f"CRDs kept because their ownership metadata names the release monitoring/theirs: {further[0]};"
    )


def test_a_manually_created_crd_stays(cluster: Cluster, ns: str, chart_root: Path, further: tuple[str, str]) -> None:
    """Although the chart brings it too, and helm has applied its own over it."""
    cluster.kubectl("apply", "-f", "-", input=crd(further[1], kind_of(further[1])))
    chart = bringing(chart_root, *further)
    deploy(cluster, ns, "a", chart, **LIFECYCLE)
    deploy(cluster, ns, "a", chart, action="Destroy", **LIFECYCLE)
    assert [exists(cluster, name) for name in further] == [False, True]
    (warning,) = warnings(cluster, ns, "a")
    assert warning.startswith("CRDs kept because kubectl-client-side-apply applied them, ")
    assert further[1] in warning


@pytest.mark.usefixtures("settled")
def test_a_resource_that_never_deployed_deletes_no_crd(cluster: Cluster, ns: str, further: tuple[str, str]) -> None:
    """Neither by Destroy nor with its deletion: whoever may create ManagedCharts could take away everybody's monitoring."""
    crds = [crd(name, kind) for name, kind in zip(NAMES, KINDS, strict=True)] + [crd(further[0], kind_of(further[0]))]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input="---\n".join(crds))
    nowhere = {"path": "/nowhere"}
    deploy(cluster, ns, "a", nowhere, action="Destroy", **LIFECYCLE)
    assert there(cluster) == set(NAMES)
    (warning,) = warnings(cluster, ns, "a")
    assert warning.startswith("CRDs kept because this ManagedChart has not deployed the release: ")
    assert all(name in warning for name in (*NAMES, further[0]))
    refused(cluster, ns, "b", nowhere, **LIFECYCLE)
    delete(cluster, ns, "a", "b")
    assert there(cluster) == set(NAMES)
    assert exists(cluster, further[0])
