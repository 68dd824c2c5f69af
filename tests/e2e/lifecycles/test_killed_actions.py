"""`kill -9` at each action of a run, when the API server has carried out what it asked for: each effect is there once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from harness.cluster import MANAGEDCHARTS, Cluster, managedchart, namespace
from harness.held_api import HeldApi
from harness.operator_process import OperatorProcess, service_account_kubeconfig

RAW = {"path": str(CHARTS / "raw")}
BY_ACTION = "[?&]fieldManager=managedchart-action"
LATER = "made by somebody else while the operator was down"
COLLECTIONS = (
    *(f"/api/v1/namespaces/{{}}/{name}" for name in ("configmaps", "secrets")),
    *(f"/apis/apps/v1/namespaces/{{}}/{name}" for name in ("deployments", "replicasets", "statefulsets")),
    "/apis/batch/v1/namespaces/{}/jobs",
)


@pytest.fixture
def api(own_cluster: Cluster, tmp_path: Path) -> Iterator[HeldApi]:
    """What the operator takes for the API server."""
    with HeldApi(service_account_kubeconfig(own_cluster, tmp_path / "account")).running() as relay:
        yield relay


@pytest.fixture
def own_operator(api: HeldApi, helm_binary: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that the test may kill."""
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig")
    with OperatorProcess(kubeconfig=kubeconfig, folder=tmp_path, helm=helm_binary, chart_roots=[CHARTS]) as operator:
        yield operator


def config(name: str, text: str = "first", **labels: str) -> dict[str, Any]:
    """Build a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"text": text},
    }


def workload(kind: str, name: str, replicas: int) -> dict[str, Any]:
    """Build a Deployment or a StatefulSet."""
    container = {"name": "main", "image": f"registry.example/{name}:1", "args": ["serve"]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec: dict[str, Any] = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


DOOMED = {"kind": "ConfigMap", "selector": {"matchLabels": {"set": "doomed"}}}
ARGS = "/spec/template/spec/containers/0/args"
ACTIONS: dict[str, dict[str, Any]] = {
    "adopt": {"objects": [{"kind": "ConfigMap", "name": "adopted"}]},
    "apply": {
        "manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "b"}}
    },
    "patch": {
        "kind": "Deployment",
        "name": "patched",
        "json": [
            {"op": "test", "path": ARGS, "value": ["serve"]},
            {"op": "add", "path": f"{ARGS}/-", "value": "--more"},
        ],
    },
    "label": {"kind": "ConfigMap", "selector": {"matchLabels": {"set": "labelled"}}, "labels": {"team": "a"}},
    "job": {"image": "registry.example/migrate:1"},
    "backup": {"objects": [DOOMED]},
    "delete": {**DOOMED, "max": 2, "when": {"expr": "object.data.text == 'first'"}},
    "scale": {"kind": "StatefulSet", "name": "scaled", "replicas": 3},
    "restart": {"kind": "Deployment", "name": "restarted"},
    "restore": {"from": "backup"},
}
KILLED_AT = {
    "adopt": ("PATCH", "/configmaps/adopted", "configmaps/adopted"),
    "apply": ("PATCH", f"/configmaps/applied{BY_ACTION}", "configmaps/applied"),
    "patch": ("PATCH", f"/deployments/patched{BY_ACTION}", "deployments/patched"),
    "label": ("PATCH", f"/configmaps/labelled-1{BY_ACTION}", "configmaps/labelled-1"),
    "job": ("POST", f"/jobs{BY_ACTION}", ""),
    "backup": ("POST", f"/secrets{BY_ACTION}", ""),
    "delete": ("DELETE", "/configmaps/doomed-1", ""),
    "scale": ("PATCH", f"/statefulsets/scaled/scale{BY_ACTION}", "statefulsets/scaled"),
    "restart": ("PATCH", f"/deployments/restarted{BY_ACTION}", "deployments/restarted"),
    "restore": ("PATCH", f"/configmaps/doomed-2{BY_ACTION}", "configmaps/doomed-2"),
}
"""Of each action: the request after which the operator is killed, and the object that nothing changes from then on.

It is the first request where an action sends several, so the others are left to the successor.
"""
AFTER_UPGRADE = ("restart", "restore")


def test_each_effect_is_there_once(own_cluster: Cluster, api: HeldApi, own_operator: OperatorProcess) -> None:
    """One upgrade, ten kills: each successor finds what was done, and does the rest."""
    with namespace(own_cluster, "killed") as ns:
        before = _prepare(own_cluster, ns)
        values = {"objects": [workload("Deployment", "restarted", 1), config("adopted", "of the chart")]}
        actions = [
            {"name": verb, "phase": "PostExec" if verb in AFTER_UPGRADE else "PreExec", "timeout": "30s", verb: body}
            for verb, body in ACTIONS.items()
        ]
        states = {}
        for verb, (method, target, _) in KILLED_AT.items():
            api.hold(method, target)
            if own_operator.running:
                own_cluster.apply(managedchart("app", RAW, values=values, lifecycle={"actions": actions}), namespace=ns)
            else:
                own_operator.start()
            api.wait_held()
            own_operator.kill()
            if verb == "delete":
                own_cluster.wait_gone(f"/api/v1/namespaces/{ns}/configmaps", "doomed-1")
                own_cluster.apply(config("doomed-1", LATER, set="doomed"), namespace=ns)
            states[verb] = _objects(own_cluster, ns)
        own_operator.start()
        own_cluster.wait_ready(ns, "app")
        states[""] = now = _objects(own_cluster, ns)

        seen = list(states.values())
        for number, (verb, (_, _, effect)) in enumerate(KILLED_AT.items()):
            end = -3 if verb == "adopt" else None  # helm changes it then
            assert not effect or len({each[effect] for each in seen[number:end]}) == 1, verb
            assert not effect or before.get(effect) != now[effect], verb
        assert now["configmaps/labelled-2"] != before["configmaps/labelled-2"], "the rest of the action was done"
        assert now["configmaps/adopted"][0] == before["configmaps/adopted"][0], "it was taken over"
        assert {each[name] for each in seen for name in each if name.startswith("jobs/")} == {_only(now, "jobs/")}
        assert now["configmaps/doomed-1"] == states["delete"]["configmaps/doomed-1"], "it was not deleted again"
        assert "configmaps/doomed-2" not in states["scale"]
        assert (_text(own_cluster, ns, "doomed-1"), _text(own_cluster, ns, "doomed-2")) == (LATER, "first")
        assert "secrets/managedchart-backup-backup" in states["restore"].keys() - now.keys()
        for name, count in (("patched-", 2), ("restarted-", 2)):
            assert sum(each.startswith(f"replicasets/{name}") for each in now) == count
        assert own_cluster.revisions(ns, "app") == [(1, "superseded"), (2, "deployed")]
        own_cluster.delete(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts/app")
        own_cluster.wait_gone(f"{MANAGEDCHARTS}/namespaces/{ns}/managedcharts", "app")


def _prepare(cluster: Cluster, ns: str) -> dict[str, tuple[str, int | str]]:
    """Deploy the first revision, make what the actions of the second one work with, and return what there is."""
    numbered = [config(f"{name}-{number}", set=name) for name in ("labelled", "doomed") for number in (1, 2)]
    workloads = workload("Deployment", "patched", 1), workload("StatefulSet", "scaled", 1)
    cluster.apply(config("adopted"), *numbered, *workloads, namespace=ns)
    cluster.apply(managedchart("app", RAW, values={"objects": [workload("Deployment", "restarted", 1)]}), namespace=ns)
    cluster.wait_ready(ns, "app")
    return _objects(cluster, ns)


def _only(found: dict[str, tuple[str, int | str]], prefix: str) -> tuple[str, int | str]:
    (one,) = (value for name, value in found.items() if name.startswith(prefix))
    return one


def _text(cluster: Cluster, ns: str, name: str) -> str:
    found = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")
    assert found is not None, f"there is no ConfigMap {name}"
    return str(found["data"]["text"])


def _objects(cluster: Cluster, ns: str) -> dict[str, tuple[str, int | str]]:
    """Return UID and version of what there is: for workloads the generation, as their status changes by itself."""
    found = {}
    for collection in COLLECTIONS:
        for item in cluster.items(collection.format(ns)):
            meta = item["metadata"]
            found[f"{collection.rpartition('/')[2]}/{meta['name']}"] = (
                meta["uid"],
                meta.get("generation") or meta["resourceVersion"],
            )
    return found
