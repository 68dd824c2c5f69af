"""What team A can do to team B, to the administrators and to the operator with actions: what its account may, and no more."""

import base64
import gzip
import json
from typing import Any

from harness.chart_files import contents, package_chart
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess
from harness.tenants import DEFAULT, Tenant
from hostile.test_two_teams import failures, nothing_happens

SMALL = contents(package_chart())
OWNER = "managedchart.dev/owner"


def acting(name: str, *actions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a ManagedChart with actions, which is tried once."""
    named = [{"name": f"a{number}", "phase": "PreExec", "timeout": "1m", **each} for number, each in enumerate(actions)]
    return managedchart(name, SMALL, retry={"limit": 0}, lifecycle={"actions": named}, **spec)


def config(namespace: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


def test_every_verb_is_refused_in_another_namespace(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """Also what is cluster-wide; each verb as team A's own account, which may do everything in A's namespace."""
    a, b = teams
    b.cluster.apply(config(b.namespace, "of-b"), namespace=b.namespace)
    cm, secret = {"kind": "ConfigMap", "name": "of-b", "namespace": b.namespace}, {"kind": "Secret", "name": "payroll"}
    labels = {"matchLabels": {"app": "web"}}
    service = {"service": "app", "port": "80", "namespace": b.namespace}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "of-a"}}
    verbs: dict[str, dict[str, Any]] = {
        "exists": {**secret, "namespace": b.namespace},
        "expect": {"kind": "Secret", "selector": labels, "namespace": b.namespace, "expr": "true"},
        "waitfor": {"waitFor": {**cm, "jsonPath": "{.data}"}},
        "http": {**service, "path": "/"},
        "metric": {**service, "query": "up", "expr": "true"},
        "adopt": {"objects": [cm]},
        "apply": {"manifest": config(b.namespace, "of-a")},
        "cluster": {"apply": {"manifest": role}},
        "patch": {**cm, "merge": {"data": {"a": "b"}}},
        "label": {**cm, "labels": {"a": "b"}},
        "delete": {**cm},
        "restart": {"kind": "Deployment", "name": "web", "namespace": b.namespace},
        "scale": {"kind": "Deployment", "name": "web", "replicas": 0, "namespace": b.namespace},
        "backup": {"objects": [cm]},
        "crds": {"applyCRDs": {"manifests": [_crd(a.namespace)]}},
    }
    charts = [
        acting(verb, body if verb in ("waitfor", "cluster", "crds") else {verb: body}) for verb, body in verbs.items()
    ]
    with nothing_happens(teams, operator):
        failed = failures(a, charts)
    assert {name: failure["reason"] for name, failure in failed.items()} == dict.fromkeys(verbs, "Forbidden"), failed
    assert cluster.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/of-a") is None


def _crd(group: str) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"kind": "Trap", "plural": "traps", "singular": "trap"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"traps.{group}.example.com"},
        "spec": {"group": f"{group}.example.com", "scope": "Cluster", "names": names, "versions": [version]},
    }


def test_a_forged_backup_is_restored_as_its_writer_could(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """Whoever may write Secrets in A's namespace decides what is restored, within what A's account may do."""
    a, b = teams
    uid = a.create(managedchart("forged", SMALL, action="Skip"))["metadata"]["uid"]
    objects = [config(a.namespace, "own"), config(b.namespace, "of-a"), {**config("", "x"), "kind": "Namespace"}]
    packed = base64.b64encode(gzip.compress(json.dumps(objects).encode())).decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "managedchart-backup-a", "labels": {OWNER: uid}},
        "data": {"objects.json.gz": packed},
    }
    cluster.apply(secret, namespace=a.namespace)
    with nothing_happens(teams, operator):
        never = {
            "name": "a",
            "when": {"operation": "Upgrade"},
            "backup": {"objects": [{"kind": "ConfigMap", "name": "own"}]},
        }
        cluster.apply(acting("forged", {"restore": {"from": "a"}}, never, action="Deploy"), namespace=a.namespace)
        failure = cluster.wait_failure(a.namespace, "forged")["lastFailure"]
    assert failure["reason"] == "Forbidden", failure
    assert cluster.get(f"/api/v1/namespaces/{b.namespace}/configmaps/of-a") is None


def test_a_tenant_cannot_stand_in_for_the_job_of_a_profile(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """A deletes it, and creates one of the same name and content that succeeds, with all labels and annotations."""
    a, platform = teams
    assert operator.running
    a.grant(platform, "admin")
    jobs = f"/apis/batch/v1/namespaces/{a.namespace}/jobs"
    fails = {"devcluster.managedchart.dev/fail": "job-fail"}
    job = {"image": "registry.example/scan:1", "labels": fails}
    profile = {
        "apiVersion": "managedchart.dev/v1alpha1",
        "kind": "LifecycleProfile",
        "metadata": {"name": a.namespace},
        "spec": {
            "match": {"namespaces": {"names": [a.namespace]}},
            "serviceAccount": {"name": DEFAULT, "namespace": platform.namespace},
            "actions": [{"name": "scan", "phase": "PreExec", "timeout": "30s", "job": job}],
        },
    }
    cluster.apply(profile)
    try:
        accepted = f"{MANAGEDCHARTS}/lifecycleprofiles"
        cluster.wait(
            accepted,
            a.namespace,
            lambda found: condition_of(found or {}, "Accepted") != {},
            what="read by the operator",
        )
        a.create(managedchart("web", SMALL, retry={"limit": 0}))
        failure = cluster.wait_failure(a.namespace, "web")["lastFailure"]
        assert failure["message"].startswith(
            f"Action scan (job) of profile/{a.namespace} failed: Job {a.namespace}/scan-"
        )
        (own,) = cluster.items(jobs)
        name = own["metadata"]["name"]
        cluster.delete(f"{jobs}/{name}")
        cluster.wait_gone(jobs, name)
        kept = {key: own["metadata"][key] for key in ("name", "annotations")}
        labels = {key: value for key, value in own["metadata"]["labels"].items() if key not in fails}
        pod = own["spec"]["template"]["spec"]
        forged = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {**kept, "labels": labels},
            "spec": {"template": {"metadata": {"labels": {"app": "x"}}, "spec": pod}},
        }
        cluster.create(jobs, forged)
        cluster.wait(jobs, name, lambda found: bool((found or {}).get("status", {}).get("succeeded")), what="succeeded")

        cluster.kubectl("annotate", "managedchart", "web", f"--namespace={a.namespace}", "managedchart.dev/retry=now")
        failure = cluster.wait_chart(
            a.namespace,
            "web",
            lambda found: "was not created" in found["status"].get("lastFailure", {}).get("message", ""),
            what="refused",
        )["status"]["lastFailure"]
        assert failure["message"] == (
            f"Action scan (job) of profile/{a.namespace} failed: Job {a.namespace}/{name} was not created by this action, which"
            " needs its name"
        )
        assert cluster.revisions(a.namespace, "web") == []
    finally:
        cluster.delete(f"{MANAGEDCHARTS}/lifecycleprofiles/{a.namespace}")


def test_actions_that_never_end_delay_nobody(
    cluster: Cluster, operator: OperatorProcess, teams: tuple[Tenant, Tenant]
) -> None:
    """Of ten ManagedCharts with the longest deadlines that there are; a change of the spec and a deletion end them at once."""
    a, b = teams
    charts = f"{MANAGEDCHARTS}/namespaces/{a.namespace}/managedcharts"
    never = {"waitFor": {"kind": "ConfigMap", "name": "never", "jsonPath": "{.data}"}, "timeout": "24h", "retries": 100}
    steps = {"expect": {"kind": "ServiceAccount", "name": "default", "expr": _steps()}, "retries": 100, "backoff": "1s"}
    names = [f"never-{number}" for number in range(10)]
    for name in names:
        a.create(acting(name, *([never] if name != "never-9" else [steps])))
    for name in names:
        cluster.wait_chart(a.namespace, name, lambda found: _action(found).get("state") == "Running", what="running")
    b.create(acting("ledger", {"expect": {"kind": "ServiceAccount", "name": "default", "expr": "true"}}))
    cluster.wait_ready(b.namespace, "ledger")

    changed = '--patch={"spec":{"lifecycle":null}}'
    cluster.kubectl("patch", "managedchart", "never-0", f"--namespace={a.namespace}", "--type=merge", changed)
    cluster.wait_ready(a.namespace, "never-0")
    for name in names:
        a.delete(name)
    for name in names:
        cluster.wait_gone(charts, name)


def _steps() -> str:
    """Return an expression that takes as many steps as fit into its length."""
    inner = "true"
    for name in "abcdefgh":
        inner = f"[1,2,3,4,5,6,7,8,9].all({name}, {inner})"
    return inner


def _action(found: dict[str, Any]) -> dict[str, Any]:
    phases = (found.get("status") or {}).get("phases") or ()
    return next((each for phase in phases for each in phase.get("actions") or ()), {})
