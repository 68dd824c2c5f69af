"""The wait skips objects that cannot or need not become ready, and reports failures immediately."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from e2e.fields.steps import NEVER, WEB, config, delete, deploy, make_ready, small, wait_for_pods
from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

RAW = {"path": str(CHARTS / "raw")}
FAIL = "devcluster.managedchart.dev/fail"
SLOW = {FAIL: "slow", "devcluster.managedchart.dev/delay-seconds": "3"}
# For what is to be over long before its timeout; the tests themselves wait for a minute at most.
LONG = "300s"
BRIEF: dict[str, Any] = {"timeout": "4s", "retry": {"limit": 0}}


def pods(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Build a pod template."""
    containers = [{"name": "main", "image": "registry.example/one:1"}]
    return {
        "metadata": {"labels": {"app": "one"}, "annotations": {**(annotations or {})}},
        "spec": {"containers": containers, **spec},
    }


def workload(kind: str, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Build a Deployment or a DaemonSet."""
    selector = {"matchLabels": {"app": "one"}}
    meta = {"name": "one"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": meta,
        "spec": {"selector": selector, "template": pods(annotations), **spec},
    }


def job(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """Build a Job of one try."""
    template = pods(annotations, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate"},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


def raw(*objects: dict[str, Any]) -> dict[str, Any]:
    """Return the values by which the chart renders these objects."""
    return {"objects": list(objects)}


def ready_without_job(cluster: Cluster, ns: str, values: dict[str, Any]) -> dict[str, Any]:
    """Deploy the Job and the Deployment, whose pod becomes ready when the Job was deleted, and return what is Ready."""
    jobs = f"/apis/batch/v1/namespaces/{ns}/jobs"
    version = cluster.version(jobs)
    cluster.apply(managedchart("one", RAW, values=values, timeout=LONG), namespace=ns)
    cluster.wait_deleted(jobs, "migrate", since=version)
    assert condition_of(cluster.managedchart(ns, "one"), "Reconciling")["reason"] == "Progressing"
    wait_for_pods(cluster, ns, "one")
    make_ready(cluster, ns)
    return cluster.wait_ready(ns, "one")


# ---- Jobs


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_job_deleted_by_its_ttl_does_not_fail(cluster: Cluster, ns: str, ttl: int) -> None:
    """Neither an install nor an upgrade, while another object is still waited for."""
    values = raw(job(ttlSecondsAfterFinished=ttl), workload("Deployment", NEVER))
    for revision in (1, 2):
        chart = ready_without_job(cluster, ns, values)
        assert chart["status"]["release"]["revision"] == revision
        assert "lastFailure" not in chart["status"]
        values["objects"][1]["spec"]["template"]["metadata"]["annotations"]["example.com/changed"] = "yes"


@pytest.mark.parametrize("hooked", [False, True], ids=["no hook after all", "a hook"])
def test_a_job_deleted_by_its_ttl_does_not_fail_helm(cluster: Cluster, ns: str, *, hooked: bool) -> None:
    """helm waits where a chart may have hooks that run after the wait, and would take the Job for unready."""
    hook = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "hooked", "annotations": {"helm.sh/hook": "post-install,post-upgrade"}},
    }
    values = raw(job(ttlSecondsAfterFinished=0), workload("Deployment", NEVER), *([hook] if hooked else []))
    values["note"] = "helm.sh/hook is mentioned"
    ready_without_job(cluster, ns, values)
    bad = json.loads(json.dumps(values))
    bad["objects"][1]["spec"]["template"]["metadata"]["annotations"]["example.com/changed"] = "yes"
    spec = {"values": bad, "timeout": "6s", "retry": {"limit": 0}}
    cluster.apply(managedchart("one", RAW, **spec), namespace=ns)
    # The rollback makes the Job again, and its TTL deletes it again while helm waits for the rest.
    cluster.wait_chart(
        ns,
        "one",
        lambda chart: condition_of(chart, "Stalled").get("message", "").startswith("Rolled back to revision 1"),
        what="rolled back",
    )


def test_a_failed_job_with_a_ttl_is_reported_immediately(cluster: Cluster, ns: str) -> None:
    """Its timeout is five minutes, and the other object never becomes ready."""
    values = raw(job({FAIL: "job-fail"}, ttlSecondsAfterFinished=0), workload("Deployment", NEVER))
    cluster.apply(managedchart("one", RAW, values=values, timeout=LONG, retry={"limit": 0}), namespace=ns)
    failure = cluster.wait_failed(ns, "one", "JobBackoffLimit")["status"]["lastFailure"]
    assert "migrate" in failure["message"]
    assert "helmError" not in failure, "helm has ended without an error"


def test_a_suspended_job_is_not_waited_for(cluster: Cluster, ns: str) -> None:
    deploy(cluster, ns, "one", RAW, values=raw(job(suspend=True)), timeout=LONG)


def test_a_job_suspended_by_hand_is_not_waited_for(cluster: Cluster, ns: str) -> None:
    """Only the object in the cluster shows it."""
    deploy(cluster, ns, "one", RAW, values=raw(job(NEVER)), wait=False)
    patch = json.dumps({"spec": {"suspend": True}})
    cluster.kubectl("patch", "job", "migrate", f"--namespace={ns}", "--type=merge", f"-p={patch}")
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}}
    deploy(cluster, ns, "one", RAW, values=raw(job(NEVER), extra), timeout=LONG)


HOOK = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: hook
  annotations:
    helm.sh/hook: WHEN
data: {a: b}
"""


def test_a_suspended_job_in_helms_wait_is_named(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """A chart with late hooks is left to helm's own wait, whose timeout names no cause."""
    chart = small(
        chart_root, name="suspended", job=json.dumps(job(suspend=True)), hook=HOOK.replace("WHEN", "post-install")
    )
    cluster.apply(managedchart("one", chart, **BRIEF), namespace=ns)
    failure = cluster.wait_failed(ns, "one", "Timeout")["status"]["lastFailure"]
    assert failure["message"] == f"Job {ns}/migrate is suspended, so it does not run"
    assert f"kubectl -n {ns} patch job migrate" in failure["hint"]


# ---- Deployments and DaemonSets


def test_a_deployment_paused_by_hand_is_not_waited_for(cluster: Cluster, ns: str) -> None:
    """As helm does: `kubectl rollout pause` says that its pods are not to be replaced now."""
    deploy(cluster, ns, "web", WEB)
    cluster.kubectl("rollout", "pause", "deployment", "web", f"--namespace={ns}")
    chart = deploy(cluster, ns, "web", WEB, values={"podAnnotations": NEVER}, timeout=LONG)
    assert chart["status"]["release"]["revision"] == 2


def test_an_on_delete_daemon_set_is_not_waited_for(cluster: Cluster, ns: str) -> None:
    strategy = {"updateStrategy": {"type": "OnDelete"}}
    deploy(cluster, ns, "one", RAW, values=raw(workload("DaemonSet", **strategy)), timeout=LONG)
    changed = workload("DaemonSet", {"example.com/changed": "yes"}, **strategy)
    chart = deploy(cluster, ns, "one", RAW, values=raw(changed), timeout=LONG)
    assert chart["status"]["release"]["revision"] == 2


# ---- custom resources

ANY_STATUS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollabouts.readiness.example.com}
spec:
  group: readiness.example.com
  scope: Namespaced
  names: {kind: Rollabout, listKind: RollaboutList, plural: rollabouts, singular: rollabout}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
RESOURCE = """
apiVersion: readiness.example.com/v1
kind: Rollabout
metadata: {name: one}
spec: {}
status: {{ toJson .Values.status }}
"""


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({"observedGeneration": "1"}, True),
        ({"observedGeneration": "none", "conditions": "none"}, True),
        ({"observedGeneration": "0"}, False),
        ({"conditions": [{"type": "Ready", "status": True}]}, True),
        ({"conditions": [{"type": "Ready", "status": False, "message": "no version yet"}]}, False),
    ],
    ids=["text", "no number", "older", "boolean", "boolean false"],
)
def test_a_status_of_another_type_is_understood(
    cluster: Cluster, ns: str, chart_root: Path, status: dict[str, Any], *, ready: bool
) -> None:
    """helm's own wait never ends for these. Argo Rollouts writes its observedGeneration as text."""
    files = {**chart_files("rollabout", resource=RESOURCE), "crds/rollabouts.yaml": ANY_STATUS}
    chart = {"path": str(write_chart(chart_root / "rollabout", files))}
    if ready:
        deploy(cluster, ns, "one", chart, values={"status": status}, timeout=LONG)
        return
    cluster.apply(managedchart("one", chart, values={"status": status}, **BRIEF), namespace=ns)
    cluster.wait_failed(ns, "one", "Timeout")


RAW_TEMPLATE = next((CHARTS / "raw" / "templates").iterdir()).read_text()
NO_VERSION = {"conditions": [{"type": "Ready", "status": "False", "message": "no version yet"}]}
EXCLUDE = {"exclude": [{"group": "readiness.example.com", "kind": "Rollabout", "name": "one"}]}


def rollabout(folder: Path, **templates: str) -> dict[str, str]:
    """Write a chart with a custom resource that is not ready by design, and what the values render."""
    files = {
        **chart_files("rollabout", **{"resource": RESOURCE, "raw": RAW_TEMPLATE, **templates}),
        "crds/rollabouts.yaml": ANY_STATUS,
    }
    return {"path": str(write_chart(folder, files))}


def test_an_object_is_left_out_by_the_spec(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """The hint of the timeout says how. Nothing else is waited for less, and a rollback leaves it out too."""
    chart = rollabout(chart_root / ns)
    values = {"status": NO_VERSION, **raw(workload("Deployment"))}
    cluster.apply(managedchart("one", chart, values=values, atomic=False, **BRIEF), namespace=ns)
    failure = cluster.wait_failed(ns, "one", "Timeout")["status"]["lastFailure"]
    assert failure["message"] == f"Not ready within the timeout: Rollabout {ns}/one (no version yet)"
    assert failure["hint"] == (
        f"If Rollabout {ns}/one is not meant to become ready, leave it out of the wait: add {{kind: Rollabout, name: one, "
        f'namespace: {ns}}} to spec.waitFor.exclude, or annotate it in the chart with managedchart.dev/wait: "false".'
    )
    found = deploy(cluster, ns, "one", chart, values=values, waitFor=EXCLUDE, timeout=LONG)
    revision = found["status"]["release"]["revision"]

    values |= raw(workload("Deployment", {FAIL: "image"}))
    cluster.apply(managedchart("one", chart, values=values, waitFor=EXCLUDE, **BRIEF), namespace=ns)
    cluster.wait_chart(
        ns,
        "one",
        lambda chart: (
            condition_of(chart, "Stalled").get("message", "").startswith(f"Rolled back to revision {revision}")
        ),
        what="rolled back",
    )
    assert cluster.revisions(ns, "one")[-1] == (revision + 2, "deployed")


def test_an_object_is_left_out_by_the_chart(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """Also where hooks run after the wait of helm, which cannot leave out anything: then they run before the operator's wait.

    The failure of a workload that is left out does not end the wait for the other one.
    """
    failing = workload("Deployment", {FAIL: "image"})
    failing["metadata"] = {"name": "optional", "annotations": {"managedchart.dev/wait": "false"}}
    template = RESOURCE.replace("{name: one}", '{name: one, annotations: {managedchart.dev/wait: "false"}}')
    chart = rollabout(chart_root / ns, resource=template, hook=HOOK.replace("WHEN", "post-install"))
    values = {"status": NO_VERSION, **raw(workload("Deployment", SLOW), failing)}
    cluster.apply(managedchart("one", chart, values=values, failFastGrace="500ms", timeout=LONG), namespace=ns)
    found = cluster.wait_ready(ns, "one")
    assert found["status"]["release"]["revision"] == 1
    assert config(cluster, ns, "hook") == {"a": "b"}


# ---- claims


@pytest.fixture
def late_class(cluster: Cluster, ns: str) -> Iterator[str]:
    """A StorageClass that binds a claim once a pod mounts it; no program makes volumes for it."""
    name = f"late-{ns}"[:60]
    cluster.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    yield name
    cluster.delete(f"/apis/storage.k8s.io/v1/storageclasses/{name}")


def claim(storage_class: str) -> dict[str, Any]:
    """Build a claim of a class."""
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}


VOLUMES = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}


def test_a_claim_of_a_cron_job_is_not_waited_for(cluster: Cluster, ns: str, late_class: str) -> None:
    """It is bound when the CronJob first runs, tonight."""
    spec = {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": pods(restartPolicy="Never", **VOLUMES)}}}
    backup = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "backup"}, "spec": spec}
    idle = workload("Deployment", replicas=0)
    idle["spec"]["template"]["spec"] |= VOLUMES
    deploy(cluster, ns, "one", RAW, values=raw(claim(late_class), backup, idle), timeout=LONG)


def test_a_claim_that_a_pod_mounts_is_waited_for(cluster: Cluster, ns: str, late_class: str) -> None:
    """Nothing makes its volume, which the scheduler says of the pod."""
    user = workload("Deployment")
    user["spec"]["template"]["spec"] |= VOLUMES
    cluster.apply(managedchart("one", RAW, values=raw(claim(late_class), user), **BRIEF), namespace=ns)
    failure = cluster.wait_failed(ns, "one")["status"]["lastFailure"]
    assert failure["reason"] in ("VolumeUnbound", "Unschedulable")
    assert "helmError" not in failure


def test_an_unused_claim_in_helms_wait_is_explained(
    cluster: Cluster, ns: str, late_class: str, chart_root: Path
) -> None:
    chart = small(
        chart_root, name="late-claim", claim=json.dumps(claim(late_class)), hook=HOOK.replace("WHEN", "post-install")
    )
    cluster.apply(managedchart("one", chart, **BRIEF), namespace=ns)
    failure = cluster.wait_failed(ns, "one", "VolumeUnbound")["status"]["lastFailure"]
    assert "waiting for first consumer to be created before binding" in failure["message"]
    assert failure["rootCause"]["kind"] == "PersistentVolumeClaim"


# ---- what is rendered


def test_a_hook_with_a_multi_line_annotation_runs_last(cluster: Cluster, ns: str, chart_root: Path) -> None:
    hook = HOOK.replace("WHEN", "pre-upgrade,\n      post-install")
    chart = small(chart_root, name="two-lines", web=json.dumps(workload("Deployment", SLOW)), hook=hook)
    cluster.apply(managedchart("one", chart), namespace=ns)
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    cluster.wait(path, "one", lambda found: found, what="there")
    assert cluster.revisions(ns, "one") == [(1, "pending-install")]
    assert config(cluster, ns, "hook") is None
    cluster.wait_ready(ns, "one")
    assert config(cluster, ns, "hook") == {"a": "b"}


def test_items_of_a_list_are_waited_for_and_removed(cluster: Cluster, ns: str) -> None:
    """They name no kind of their own; the release was Ready while their image could not be pulled."""
    item = {name: value for name, value in workload("Deployment").items() if name in ("metadata", "spec")}
    listed = {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [item]}
    deploy(cluster, ns, "one", RAW, values=raw(listed), timeout=LONG)
    item["spec"]["template"] = pods({FAIL: "image"})
    cluster.apply(managedchart("one", RAW, values=raw(listed), timeout=LONG, retry={"limit": 0}), namespace=ns)
    chart = cluster.wait_failed(ns, "one", "ImagePull")
    assert condition_of(chart, "Ready")["status"] == "False"
    delete(cluster, ns, "one")
    assert cluster.items(f"/apis/apps/v1/namespaces/{ns}/deployments") == []
