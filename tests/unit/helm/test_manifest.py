"""The manifests that helm rendered, read as objects."""

from typing import Any

import pytest
import yaml

from managedchart_operator.helm.manifest import outline, parse_manifest


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
