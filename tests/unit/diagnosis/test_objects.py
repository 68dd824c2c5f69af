"""Which objects belong to a release: what it renders, and what controllers made of that."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.diagnosis.objects import identities, outline, owned_by, parse_manifest

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


# ---- manifests


def test_documents_without_an_object_are_left_out() -> None:
    manifest = "---\n# Source: web/empty.yaml\n---\nkind: ConfigMap\nmetadata: {name: a}\n---\n- a list\n---\na text\n"
    assert parse_manifest(manifest) == [{"kind": "ConfigMap", "metadata": {"name": "a"}}]


def test_several_manifests_are_read_one_after_another() -> None:
    """A release keeps its hooks apart from the rest."""
    assert [item["kind"] for item in parse_manifest("kind: A", "kind: B\n---\nkind: C", "")] == ["A", "B", "C"]


def test_lists_are_taken_apart() -> None:
    manifest = yaml.safe_dump(
        {"kind": "ConfigMapList", "items": [{"kind": "ConfigMap", "metadata": {"name": "a"}}, None]}
    )
    assert parse_manifest(manifest) == [{"kind": "ConfigMap", "metadata": {"name": "a"}}]


def test_a_kind_that_only_ends_like_a_list_is_one_object() -> None:
    assert parse_manifest("kind: AllowList\nspec: {}") == [{"kind": "AllowList", "spec": {}}]


@pytest.mark.parametrize(
    "manifest",
    ["kind: 1", "kind: null", "kind: [A]", "kind: A\nmetadata: text", "1: 2"],
)
def test_what_only_resembles_an_object_is_left_out(manifest: str) -> None:
    """helm writes no such thing, but it is read from a Secret."""
    assert parse_manifest(manifest, "kind: B") == [{"kind": "B"}]


@pytest.mark.parametrize("manifest", ["kind: [", "a: b: c", "kind: \x00", "\tkind: A"])
def test_what_is_no_yaml_is_refused(manifest: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_manifest(manifest)


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


def test_the_text_that_pyyaml_has_a_type_for_and_no_way_to_read_is_a_text() -> None:
    """It stands in the schemas of the Prometheus operator's CustomResourceDefinitions."""
    [found] = parse_manifest("kind: A\nmetadata: {name: a}\nspec: {enum: [=, '!=']}\n")
    assert found["spec"] == {"enum": ["=", "!="]}


OUTLINED = {
    "as charts are written": "apiVersion: v1\nkind: A\nmetadata:\n  name: a\n  namespace: b\ndata:\n  x: y\n",
    "with comments": "# Source: x\napiVersion: v1 # y\nkind: 'A' # z\nmetadata:\n# w\n  name: a\n",
    "metadata in one line": 'kind: "A"\napiVersion: v1\nmetadata: {name: a, labels: {x: y}}\nspec: {}\n',
    "lists at the margin": "spec:\n- metadata\n- kind: B\nkind: A\napiVersion: v1\nmetadata:\n  name: a\n  x:\n  - y\n",
    "a text like another document": "apiVersion: v1\nkind: A\nmetadata:\n  name: a\ndata:\n  x: |\n    ---\n    kind: B\n",
    "JSON": '{"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}',
    "JSON over lines": '{\n"apiVersion": "v1",\n"kind": "A",\n"metadata": {"name": "a"}\n}\n',
    "an anchor in what is cut off": "data:\n  x: &n a\napiVersion: v1\nkind: A\nmetadata:\n  name: *n\n",
    "a list": "apiVersion: v1\nkind: AList\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: a}}\n",
    "quoted keys": '"apiVersion": v1\n"kind": A\n"metadata":\n  name: a\n',
    "several": "---\nkind: A\napiVersion: v1\nmetadata: {name: a}\n--- # next\nkind: C\napiVersion: v1\nmetadata: {name: c}\n",
    "nothing": "---\n# only a comment\n---\n",
}


@pytest.mark.parametrize("manifest", OUTLINED.values(), ids=OUTLINED)
def test_an_outline_names_the_objects_of_the_manifest(manifest: str) -> None:
    def named(objects: list[dict[str, Any]]) -> list[Any]:
        return [(found["apiVersion"], found["kind"], found["metadata"]) for found in objects]

    assert named(outline(manifest, whole=lambda _: False)) == named(parse_manifest(manifest))


def test_an_outline_leaves_out_what_does_not_name_an_object_unless_its_kind_is_wanted_whole() -> None:
    manifest = "kind: A\nmetadata: {name: a}\nspec: {x: y}\n---\nkind: B\nmetadata: {name: b}\nspec: {x: y}\n"
    first, second = outline(manifest, whole=lambda kind: kind == "B")
    assert "spec" not in first
    assert second["spec"] == {"x": "y"}
