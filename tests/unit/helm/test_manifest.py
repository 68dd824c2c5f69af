"""The manifests that helm rendered, read as objects."""

import json
import time
from functools import partial
from typing import Any

import pytest
import yaml

from managedchart_operator.helm import manifest as manifest_module
from managedchart_operator.helm import yaml_reader
from managedchart_operator.helm.manifest import ManifestError, as_sent, outline, parse_manifest


def test_documents_without_an_object_are_left_out() -> None:
    manifest = "---\n# Source: web/empty.yaml\n---\nkind: ConfigMap\nmetadata: {name: a}\n---\n- a list\n---\na text\n"
    assert parse_manifest(manifest) == [{"kind": "ConfigMap", "metadata": {"name": "a"}}]


def test_several_manifests_are_read_one_after_another() -> None:
    """A release keeps its hooks apart from the rest."""
    assert [item["kind"] for item in parse_manifest("kind: A", "kind: B\n---\nkind: C", "")] == ["A", "B", "C"]


def test_lists_are_split() -> None:
    manifest = yaml.safe_dump(
        {"kind": "ConfigMapList", "items": [{"kind": "ConfigMap", "metadata": {"name": "a"}}, None]}
    )
    assert parse_manifest(manifest) == [{"kind": "ConfigMap", "metadata": {"name": "a"}}]


def test_a_kind_that_ends_in_list_is_one_object() -> None:
    assert parse_manifest("kind: AllowList\nspec: {}") == [{"kind": "AllowList", "spec": {}}]


def test_items_without_a_kind_get_their_lists() -> None:
    """As helm fills it in; one that names a part of it is refused by helm, and left as it is."""
    items = "- metadata: {name: a}\n- kind: Other\n  metadata: {name: b}\n"
    manifest = f"apiVersion: apps/v1\nkind: DeploymentList\nitems:\n{items}"
    first, second = parse_manifest(manifest)
    assert first == {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}
    assert second == {"kind": "Other", "metadata": {"name": "b"}}
    assert outline(manifest) == [first, second]


def test_everything_with_items_is_a_list() -> None:
    """helm looks at nothing else."""
    inner = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "A"}]}
    manifest = yaml.safe_dump({"apiVersion": "v1", "kind": "Things", "items": [inner]})
    assert parse_manifest(manifest) == outline(manifest) == [{"apiVersion": "v1", "kind": "A"}]
    assert parse_manifest("kind: AList\nitems:\n") == []


@pytest.mark.parametrize(
    "manifest",
    [
        "kind: 1",
        "kind: null",
        "kind: ''",
        "kind: [A]",
        "kind: A\nmetadata: text",
        "1: 2",
        "kind: A\napiVersion: 1",
        "kind: A\nmetadata: {name: 1}",
        "kind: A\nmetadata: {namespace: [a]}",
        "kind: A\nmetadata: {annotations: [a]}",
        "kind: A\nmetadata: {labels: a}",
    ],
)
def test_documents_that_are_not_objects_are_left_out(manifest: str) -> None:
    """helm writes no such thing, but it is read from a Secret."""
    assert parse_manifest(manifest, "kind: B") == [{"kind": "B"}]


def laughs(levels: int) -> str:
    """Aliases that stand for nine times as much at each level."""
    lines = ["l0: &l0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


UNREADABLE = {
    "unclosed": "kind: [",
    "two values": "a: b: c",
    "control character": "kind: \x00",
    "tab": "\tkind: A",
    "half a character": "kind: \ud800",
    "text behind a separator": "kind: A\n--- {kind: B}\n",
    "nested too deep": "a: " + "[" * 5000,
    "not a number": "a: .nan",
    "contains itself": "a: &a [*a]",
    "unknown anchor": "a: *b",
    "laughs": laughs(9),
    "too large": "kind: A\nx: " + "x" * yaml_reader.MAX_BYTES,
}


@pytest.mark.parametrize("manifest", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_manifests_raise_one_error(manifest: str) -> None:
    """Whatever the reason, so that no caller forgets one."""
    with pytest.raises(ManifestError):
        parse_manifest(manifest)
    with pytest.raises(ManifestError):
        outline(manifest)


# To read as many values as a manifest may have takes seconds, so the limit is lower in all tests but one.
VALUES = 1000


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "Budget", partial(yaml_reader.Budget, nodes=VALUES))


@pytest.mark.usefixtures("small_budget")
@pytest.mark.parametrize("manifest", ["x: [" + "[]," * VALUES + "]", "---\n" * VALUES], ids=["values", "documents"])
def test_too_many_values_raise_the_same_error(manifest: str) -> None:
    with pytest.raises(ManifestError, match="values"):
        parse_manifest(manifest)
    with pytest.raises(ManifestError, match="values"):
        outline(manifest)


def test_reading_too_many_values_costs_bounded_time() -> None:
    began = time.process_time()
    with pytest.raises(ManifestError, match="more than 250000 values"):
        outline("x: [" + "[]," * (yaml_reader.MAX_BYTES // 4) + "]")
    assert time.process_time() - began < 20


@pytest.mark.parametrize("error", [RecursionError, MemoryError, OverflowError, ValueError])
def test_errors_of_python_are_translated(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise error("hunter2")

    monkeypatch.setattr("managedchart_operator.helm.yaml_reader._Builder.build", refuse)
    with pytest.raises(ManifestError) as raised:
        outline("kind: A")
    assert "hunter2" not in str(raised.value)


def test_the_error_names_the_line_and_quotes_nothing() -> None:
    """It goes into a status, and the manifest may hold secrets."""
    with pytest.raises(ManifestError) as raised:
        parse_manifest("kind: A\n---\nkind: B\nsecret: hunter2: [\n")
    assert str(raised.value).startswith("line 4: ")
    assert "hunter2" not in str(raised.value)


@pytest.mark.usefixtures("small_budget")
def test_all_manifests_share_one_budget() -> None:
    """A release has thousands of hooks, each with a manifest of its own."""
    one = "x: [" + "[]," * (VALUES // 5) + "]"
    parse_manifest(*[one] * 4)
    with pytest.raises(ManifestError):
        parse_manifest(*[one] * 5)


def test_scalars_are_read_by_helms_rules() -> None:
    """PyYAML makes dates, numbers of base 60 and errors of them (`0000-00-00`)."""
    text = "kind: A\nspec: {a: 2026-01-01, b: 0000-00-00, c: 2026-02-30, d: 22:22, e: 1e+06, f: 0o644, g: y, h: =, on: off}\n"
    assert parse_manifest(text)[0]["spec"] == {
        "a": "2026-01-01", "b": "0000-00-00", "c": "2026-02-30", "d": "22:22", "e": 1e6, "f": 0o644, "g": True, "h": "=",
        "true": False,
    }  # fmt: skip


def test_numbers_are_sent_as_helm_sends_them() -> None:
    """Go writes whole numbers without a fraction, and those beyond 64 bits with the digits of a float."""
    text = "kind: A\nspec: [1e+06, 1.5, 010, 08, 9223372036854775807, 18446744073709551615, 1e21, -0.0, yes, '1']\n"
    [found] = map(as_sent, parse_manifest(text))
    assert json.dumps(found["spec"]) == (
        '[1000000, 1.5, 8, 8, 9223372036854775807, 18446744073709552000, 1e+21, 0, true, "1"]'
    )


def test_a_lone_equals_sign_is_a_string() -> None:
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
    "braces over lines at the margin": "apiVersion: v1\nkind: A\nmetadata: {\nname: a,\nnamespace: b\n}\n",
    "braces that close in what looks like a key": "apiVersion: v1\nkind: A\nmetadata: {\nname: a, namespace: b }\nspec: {}\n",
    "a text that looks like a key": 'apiVersion: v1\nkind: A\nmetadata:\n  name: a\nspec: "x\nkind: B\n y"\n',
    "a text that looks like metadata": 'apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec: "x\nmetadata:\n  name: b\n y"\n',
    "the rest behind an end": "apiVersion: v1\nkind: A\nmetadata: {name: a}\n...\nkind: B\n",
    "dates for names": "apiVersion: v1\nkind: A\nmetadata: {name: 2026-01-01, namespace: 0000-00-00}\nspec: {}\n",
    "windows line ends": "apiVersion: v1\r\nkind: A\r\nmetadata: {name: a}\r\n---\r\nkind: B\r\napiVersion: v\r\nmetadata:\r\n",
}


@pytest.mark.parametrize("manifest", OUTLINED.values(), ids=OUTLINED)
def test_an_outline_names_the_objects_of_the_manifest(manifest: str) -> None:
    def named(objects: list[dict[str, Any]]) -> list[Any]:
        return [(found["apiVersion"], found["kind"], found["metadata"]) for found in objects]

    assert named(outline(manifest)) == named(parse_manifest(manifest))


def test_an_outline_is_short_except_for_whole_kinds() -> None:
    manifest = "kind: A\nmetadata: {name: a}\nspec: {a: b}\n---\nkind: B\nmetadata: {name: b}\nspec: {a: b}\n"
    first, second = outline(manifest, whole={"B"})
    assert "spec" not in first
    assert second["spec"] == {"a": "b"}


def test_a_manifest_has_not_more_objects_than_anybody_can_work_with() -> None:
    """A release Secret of some KiB can name ten thousands, and each costs a task and requests."""
    one = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    assert len(outline(one * 5000)) == 5000
    with pytest.raises(ManifestError, match="it has more than 5000 objects"):
        outline(one * 5001)
