"""Which objects belong to a release: those that it renders, and those that controllers created for them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.diagnosis.objects import (
    Identity,
    Member,
    cluster_wide_kinds,
    identities,
    member_of,
    namespaces_of,
    owned_by,
)
from managedchart_operator.errors import KubeError
from managedchart_operator.helm.manifest import parse_manifest
from managedchart_operator.reasons import Reason

WEB = Identity("apps", "Deployment", "apps", "web")
RENDERED = frozenset({WEB, Identity("batch", "CronJob", "apps", "nightly")})
VERSIONS = {
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}


def owner(kind: str, name: str, uid: str, *, version: str = "") -> dict[str, str]:
    return {"apiVersion": version or VERSIONS.get(kind, "v1"), "kind": kind, "name": name, "uid": uid}


def made(uid: str, *owners: dict[str, str], namespace: str = "apps") -> Member:
    """The metadata of an object."""
    meta = {"uid": uid, "name": f"name-of-{uid}", "namespace": namespace}
    return member_of({"metadata": {**meta, **({"ownerReferences": list(owners)} if owners else {})}})


# ---- owners


def test_pods_are_found_through_their_replica_set() -> None:
    replica_set = made("rs", owner("Deployment", "web", "d"))
    pods = [made("pod-1", owner("ReplicaSet", "web-abc", "rs")), made("pod-2", owner("ReplicaSet", "web-abc", "rs"))]
    assert owned_by(RENDERED, [replica_set, *pods]) == {"rs", "pod-1", "pod-2"}


def test_the_order_of_the_objects_does_not_matter() -> None:
    """Lists of different kinds come in any order, children before parents too."""
    chain = [
        made("pod", owner("Job", "nightly-1", "job")),
        made("job", owner("CronJob", "nightly", "cron")),
    ]
    assert owned_by(RENDERED, chain) == owned_by(RENDERED, chain[::-1]) == {"job", "pod"}


def test_objects_with_other_owners_do_not_belong() -> None:
    """The pod of another release in the namespace, and one that only has the same labels."""
    others = [
        made("rs", owner("Deployment", "other", "d2")),
        made("pod", owner("ReplicaSet", "other-abc", "rs")),
        made("lonely"),
        made("same name, other kind", owner("StatefulSet", "web", "s")),
        made("same name, other namespace", owner("Deployment", "web", "d3"), namespace="other"),
        made("same name, other group", owner("Deployment", "web", "d4", version="example.com/v1")),
    ]
    assert owned_by(RENDERED, others) == set()


def test_one_owner_of_several_is_enough() -> None:
    shared = made("claim", owner("StatefulSet", "db", "s"), owner("Deployment", "web", "d"))
    assert owned_by(RENDERED, [shared]) == {"claim"}


def test_circular_owners_are_handled() -> None:
    """The API server does not prevent it."""
    circle = [made("a", owner("A", "a", "b")), made("b", owner("B", "b", "a"))]
    assert owned_by(RENDERED, circle) == set()
    circle.append(made("a", owner("Deployment", "web", "d")))
    assert owned_by(RENDERED, circle) == {"a", "b"}


@given(st.dictionaries(st.integers(0, 9), st.integers(-1, 9), max_size=10))
def test_exactly_the_descendants_belong(parents: dict[int, int]) -> None:
    """Whatever the forest: -1 is the rendered Deployment."""
    objects = [
        made(str(child), owner("Deployment", "web", "d") if parent < 0 else owner("X", "x", str(parent)))
        for child, parent in parents.items()
    ]

    def belongs(child: int, *, steps: int = 12) -> bool:
        parent = parents.get(child)
        return parent is not None and (parent < 0 or (steps > 0 and belongs(parent, steps=steps - 1)))

    assert owned_by(RENDERED, objects) == {str(child) for child in parents if belongs(child)}


def test_objects_of_a_cluster_wide_owner_belong() -> None:
    """Its owner reference has no namespace; nor does it say that there is none."""
    rendered = frozenset({Identity("example.com", "Cluster", "", "whole")})
    daemon_set = made("ds", owner("Cluster", "whole", "c", version="example.com/v1"), namespace="somewhere")
    assert owned_by(rendered, [daemon_set]) == {"ds"}


# ---- names


def test_group_kind_namespace_and_name_identify_an_object() -> None:
    """Whatever the version. One with a generated name has none yet."""
    objects: list[dict[str, Any]] = [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "namespace": "other"}},
        {"apiVersion": "example.com/v1beta1", "kind": "Job", "metadata": {"name": "migrate"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "x-"}},
        {"apiVersion": "v1", "kind": "Pod"},
        {"apiVersion": "v1", "kind": "Pod", "metadata": None},
    ]
    assert identities(objects, namespace="apps") == {
        Identity("batch", "Job", "apps", "migrate"),
        Identity("batch", "Job", "other", "migrate"),
        Identity("example.com", "Job", "apps", "migrate"),
        Identity("", "Pod", "apps", "one"),
    }


def test_a_name_that_looks_like_a_date_is_a_name() -> None:
    """To helm it is a text; so was it stored."""
    found = parse_manifest("apiVersion: batch/v1\nkind: Job\nmetadata: {name: 2026-01-01}")
    assert identities(found, namespace="apps") == {Identity("batch", "Job", "apps", "2026-01-01")}


def test_a_cluster_wide_object_has_no_namespace() -> None:
    """Also where the chart writes one."""
    objects = [
        {"apiVersion": "example.com/v1", "kind": "Cluster", "metadata": {"name": "a"}},
        {"apiVersion": "example.com/v1", "kind": "Cluster", "metadata": {"name": "b", "namespace": "apps"}},
    ]
    found = identities(objects, namespace="apps", cluster_wide={("example.com", "Cluster")})
    assert found == {Identity("example.com", "Cluster", "", name) for name in "ab"}


class FakeDiscovery:
    """Knows kinds of example.com; the API server does not answer for another group."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def namespaced(self, api_version: str, kind: str) -> bool:
        self.asked.append(kind)
        if api_version != "example.com/v1":
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        return kind != "Cluster"


async def test_a_kind_counts_as_namespaced_where_discovery_fails() -> None:
    """Evidence elsewhere is missed then, but no foreign object counts as the release's."""
    objects = [
        {"apiVersion": "example.com/v1", "kind": "Cluster", "metadata": {"name": "a"}},
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}},
        {"apiVersion": "broken.example.com/v1", "kind": "Cluster", "metadata": {"name": "a"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a"}},
    ]
    discovery: Any = FakeDiscovery()
    assert await cluster_wide_kinds(discovery, objects) == {("example.com", "Cluster")}
    assert "ClusterRole" not in discovery.asked, "nothing belongs to it"


# ---- namespaces


def test_only_namespaces_that_need_waiting_count() -> None:
    """Many charts put a RoleBinding into kube-system; nobody has to look at all pods there."""
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "config"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"namespace": "kube-system"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "second"}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "first"}},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "namespace": "second"}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}},
    ]
    assert namespaces_of(objects, namespace="apps") == ["apps", "second", "first"]
    assert namespaces_of([], namespace="apps") == ["apps"]


@pytest.mark.parametrize("name", ["kube-system/secrets?x=", "..", "UPPER", "a" * 64, {"a": "b"}, 7.5])
def test_invalid_namespace_names_are_skipped(name: Any) -> None:
    """A stored manifest may contain anything, even what the API server has refused."""
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": name}}
    assert namespaces_of([item], namespace="apps") == ["apps"]


@pytest.mark.parametrize(("namespace", "shown"), [("apps", "Pod a"), ("other", "Pod other/a"), ("", "Pod a")])
def test_an_object_elsewhere_is_shown_with_its_namespace(namespace: str, shown: str) -> None:
    """Than the one that the reader thinks of."""
    assert Identity("", "Pod", namespace, "a").shown_from("apps") == shown
