"""What must hold at the end of a run.

Purpose: waits until every resource has settled, then lists what is wrong. Boundary: looks only. Invariant: an empty list
means that each spec is fulfilled (or has failed with a reason), no release is pending, nothing runs, and nothing is
left of what was deleted.
"""

import time
from typing import Any

from chaos.schedule import JOBS, Resource, Wish
from harness.cluster import MANAGEDCHARTS, Cluster, condition_of, current, is_ready

_RELEASE = "meta.helm.sh/release-name"
_INSTANCE = "app.kubernetes.io/instance"
_COLLECTIONS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}
_SETTLED_REVISIONS = frozenset({"deployed", "superseded", "failed"})

Wishes = dict[Resource, Wish | None]


def await_settled(cluster: Cluster, wishes: Wishes, *, seconds: float) -> list[str]:
    """Wait by watch until every resource has come to an end; returns those that have not."""
    deadline = time.monotonic() + seconds
    late = []
    for resource, wish in wishes.items():
        # What was waited for the others counts; whoever is late by then still gets a look.
        left = max(deadline - time.monotonic(), 1.0)
        path = f"{MANAGEDCHARTS}/namespaces/{resource.namespace}/managedcharts"
        try:
            if wish is None:
                cluster.wait_gone(path, resource.name, timeout=left)
            elif wish.must_fail:
                cluster.wait_chart(resource.namespace, resource.name, _given_up, what="given up", timeout=left)
            else:
                cluster.wait_chart(resource.namespace, resource.name, is_ready, what="Ready", timeout=left)
        except AssertionError as error:
            late.append(f"{resource.name} ({wish or 'deleted'}) has not settled: {error}")
    return late


def violations(cluster: Cluster, wishes: Wishes) -> list[str]:
    """Return what is wrong now."""
    namespaces = sorted({resource.release_namespace for resource in wishes})
    releases = {(namespace, name): found for namespace in namespaces for name, found in _releases(cluster, namespace)}
    wrong = [
        f"release {namespace}/{name}: revision {number} is {status}"
        for (namespace, name), revisions in releases.items()
        for number, status in revisions
        if status not in _SETTLED_REVISIONS
    ]
    there = _objects(cluster, namespaces)
    wrong += _repeated(there)
    wrong += [
        f"{kind} {namespace}/{found['metadata']['name']} is left of {release}: {_state(found['metadata'])}"
        for kind, namespace, release, found in there
        if (namespace, release) not in releases
    ]
    for resource, wish in wishes.items():
        place = (resource.release_namespace, resource.name)
        wrong += [
            f"{resource.name}: {text}; its status is {_status(cluster, resource)}"
            for text in _unfulfilled(wish, resource, releases.get(place, []), there)
        ]
    return wrong


def _status(cluster: Cluster, resource: Resource) -> dict[str, Any]:
    """Return what shows why a resource was left as it is."""
    charts = cluster.items(f"{MANAGEDCHARTS}/namespaces/{resource.namespace}/managedcharts")
    status = next((each.get("status") or {} for each in charts if each["metadata"]["name"] == resource.name), {})
    return {name: status.get(name) for name in ("attempt", "history", "conditions", "lastFailure")}


def _unfulfilled(
    wish: Wish | None,
    resource: Resource,
    revisions: list[tuple[int, str]],
    there: list[tuple[str, str, str, dict[str, Any]]],
) -> list[str]:
    newest = max(revisions)[1] if revisions else None
    if wish is None or wish.destroy:
        return [f"its release is {newest}, but nothing should be there"] if revisions else []
    if wish.must_fail:
        # Either there was a good revision to go back to, or the first install was uninstalled.
        return [] if newest in (None, "deployed") else [f"its failed release was left {newest}"]
    if newest != "deployed":
        return [f"its release is {newest or 'missing'}"]
    mine = [
        (kind, found)
        for kind, namespace, release, found in there
        if (namespace, release) == (resource.release_namespace, resource.name)
    ]
    maps = {
        found["metadata"]["name"]: next(iter(found["data"].values())) for kind, found in mine if kind == "ConfigMap"
    }
    names = [f"{resource.name}-{i}" for i in range(wish.size)] if resource.chart == "raw" else [resource.name]
    wanted = dict.fromkeys(names, wish.message)
    wrong = [] if maps == wanted else [f"its ConfigMaps are {maps}, not {wanted}"]
    if resource.chart == "web":
        ready = [found.get("status", {}).get("readyReplicas") for kind, found in mine if kind == "Deployment"]
        if ready != [wish.size]:
            wrong.append(f"ready replicas are {ready}, not {wish.size}")
    return wrong


def _repeated(there: list[tuple[str, str, str, dict[str, Any]]]) -> list[str]:
    """Return the Jobs of actions that have not run once: of each there is one for a revision, whose name follows from it."""
    jobs = [(each["metadata"], each.get("status") or {}) for kind, _, _, each in there if kind == "Job"]
    return [
        f"Job {meta['namespace']}/{meta['name']} has run {status.get('succeeded', 0)} times: {status}"
        for meta, status in jobs
        if JOBS in (meta.get("labels") or {}) and (status.get("succeeded"), status.get("failed")) != (1, None)
    ]


def _given_up(chart: dict[str, Any]) -> bool:
    """Whether a ManagedChart is not Ready at its present generation, says why, and tries no more."""
    ready, stalled = condition_of(chart, "Ready"), condition_of(chart, "Stalled")
    return bool(
        current(chart, ready)
        and ready["status"] == "False"
        and ready["reason"]
        and ready["message"]
        and current(chart, stalled)
    )


def _releases(cluster: Cluster, namespace: str) -> list[tuple[str, list[tuple[int, str]]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for secret in cluster.items(f"/api/v1/namespaces/{namespace}/secrets", labelSelector="owner=helm"):
        labels = secret["metadata"]["labels"]
        found.setdefault(labels["name"], []).append((int(labels["version"]), labels["status"]))
    return list(found.items())


def _objects(cluster: Cluster, namespaces: list[str]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return kind, namespace, release and object of everything that charts have made.

    What has an owner is Kubernetes' own to remove, and counts by its owner: after kills of the API server its garbage
    collector was seen to leave the pod of a deleted Job for more than a minute.
    """
    return [
        (kind, namespace, _release_of(found["metadata"]), found)
        for kind, path in _COLLECTIONS.items()
        for namespace in namespaces
        for found in cluster.items(path.format(namespace))
        if found["metadata"]["name"] != "kube-root-ca.crt" and not found["metadata"].get("ownerReferences")
    ]


def _state(metadata: dict[str, Any]) -> str:
    """Tell what is known of why an object is still there."""
    return ", ".join(f"{key} {metadata.get(key)}" for key in ("creationTimestamp", "deletionTimestamp", "finalizers"))


def _release_of(metadata: dict[str, Any]) -> str:
    """Return the release that an object belongs to: by annotation, by label, or (hooks have neither) by its name."""
    told = (metadata.get("annotations") or {}).get(_RELEASE) or (metadata.get("labels") or {}).get(_INSTANCE)
    return str(told or metadata["name"].split("-")[0])
