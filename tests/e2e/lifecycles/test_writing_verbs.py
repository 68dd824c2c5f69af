"""The writing verbs on a real API server: what they change, what they leave, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from e2e.fields.steps import WEB, config, deploy, refused
from e2e.lifecycles.test_actions import actions_of
from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, KubectlError, managedchart

pytestmark = pytest.mark.usefixtures("operator")

RAW = {"path": str(CHARTS / "raw")}
RBAC = "rbac.authorization.k8s.io"
CRASH = {"devcluster.managedchart.dev/fail": "crash"}


def action(name: str, phase: str = "PreExec", **verb: Any) -> dict[str, Any]:
    return {"name": name, "phase": phase, "timeout": "30s", **verb}


def lifecycle(*actions: dict[str, Any]) -> dict[str, Any]:
    return {"actions": list(actions)}


def config_map(name: str, *, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


def test_helm_takes_over_what_was_adopted(cluster: Cluster, ns: str) -> None:
    """Also in a dry run, in which nothing is marked, and which helm would refuse for that."""
    cluster.apply(config_map("shared", by="hand"), namespace=ns)
    objects = {"objects": [config_map("shared", by="chart"), config_map("new", by="chart")]}
    adopt = {"objects": [{"kind": "ConfigMap", "name": "shared"}, {"kind": "ConfigMap", "name": "new"}]}
    spec = {"values": objects, "lifecycle": lifecycle(action("take", adopt=adopt))}

    tried = deploy(cluster, ns, "a", RAW, dryRun=True, **spec)

    assert actions_of(tried, "PreExec")["take"]["message"] == f"Would adopt ConfigMap {ns}/shared"
    assert config(cluster, ns, "shared") == {"by": "hand"}
    found = deploy(cluster, ns, "a", RAW, **spec)
    assert actions_of(found, "PreExec")["take"]["message"] == f"Adopted ConfigMap {ns}/shared"
    assert config(cluster, ns, "shared") == {"by": "chart"}
    failure = refused(cluster, ns, "b", RAW, **spec)
    assert failure["reason"] == "ObjectOwned"
    assert failure["message"] == (f"Action take (adopt) failed: ConfigMap {ns}/shared belongs to the release {ns}/a")


def test_only_crash_looping_pods_are_deleted(cluster: Cluster, ns: str) -> None:
    def pod(name: str, annotations: dict[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "old"}, "annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "registry.example/web:1.0"}]},
        }

    cluster.apply(pod("crashes", CRASH), pod("works", {}), namespace=ns)
    pods = f"/api/v1/namespaces/{ns}/pods"

    def gave_up(found: dict[str, Any] | None) -> bool:
        statuses = ((found or {}).get("status") or {}).get("containerStatuses") or ()
        return any(each["restartCount"] >= 5 and "waiting" in each["state"] for each in statuses)

    cluster.wait(pods, "crashes", gave_up, what="in a crash loop")
    clean = {
        "kind": "Pod",
        "selector": {"matchLabels": {"app": "old"}},
        "max": 1,
        "when": {"crashLooping": True, "expr": "object.metadata.name != release.name"},
    }

    found = deploy(cluster, ns, "a", RAW, lifecycle=lifecycle(action("clean", delete=clean)))

    assert actions_of(found, "PreExec")["clean"]["message"] == f"Deleted Pod {ns}/crashes"
    assert [each["metadata"]["name"] for each in cluster.items(pods)] == ["works"]


def test_more_than_max_deletes_nothing(cluster: Cluster, ns: str) -> None:
    cluster.apply(*(config_map(f"old-{n}", labels={"app": "old"}) for n in range(3)), namespace=ns)
    delete = {"kind": "ConfigMap", "selector": {"matchLabels": {"app": "old"}}, "max": 2}

    failure = refused(cluster, ns, "a", RAW, lifecycle=lifecycle(action("clean", delete=delete)))

    assert failure["message"] == (
        "Action clean (delete) failed: 3 ConfigMap match, more than max: 2; nothing was deleted"
    )
    assert failure["hint"] == "Write a narrower selector, or set max to 3."
    assert all(config(cluster, ns, f"old-{n}") is not None for n in range(3))


def test_a_missing_permission_names_the_account(cluster: Cluster, ns: str) -> None:
    """The action has the permissions of the resource's account, whatever the operator itself may do."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}}
    grant = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "deployer"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": ns}],
    }
    cluster.apply(account, grant, namespace=ns)
    user = f"User system:serviceaccount:{ns}:deployer has no permission to"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "default"}}

    for name, verb, lacks in (
        ("write", {"apply": {"manifest": secret}}, "patch secrets in namespace default"),
        ("mark", {"label": {"kind": "Node", "name": "node", "labels": {"a": "b"}}}, "get nodes cluster-wide"),
    ):
        spec = {"serviceAccountName": "deployer", "lifecycle": lifecycle(action(name, **verb))}
        failure = refused(cluster, ns, name, RAW, **spec)
        assert failure["reason"] == "Forbidden"
        assert failure["message"] == f"Action {name} ({next(iter(verb))}) failed: {user} {lacks}"


def test_each_effect_is_there_after_a_second_run(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """The verbs write the same Deployment as one field manager, and none removes what another has set."""
    templates = {
        "web": (CHARTS / "web" / "templates" / "deployment.yaml").read_text(),
        "config": (CHARTS / "web" / "templates" / "configmap.yaml").read_text(),
    }
    files = {
        **chart_files("web", "1.0.0", **templates),
        "values.yaml": (CHARTS / "web" / "values.yaml").read_text(),
        "files/extra.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {k: v}\n",
    }
    chart = {"path": str(write_chart(chart_root / ns, files))}
    web = {"kind": "Deployment", "name": "a"}
    applied = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "annotations": {"example.com/applied": "yes"}},
    }
    merge = {"metadata": {"annotations": {"example.com/patched": "yes", "example.com/absent": None}}}
    append = [
        {"op": "test", "path": "/data", "value": {"k": "v"}},
        {"op": "add", "path": "/data/more", "value": "x"},
    ]
    actions = [
        action("files", "PreExec", apply={"fromChart": "files/*.yaml"}),
        action("append", "PreExec", patch={"kind": "ConfigMap", "name": "extra", "json": append}),
        action("apply", "PostExec", apply={"manifest": applied}),
        action("patch", "PostExec", patch={**web, "merge": merge}),
        action("label", "PostExec", label={**web, "labels": {"team": "x", "app": None}}),
        action("scale", "PostExec", scale={**web, "replicas": 2}),
        action("restart", "PostExec", restart=web),
    ]

    first = deploy(cluster, ns, "a", chart, lifecycle=lifecycle(*actions))
    done = {name: each["message"] for name, each in actions_of(first, "PostExec").items()}
    second = deploy(cluster, ns, "a", chart, lifecycle=lifecycle(*actions), values={"message": "again"})

    assert done == {
        "apply": f"Applied Deployment {ns}/a",
        "patch": f"Patched Deployment {ns}/a",
        "label": f"Labelled Deployment {ns}/a",
        "scale": f"Scaled Deployment {ns}/a from 1 to 2",
        "restart": f"Restarted Deployment {ns}/a",
    }
    again = actions_of(second, "PostExec")
    assert again["patch"]["message"] == f"Deployment {ns}/a is as the patch makes it already"
    assert again["scale"]["message"] == f"Deployment {ns}/a has 2 replicas already"
    assert config(cluster, ns, "extra") == {"k": "v", "more": "x"}
    found = cluster.get(f"/apis/apps/v1/namespaces/{ns}/deployments/a")
    assert found is not None
    assert {"example.com/applied", "example.com/patched"} <= found["metadata"]["annotations"].keys()
    assert found["metadata"]["labels"]["team"] == "x"
    assert found["spec"]["replicas"] == 2
    assert "managedchart.dev/restarted-for" in found["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ({"delete": {"kind": "Pod", "selector": {"matchLabels": {"a": "b"}}}}, "a selector needs max"),
        ({"delete": {"kind": "Namespace", "name": "a"}}, "set confirmDataLoss: true"),
        ({"delete": {"kind": "CustomResourceDefinition", "name": "a"}}, "use the verb deleteCRDs"),
        ({"delete": {"kind": "Pod", "name": "a", "when": {}}}, "set crashLooping, expr or both"),
        ({"apply": {"manifest": "kind: ConfigMap"}}, "must be of type object"),
        ({"apply": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}}}, "manifest.metadata: Required value"),
        ({"patch": {"kind": "Pod", "name": "a"}}, "set exactly one of merge and json"),
        ({"label": {"kind": "Pod", "name": "a"}}, "name at least one label or annotation"),
        ({"phase": "PostExec", "adopt": {"objects": [{"kind": "Pod", "name": "a"}]}}, "adopt can be in PreExec only"),
    ],
    ids=lambda each: next(iter(each.values()), "") and next(reversed(each)) if isinstance(each, dict) else "",
)
def test_the_api_server_refuses(cluster: Cluster, ns: str, verb: dict[str, Any], expected: str) -> None:
    body = managedchart("a", WEB, lifecycle=lifecycle({**action("x"), **verb}))

    with pytest.raises(KubectlError, match=expected):
        cluster.kubectl_apply(body, namespace=ns)
