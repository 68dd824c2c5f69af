"""The rendered objects that helm cannot work with are named with their templates, which helm's error does not have."""

import json
from typing import Any

import pytest

from managedchart_operator.helm.invalid_objects import name_invalid


def printed(*documents: tuple[str, str], hooks: Any = ()) -> bytes:
    """What `helm upgrade --dry-run=client --output=json` prints; each document is its template's name and its text."""
    manifest = "".join(f"---\n# Source: web/templates/{name}\n{text}\n" for name, text in documents)
    found = [{"path": f"web/templates/{name}", "manifest": text, "events": ["pre-install"]} for name, text in hooks]
    return json.dumps({"manifest": manifest, "hooks": found}).encode()


GOOD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {a: '1'}, annotations: null}"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}", "ConfigMap"),
        ("apiVersion: v1\nkind: ConfigMap", "ConfigMap"),
        ("apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: job-}", "Job"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: b, labels: {on: y}}", "metadata.labels.true of Secret b"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: b, labels: {up: yes}}", "metadata.labels.up of Secret b"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: b, annotations: {port: 80}}",
            "metadata.annotations.port of Secret b",
        ),
        ("a: 1", "an object without a kind"),
        ("- 1", "an object without a kind"),
        ("apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {}}]", "ConfigMap"),
    ],
)
def test_an_invalid_object_is_named_with_its_template(text: str, named: str) -> None:
    output = printed(("good.yaml", GOOD), ("empty.yaml", ""), ("b.yaml", text))
    assert name_invalid(output) == f"see {named} in template web/templates/b.yaml"


def test_a_hook_is_named_with_its_template() -> None:
    text = "# Source: web/templates/h.yaml\napiVersion: batch/v1\nkind: Job\nmetadata: {name: ''}"
    assert name_invalid(printed(hooks=[("h.yaml", text)])) == "see Job in template web/templates/h.yaml"
    text = text.partition("\n")[2]
    assert name_invalid(printed(hooks=[("h.yaml", text)])) == "see Job in template web/templates/h.yaml"


def test_a_valid_manifest_names_nothing() -> None:
    assert name_invalid(printed(("good.yaml", GOOD))) is None


def test_many_are_counted() -> None:
    bad = [(f"{name}.yaml", "kind: A\nmetadata: {}") for name in "abcde"]
    assert (name_invalid(printed(*bad)) or "").endswith("in template web/templates/c.yaml and 2 more")


def test_no_value_of_an_object_is_repeated() -> None:
    """It may be a password."""
    text = "kind: Secret\nmetadata: {name: a, annotations: {pin: 4711}}\nstringData: {pin: 4711}"
    assert "4711" not in (name_invalid(printed(("a.yaml", text))) or "")


@pytest.mark.parametrize("output", [b"", b"[]", printed(("a.yaml", "a: [")), printed(("a.yaml", "a: " + "[" * 500))])
def test_an_unreadable_output_is_a_value_error(output: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        name_invalid(output)
