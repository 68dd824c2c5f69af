"""Stored objects of kinds that the cluster no longer serves block nothing, unless they may still exist."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import (
    SOON,
    UNREADY,
    config,
    delete,
    deploy,
    helm,
    message,
    refused,
    small,
    wait_for_pods,
    warnings,
)
from harness.cluster import MANAGEDCHARTS, WAIT_SECONDS, Cluster, condition_of, managedchart
from managedchart_operator.helm.manifest_edits import Drop, Keep
from managedchart_operator.helm.stored_release import decode
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.reconcile.adopted import change_stored
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage

pytestmark = pytest.mark.usefixtures("operator")

CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {message: {{ .Values.message | default "hello" }}}
"""
WIDGET = """{{ if .Values.version }}
apiVersion: {{ .Release.Namespace }}.example.com/{{ .Values.version }}
kind: Widget
metadata: {name: {{ .Release.Name }}}
{{ end }}
"""
HOOK = """{{ if .Values.hook }}
apiVersion: {{ .Release.Namespace }}.example.com/v1
kind: Widget
metadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: {{ .Values.hook }}}}
{{ end }}
"""
WORKLOAD = """{{ if .Values.fails }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {{ .Values.fails | toJson }}}
    spec: {containers: [{name: web, image: registry.example/web}]}
{{ end }}
"""
# What helm says of the kind, and of one that the chart renders.
NO_LONGER = "a kind that the cluster no longer knows"
RENDERED = "which the chart needs for"


class Widgets:
    """The kind Widget of a group of the test's own, which comes and goes, and helm's cache of it."""

    def __init__(self, cluster: Cluster, ns: str, cache: Path) -> None:
        self._cluster, self._cache, self.group = cluster, cache, f"{ns}.example.com"
        self.resource = f"widgets.{self.group}"

    def serve(self, **versions: bool) -> None:
        """Define the kind with these versions, served or not, and return when the API server says the same."""
        self._cluster.apply(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": self.resource},
                "spec": {
                    "group": self.group,
                    "scope": "Namespaced",
                    "names": {"kind": "Widget", "plural": "widgets"},
                    "versions": [
                        {
                            "name": version,
                            "served": served,
                            "storage": version == "v1",
                            "schema": {
                                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                            },
                        }
                        for version, served in versions.items()
                    ],
                },
            }
        )
        for version, served in versions.items():
            self.until(version, served=served)

    def remove(self) -> None:
        """Delete the definition, if it is there, and return when the API server knows nothing of the group."""
        self._cluster.kubectl("delete", "crd", self.resource, "--ignore-not-found", "--timeout=60s")
        for version in ("v1", "v1alpha1"):
            self.until(version, served=False)

    def until(self, version: str, *, served: bool) -> None:
        """Return when discovery says so; nothing of it can be watched."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (self._cluster.get(f"/apis/{self.group}/{version}") is not None) is not served:
            assert time.monotonic() < deadline, f"{self.group}/{version} is {'not' if served else 'still'} served"
            time.sleep(0.1)

    def forget(self) -> None:
        """Take helm's cache away, as an install of any other chart renews it."""
        shutil.rmtree(self._cache, ignore_errors=True)

    def names(self, namespace: str) -> list[str]:
        """Return the names of the Widgets of a namespace."""
        return [item["metadata"]["name"] for item in self._cluster.items(self.path(namespace))]

    def path(self, namespace: str) -> str:
        """Return the collection's path."""
        return f"/apis/{self.group}/v1/namespaces/{namespace}/widgets"


@pytest.fixture
def widgets(cluster: Cluster, ns: str, operator_folder: Path) -> Iterator[Widgets]:
    """Serve the kind for as long as the block runs."""
    made = Widgets(cluster, ns, operator_folder / "cache" / "helm" / "kube")
    made.serve(v1=True, v1alpha1=True)
    yield made
    cluster.kubectl("delete", "crd", made.resource, "--ignore-not-found", "--wait=false")


@pytest.fixture
def chart(chart_root: Path) -> dict[str, str]:
    """Version 1.0.0 of a chart that may render a Widget, a hook of that kind, and pods that never become ready."""
    return chart_of("1.0.0", chart_root)


def chart_of(version: str, folder: Path) -> dict[str, str]:
    return small(folder, version, name="widget", config=CONFIG, widget=WIDGET, hook=HOOK, workload=WORKLOAD)


def manifest(cluster: Cluster, ns: str, revision: int) -> str:
    """Return what a revision of the release `a` has stored."""
    secret = cluster.get(f"/api/v1/namespaces/{ns}/secrets/sh.helm.release.v1.a.v{revision}")
    assert secret is not None
    return decode(secret).manifest


@pytest.mark.parametrize(
    ("destroy", "cached"),
    [(False, False), (False, True), (True, False)],
    ids=["deleted", "deleted, old cache", "Destroy"],
)
def test_an_unserved_kind_does_not_block_removal(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, *, destroy: bool, cached: bool
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    widgets.remove()
    if not cached:
        widgets.forget()
    if destroy:
        deploy(cluster, ns, "a", chart, values={"version": "v1"}, action="Destroy")
    else:
        delete(cluster, ns, "a")
    assert message(cluster, ns, "a") is None
    assert cluster.revisions(ns, "a") == []
    told = [text for text in warnings(cluster, ns, "a") if "was removed from the stored revision 1" in text]
    assert len(told) == (0 if cached else 1)


@pytest.mark.parametrize("cached", [False, True], ids=["", "old cache"])
def test_an_object_of_an_unserved_version_is_removed(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, *, cached: bool
) -> None:
    """It still exists, under another version. An outdated cache of helm does not have it."""
    deploy(cluster, ns, "a", chart, values={"version": "v1alpha1"})
    widgets.serve(v1=True, v1alpha1=False)
    if not cached:
        widgets.forget()
    assert widgets.names(ns) == ["a"]
    delete(cluster, ns, "a")
    assert widgets.names(ns) == []
    assert message(cluster, ns, "a") is None
    assert cluster.revisions(ns, "a") == []


def test_a_removal_waits_for_objects_of_unserved_versions(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1alpha1"}, timeout="5s", retry=SOON)
    cluster.kubectl(
        "patch", widgets.resource, "a", f"-n={ns}", "--type=merge", "-p", '{"metadata":{"finalizers":["x.io/y"]}}'
    )
    widgets.serve(v1=True, v1alpha1=False)
    widgets.forget()
    cluster.delete(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts/a")
    blocked = cluster.wait_failed(ns, "a", "UninstallBlocked")
    assert f"Widget {ns}/a (held by the finalizer x.io/y" in condition_of(blocked, "Ready")["message"]
    cluster.kubectl(
        "patch", widgets.resource, "a", f"-n={ns}", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
    cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts", "a")
    assert widgets.names(ns) == []


def test_a_hook_of_an_unserved_kind_does_not_block_removal(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets
) -> None:
    deploy(cluster, ns, "a", chart, values={"hook": "pre-delete"})
    widgets.remove()
    widgets.forget()
    delete(cluster, ns, "a")
    assert message(cluster, ns, "a") is None
    assert cluster.revisions(ns, "a") == []


def test_an_unserved_kind_does_not_block_reinstallation(
    cluster: Cluster, ns: str, chart_root: Path, chart: dict[str, str], widgets: Widgets
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    widgets.remove()
    widgets.forget()
    deploy(cluster, ns, "a", chart_of("2.0.0", chart_root), lastBreakingVersionRequiringRestart="2.0.0")
    assert cluster.revisions(ns, "a") == [(1, "deployed")]


def test_an_unserved_kind_does_not_block_its_upgrade(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    widgets.remove()
    deploy(cluster, ns, "a", chart, values={"message": "new"})
    assert message(cluster, ns, "a") == "new"
    assert "Widget" not in manifest(cluster, ns, 1)
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "deployed")]
    widgets.serve(v1=True, v1alpha1=True)
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    assert widgets.names(ns) == ["a"], "when the kind is back, neither helm nor the operator takes it for gone"
    delete(cluster, ns, "a")
    assert widgets.names(ns) == []


@pytest.mark.parametrize("values", [{}, {"version": "v1"}], ids=["drops the object", "keeps the object"])
def test_an_upgrade_finds_objects_of_unserved_versions(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, values: dict[str, str]
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1alpha1"})
    [before] = cluster.items(widgets.path(ns))
    widgets.serve(v1=True, v1alpha1=False)
    deploy(cluster, ns, "a", chart, values=values)
    uids = [item["metadata"]["uid"] for item in cluster.items(widgets.path(ns))]
    assert uids == ([before["metadata"]["uid"]] if values else [])


def test_a_rendered_unserved_kind_blames_the_chart(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    stored = manifest(cluster, ns, 1)
    widgets.remove()
    failure = refused(cluster, ns, "a", chart, values={"version": "v1", "message": "new"}, retry={"limit": 0})
    assert failure["reason"] == "KindMissing"
    assert RENDERED in failure["message"]
    assert NO_LONGER not in failure["message"]
    assert manifest(cluster, ns, 1) == stored, "nothing that is stored is to blame"
    deploy(cluster, ns, "a", chart)


def test_a_dry_run_reports_stored_kinds_and_changes_nothing(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets
) -> None:
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    stored = manifest(cluster, ns, 1)
    widgets.remove()
    failure = refused(cluster, ns, "a", chart, dryRun=True, retry={"limit": 0})
    assert failure["message"].endswith(f"Widget a of {widgets.group}/v1, {NO_LONGER}")
    assert "Set spec.dryRun: false; the operator then removes the object" in failure["hint"]
    assert manifest(cluster, ns, 1) == stored


@pytest.mark.parametrize(
    ("failed_renders_it", "cached"), [(False, True), (True, False)], ids=["of the good revision, old cache", "of both"]
)
def test_an_unserved_kind_does_not_block_rollback(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, *, cached: bool, failed_renders_it: bool
) -> None:
    """The kind vanishes while the new revision is waited for, which fails only then."""
    deploy(cluster, ns, "a", chart, values={"version": "v1"})
    values: dict[str, Any] = {"message": "new", "fails": UNREADY, "version": "v1" if failed_renders_it else ""}
    cluster.apply(managedchart("a", chart, values=values, timeout="300s", retry={"limit": 0}), namespace=ns)
    wait_for_pods(cluster, ns, "a")
    widgets.remove()
    if not cached:
        widgets.forget()
    cluster.kubectl("annotate", "pods", "--all", "--overwrite", f"--namespace={ns}", f"{next(iter(UNREADY))}=crash")
    cluster.wait_event(ns, "a", "RolledBack")
    cluster.wait_event(ns, "a", "KindMissing")
    assert message(cluster, ns, "a") == "hello"
    cluster.wait_gone(f"/apis/apps/v1/namespaces/{ns}/deployments", "a")
    numbers = cluster.revisions(ns, "a")
    assert numbers[-1][1] == "deployed"
    assert not [number for number, status in numbers if status.startswith("pending")]
    assert "Widget" not in manifest(cluster, ns, numbers[-1][0])


def test_a_revision_of_others_is_not_rewritten(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, helm_binary: str
) -> None:
    helm(cluster, helm_binary, "install", "a", chart["path"], f"--namespace={ns}", "--set=version=v1")
    stored = manifest(cluster, ns, 1)
    widgets.remove()
    failure = refused(cluster, ns, "a", chart, retry=SOON)
    assert failure["message"] == (
        f"Revision 1, which this resource did not make, has Widget a of {widgets.group}/v1, {NO_LONGER}, "
        "so Helm cannot continue from it"
    )
    assert f"helm mapkubeapis a --namespace {ns}" in failure["hint"]
    assert manifest(cluster, ns, 1) == stored
    widgets.serve(v1=True, v1alpha1=True)
    cluster.wait_ready(ns, "a")
    assert widgets.names(ns) == []


def test_an_unavailable_api_is_waited_for(cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets) -> None:
    """Its objects may be there: as long as nobody answers for them, nothing is forgotten."""
    deploy(cluster, ns, "a", chart, values={"version": "v1"}, retry=SOON)
    stored = manifest(cluster, ns, 1)
    widgets.remove()
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{widgets.group}"},
        "spec": {
            "group": widgets.group,
            "version": "v1",
            "service": {"name": "nobody", "namespace": ns},
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
        },
    }
    cluster.apply(service)
    try:
        widgets.forget()
        cluster.wait(
            "/apis/apiregistration.k8s.io/v1/apiservices",
            service["metadata"]["name"],
            lambda found: found and found.get("status", {}).get("conditions"),
            what="looked at",
        )
        cluster.delete(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts/a")
        failed = cluster.wait_failed(ns, "a", "KindMissing")
        assert "the API server did not say whether it serves this kind" in condition_of(failed, "Ready")["message"]
        assert manifest(cluster, ns, 1) == stored
        assert message(cluster, ns, "a") == "hello"
    finally:
        cluster.kubectl("delete", "apiservice", service["metadata"]["name"], "--timeout=60s")
    cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts", "a")
    assert config(cluster, ns, "a") is None


# ---- objects that helm is to leave alone


def on_release(cluster: Cluster, ns: str, act: Callable[[ReleaseStorage], Awaitable[object]]) -> None:
    """Do something with the revisions of the release `a` as the resource with the UID `uid` would."""

    async def run() -> None:
        client = await KubeClient.connect(kubeconfig=cluster.kubeconfig)
        try:
            storage = ReleaseStorage(ReleaseSecrets(client), ns, "a", Ownership("uid"))
            await storage.observe()
            await act(storage)
        finally:
            await client.close()

    asyncio.run(run())


def failed_take_over(cluster: Cluster, ns: str, binary: str, chart: dict[str, str], *, first: bool) -> None:
    """Let helm take the Widget over with a revision that is marked failed, as the first one or after a good one."""
    options = [f"--namespace={ns}", "--labels=managedchart.dev/owner=uid", "--install", "--take-ownership"]
    if not first:
        helm(cluster, binary, "upgrade", "a", chart["path"], *options)
    helm(cluster, binary, "upgrade", "a", chart["path"], *options, "--set=version=v1")
    on_release(cluster, ns, _fail)


async def _fail(storage: ReleaseStorage) -> None:
    assert storage.newest is not None
    await storage.mark_failed(storage.newest, "not ready")


@pytest.mark.parametrize("keep", [True, False])
def test_helm_uninstalls_all_except_kept_objects(
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, helm_binary: str, *, keep: bool
) -> None:
    failed_take_over(cluster, ns, helm_binary, chart, first=True)
    if keep:
        ref = ObjectRef(f"{widgets.group}/v1", "Widget", "a", ns)
        on_release(cluster, ns, lambda storage: change_stored(storage, [ref], Keep()))
    helm(cluster, helm_binary, "uninstall", "a", f"--namespace={ns}")
    assert message(cluster, ns, "a") is None
    assert widgets.names(ns) == (["a"] if keep else [])


@pytest.mark.parametrize("what", ["forgotten", "kept", "as it was"])
def test_helm_rolls_back_all_except_dropped_objects(  # noqa: PLR0917 -- fixtures
    cluster: Cluster, ns: str, chart: dict[str, str], widgets: Widgets, helm_binary: str, what: str
) -> None:
    """For a rollback helm looks for the policy in the cluster, not in the stored manifest: it has to be taken out there."""
    failed_take_over(cluster, ns, helm_binary, chart, first=False)
    ref = ObjectRef(f"{widgets.group}/v1", "Widget", "a", ns)
    match what:
        case "forgotten":
            on_release(cluster, ns, lambda storage: change_stored(storage, [ref], Drop()))
        case "kept":
            on_release(cluster, ns, lambda storage: change_stored(storage, [ref], Keep()))
    helm(cluster, helm_binary, "rollback", "a", "1", f"--namespace={ns}")
    assert widgets.names(ns) == (["a"] if what == "forgotten" else [])
    assert message(cluster, ns, "a") == "hello"
