"""Fields of rendered objects that are left out, or get the value in the cluster; and what the comment keeps of the chart's."""

import json
import time
from typing import Any

import pytest

from managedchart_operator.helm.manifest import ManifestError, parse_manifest
from managedchart_operator.helm.manifest_edits import Rendered, SetFields, chart_values, noted_values, rewrite
from managedchart_operator.helm.manifest_fields import FieldEdit, Path

REPLICAS: Path = ("f:spec", "f:replicas")
IMAGE: Path = ("f:spec", "f:containers", 'k:{"name":"web"}', "f:image")
PORT: Path = ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name")
WEB = """---
# Source: web/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  day: 2026-02-30
  labels: &labels {app: web, on: "yes"}
  selector: *labels
  containers:
  - name: side
    image: side:1
  - name: web
    image: web:1
  ports:
  - containerPort: 80
    name: http
  finalizers: [a.example.com/x, b.example.com/y]
"""


def edited(manifest: str, *edits: FieldEdit) -> str:
    return rewrite(manifest, lambda _: SetFields(edits))


def spec_of(manifest: str) -> dict[str, Any]:
    [found] = parse_manifest(manifest)
    spec: dict[str, Any] = found["spec"]
    return spec


def test_a_field_is_left_out() -> None:
    after = edited(WEB, FieldEdit(REPLICAS))
    assert spec_of(after) == {key: value for key, value in spec_of(WEB).items() if key != "replicas"}
    assert after.startswith("---\n# Source: web/templates/web.yaml\n# managedchart.dev/chart-values: [[[")


def test_a_field_of_an_item_is_left_out() -> None:
    after = spec_of(edited(WEB, FieldEdit(IMAGE), FieldEdit(PORT)))
    assert after["containers"] == [{"name": "side", "image": "side:1"}, {"name": "web"}]
    assert after["ports"] == [{"containerPort": 80}], "the API server fills in the protocol"


def test_an_item_of_a_set_is_left_out() -> None:
    after = edited(WEB, FieldEdit(("f:spec", "f:finalizers", 'v:"b.example.com/y"')))
    assert spec_of(after)["finalizers"] == ["a.example.com/x"]


def test_a_whole_item_is_never_left_out() -> None:
    """It has fields of the chart, too."""
    assert edited(WEB, FieldEdit(IMAGE[:3])) == WEB


def test_a_field_gets_the_value_in_the_cluster() -> None:
    after = edited(
        WEB, FieldEdit(REPLICAS, "6"), FieldEdit(IMAGE, '"ü: 1\\n#"'), FieldEdit(("f:spec", "f:selector"), '{"a":null}')
    )
    assert spec_of(after)["replicas"] == 6
    assert spec_of(after)["containers"][1]["image"] == "ü: 1\n#"
    assert spec_of(after)["selector"] == {"a": None}
    assert spec_of(after)["labels"] == spec_of(WEB)["selector"], "the alias changed, not what it stood for"


def test_only_the_chart_decides_which_fields_there_are() -> None:
    assert edited(WEB, FieldEdit(("f:spec", "f:paused"), "true"), FieldEdit(("f:metadata", "f:x"))) == WEB


def test_a_rollback_may_insert_a_field() -> None:
    """In items that exist, and in mappings that do not."""
    paths = [
        ("f:spec", "f:paused"),
        ("f:spec", "f:a", "f:b"),
        (*IMAGE[:3], "f:tty"),
        ("f:spec", "f:x", 'k:{"name":"a"}', "f:y"),
    ]
    after = spec_of(edited(WEB, *(FieldEdit(path, "true", insert=True) for path in paths)))
    assert (after["paused"], after["a"], after["containers"][1]["tty"]) == (True, {"b": True}, True)
    assert "x" not in after


@pytest.mark.parametrize(("value", "left"), [("2", True), ("2.0", True), ("3", False), ("true", False), ('"2"', False)])
def test_a_field_may_depend_on_the_charts_value(value: str, left: bool) -> None:
    assert ("replicas" not in spec_of(edited(WEB, FieldEdit(REPLICAS, only_if=value)))) is left


def test_the_charts_value_outlives_the_field() -> None:
    once = edited(WEB, FieldEdit(REPLICAS), FieldEdit(IMAGE))
    twice = edited(once, FieldEdit(REPLICAS, "6", insert=True))
    web = Rendered("apps/v1", "Deployment", "web")
    for text in (once, twice):
        assert chart_values(text, lambda _: [REPLICAS, IMAGE]) == {web: {REPLICAS: 2, IMAGE: "web:1"}}
        assert noted_values(text) == {web: {REPLICAS: 2, IMAGE: "web:1"}}
    assert spec_of(twice)["replicas"] == 6
    assert chart_values(WEB, lambda _: [REPLICAS, ("f:spec", "f:paused")]) == {web: {REPLICAS: 2}}
    assert noted_values(WEB) == {}


@pytest.mark.parametrize("line", ["[", "3", '[["a"]]', "[[[], 1]]", "[[1, 2]]", '{"a": 1}'])
def test_a_chart_may_write_any_comment(line: str) -> None:
    assert list(
        noted_values(WEB.replace("# Source: ", "# managedchart.dev/chart-values: " + line + "\n# ")).values()
    ) in ([], [{}])


def test_a_list_is_split_into_its_items() -> None:
    listed = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- {{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 2}}}}\n"
        for name in "ab"
    )
    after = rewrite(listed, lambda each: SetFields((FieldEdit(REPLICAS),)) if each.name == "b" else None)
    assert [each["spec"] for each in parse_manifest(after)] == [{"replicas": 2}, {}]
    assert noted_values(after) == {Rendered("apps/v1", "Deployment", "b"): {REPLICAS: 2}}


def test_an_object_that_cannot_be_edited_is_an_error() -> None:
    """Unlike other edits: helm would overwrite what is to be left."""
    huge = WEB + "  huge: [" + "a," * 100_001 + "]\n"
    with pytest.raises(ManifestError, match="too large"):
        edited(huge, FieldEdit(REPLICAS))


def test_merged_and_duplicate_keys_are_read_as_helm_reads_them() -> None:
    """Of two keys the last counts, and `<<` brings keys of elsewhere, which stay there."""
    merged = WEB.replace("replicas: 2", "replicas: 1\n  replicas: 2\n  <<: *base").replace(
        "spec:", "base: &base {paused: true, replicas: 3}\nspec:"
    )
    web = Rendered("apps/v1", "Deployment", "web")
    assert spec_of(merged)["replicas"] == 3
    assert chart_values(merged, lambda _: [REPLICAS]) == {web: {REPLICAS: 3}}
    after = edited(merged, FieldEdit(REPLICAS))
    assert spec_of(after) == {key: value for key, value in spec_of(merged).items() if key != "replicas"}
    assert noted_values(after) == {web: {REPLICAS: 3}}
    assert parse_manifest(after)[0]["base"] == {"paused": True, "replicas": 3}


@pytest.mark.parametrize(
    "value",
    ["a\u2028b", "\x7f", "\x85", "\ufeff", "é😀", "yes", "<<", "1", 10**22, 1e22, 1e-7, 1.5, True, None, [], {}],
)
def test_every_value_of_an_object_can_be_written(value: Any) -> None:
    """JSON allows characters that YAML reads as a line break, or not at all."""
    after = edited(WEB, FieldEdit(IMAGE, json.dumps([value, {"<<": value}], ensure_ascii=False)))
    assert spec_of(after)["containers"][1]["image"] == [value, {"<<": value}]


def test_many_fields_of_a_large_object_take_little_time() -> None:
    """Seconds of CPU; one walk a field took minutes, and nothing ends the post-renderer before."""
    large = WEB + "".join(f"  key-{number}: x\n" for number in range(5000))
    edits = [FieldEdit(("f:spec", f"f:key-{number}")) for number in range(1000)]
    began = time.process_time()
    after = spec_of(edited(large, *edits))
    assert time.process_time() - began < 10
    assert len(after) == len(spec_of(large)) - 1000
