"""Which objects belong to a release: what it renders, and what controllers made of that."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.diagnosis.objects import identities, owned_by
from managedchart_operator.helm.manifest import parse_manifest

RENDERED = frozenset({("Deployment", "web"), ("CronJob", "nightly")})


def owner(kind: str, name: str, uid: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "uid": uid}


def made(uid: str, *owners: dict[str, str]) -> dict[str, Any]:
    """An object as metadata tells it."""
    return {"metadata": {"uid": uid, "name": f"name-of-{uid}", **({"ownerReferences": list(owners)} if owners else {})}}


# ---- owners


def test_the_pods_of_a_deployment_are_found_through_their_replica_set() -> None:
    replica_set = made("rs", owner("Deployment", "web", "d"))
    pods = [made("pod-1", owner("ReplicaSet", "web-abc", "rs")), made("pod-2", owner("ReplicaSet", "web-abc", "rs"))]
    assert owned_by(RENDERED, [replica_set, *pods]).owned == {"rs", "pod-1", "pod-2"}


def test_the_order_of_the_objects_does_not_matter() -> None:
    """Lists of different kinds come in any order, children before parents too."""
    chain = [
        made("pod", owner("Job", "nightly-1", "job")),
        made("job", owner("CronJob", "nightly", "cron")),
    ]
    assert owned_by(RENDERED, chain).owned == owned_by(RENDERED, chain[::-1]).owned == {"job", "pod"}


def test_what_has_other_owners_or_none_does_not_belong() -> None:
    """The pod of another release in the namespace, and one that only has the same labels."""
    others = [
        made("rs", owner("Deployment", "other", "d2")),
        made("pod", owner("ReplicaSet", "other-abc", "rs")),
        made("lonely"),
        made("same name, other kind", owner("StatefulSet", "web", "s")),
    ]
    assert owned_by(RENDERED, others).owned == frozenset()


def test_one_owner_of_several_is_enough() -> None:
    shared = made("claim", owner("StatefulSet", "db", "s"), owner("Deployment", "web", "d"))
    assert owned_by(RENDERED, [shared]).owned == {"claim"}


def test_owners_that_go_round_in_a_circle_end() -> None:
    """The API server does not prevent it."""
    circle = [made("a", owner("A", "a", "b")), made("b", owner("B", "b", "a"))]
    assert owned_by(RENDERED, circle).owned == frozenset()
    circle.append(made("a", owner("Deployment", "web", "d")))
    assert owned_by(RENDERED, circle).owned == {"a", "b"}


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

    assert owned_by(RENDERED, objects).owned == {str(child) for child in parents if belongs(child)}


# ---- names


def test_an_object_is_known_by_kind_and_name() -> None:
    """One with a generated name has none yet."""
    objects: list[dict[str, Any]] = [
        {"kind": "Job", "metadata": {"name": "migrate"}},
        {"kind": "Job", "metadata": {"generateName": "x-"}},
        {"kind": "Pod"},
        {"kind": "Pod", "metadata": None},
    ]
    assert identities(objects) == {("Job", "migrate")}


def test_a_name_that_looks_like_a_date_is_a_name() -> None:
    """To helm it is a text; so was it stored."""
    found = parse_manifest("kind: Job\nmetadata: {name: 2026-01-01}")
    assert identities(found) == {("Job", "2026-01-01")}
