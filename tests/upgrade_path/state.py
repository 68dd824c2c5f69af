"""What an upgrade must not change: the ManagedCharts and the release Secrets, as they were and as they are.

Boundary: reads the cluster, and compares.
"""

from dataclasses import dataclass
from typing import Any

from harness.cluster import MANAGEDCHARTS, Cluster, condition_of

Key = tuple[str, str]
"""Namespace and name."""
# What Kubernetes itself puts into every namespace, and what tells of the past only.
_IN_EVERY_NAMESPACE = frozenset({"configmap/kube-root-ca.crt", "serviceaccount/default"})
_OF_THE_PAST = ("events", "leases")


@dataclass(frozen=True, slots=True)
class State:
    """All ManagedCharts, and the resourceVersion of each release Secret."""

    charts: dict[Key, dict[str, Any]]
    revisions: dict[Key, str]


def state_of(cluster: Cluster) -> State:
    """Read it."""
    charts = cluster.items(f"{MANAGEDCHARTS}/managedcharts")
    secrets = cluster.items("/api/v1/secrets", labelSelector="owner=helm")
    return State(
        {_key(chart): chart for chart in charts},
        {_key(secret): secret["metadata"]["resourceVersion"] for secret in secrets},
    )


def changed_revisions(before: State, after: State) -> list[str]:
    """Return what has become of the release Secrets that are not as they were."""
    return sorted(
        f"{namespace}/{name} {_verb(before.revisions.get((namespace, name)), after.revisions.get((namespace, name)))}"
        for namespace, name in {key for key, _ in before.revisions.items() ^ after.revisions.items()}
    )


def changed_ready(before: State, after: State) -> list[str]:
    """Return the ManagedCharts whose condition Ready has changed in any way, or that are not there any more."""
    return sorted(
        "/".join(key)
        for key, chart in before.charts.items()
        if key not in after.charts or condition_of(chart, "Ready") != condition_of(after.charts[key], "Ready")
    )


def written(before: State, after: State) -> dict[Key, list[str]]:
    """Return the ManagedCharts that were written meanwhile, each with the parts of it that differ.

    A condition has its type in the place of its name. The generation stands for the spec, which the API server fills with the
    defaults of the present CRD whenever it is read.
    """
    found = {}
    for key, chart in after.charts.items():
        old = before.charts[key]
        if old["metadata"]["resourceVersion"] != chart["metadata"]["resourceVersion"]:
            parts, known = _parts(chart), _parts(old)
            found[key] = sorted(name for name in parts.keys() | known.keys() if parts.get(name) != known.get(name))
    return found


def objects_in(cluster: Cluster, *namespaces: str) -> list[str]:
    """Return all objects of these namespaces that Kubernetes does not put into each."""
    kinds = cluster.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    asked = ",".join(kind for kind in kinds if kind.partition(".")[0] not in _OF_THE_PAST)
    return [
        f"{namespace}: {name}"
        for namespace in namespaces
        for name in cluster.kubectl("get", asked, f"--namespace={namespace}", "--output=name").split()
        if name not in _IN_EVERY_NAMESPACE
    ]


def _parts(chart: dict[str, Any]) -> dict[str, Any]:
    status = dict(chart.get("status") or {})
    conditions = {f"condition {each['type']}": each for each in status.pop("conditions", [])}
    metadata = {name: chart["metadata"].get(name) for name in ("labels", "annotations", "finalizers", "generation")}
    return {**status, **conditions, **metadata}


def _key(found: dict[str, Any]) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _verb(old: str | None, new: str | None) -> str:
    return "was deleted" if new is None else "was created" if old is None else "was written"
