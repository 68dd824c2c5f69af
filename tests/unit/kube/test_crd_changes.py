"""What a CRD of a chart would change of the one in the cluster."""

from typing import Any

import pytest

from managedchart_operator.kube.crd_changes import (
    dropped_versions,
    has_field,
    is_current,
    lost_fields,
    replacement,
    storage_version,
)

SIZE = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}


def version(name: str = "v1", schema: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {"openAPIV3Schema": schema or SIZE},
        **options,
    }


def crd(*versions: dict[str, Any], stored: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "widgets.example.com", "resourceVersion": "7", "labels": {"a": "1"}, "managedFields": []},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": list(versions) or [version()],
            **spec,
        },
        "status": {"storedVersions": stored or ["v1"]},
    }


def spec_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def test_a_stored_version_that_the_chart_lacks_is_dropped() -> None:
    existing = crd(version(), version("v1alpha1"), stored=["v1alpha1", "v1"])
    assert dropped_versions(existing, crd(version())) == ["v1alpha1"]
    assert dropped_versions(existing, crd(version(), version("v1alpha1", served=False))) == []
    assert storage_version(existing) == "v1"


TEXT = {"type": "string"}
LISTED = {"type": "array", "items": {"type": "object", "properties": {"name": TEXT, "port": TEXT}}}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        (spec_of(a=TEXT), spec_of(a=TEXT, b=TEXT), []),
        (spec_of(a=TEXT, b=TEXT), spec_of(a=TEXT), [".spec.b (v1)"]),
        (spec_of(a={"type": "object", "properties": {"x": TEXT}}), {"type": "object"}, [".spec (v1)"]),
        (
            spec_of(list=LISTED),
            spec_of(list={"type": "array", "items": {"type": "object", "properties": {"name": TEXT}}}),
            [".spec.list[].port (v1)"],
        ),
        (
            spec_of(map={"type": "object", "additionalProperties": {"type": "object", "properties": {"x": TEXT}}}),
            spec_of(map={"type": "object", "additionalProperties": {"type": "object"}}),
            [".spec.map.*.x (v1)"],
        ),
        (spec_of(a=LISTED), spec_of(a=OPEN), []),
        (spec_of(a={"type": "object", "properties": {"x": TEXT}}), spec_of(a=OPEN), []),
        (
            spec_of(a={"type": "object", "properties": {"x": TEXT}}),
            spec_of(a={"type": "object", "additionalProperties": TEXT}),
            [],
        ),
    ],
    ids=["more", "one less", "all", "in a list", "in a map", "open list", "open mapping", "any key"],
)
def test_fields_that_the_chart_lacks_are_named(old: dict[str, Any], new: dict[str, Any], lost: list[str]) -> None:
    assert lost_fields(crd(version(schema=old)), crd(version(schema=new))) == lost


def test_only_served_versions_can_lose_something() -> None:
    existing = crd(version(), version("v2"), version("v3", served=False))
    assert lost_fields(existing, crd(version(), version("v2", served=False))) == ["the version v2"]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("", True),
        (".spec", True),
        (".spec.list", True),
        (".spec.list[0].port", True),
        ('.spec.list[name="a.b"].port', True),
        (".spec.list[0].other", False),
        (".spec.open.any.thing[3]", True),
        (".spec.map.key", True),
        (".other", False),
    ],
)
def test_a_field_is_found_by_its_path(path: str, *, known: bool) -> None:
    schema = spec_of(list=LISTED, open=OPEN, map={"type": "object", "additionalProperties": TEXT})
    assert has_field(crd(version(schema=schema)), "v1", path) is known
    assert not has_field(crd(version(schema=schema)), "v2", path)


def test_a_replacement_keeps_what_is_not_the_charts() -> None:
    """The labels of others and the resourceVersion that was read; the managed fields are left to the API server."""
    found = replacement(crd(version()), crd(version("v1", schema=spec_of(b=TEXT))))
    assert found["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == spec_of(b=TEXT)
    assert found["metadata"] == {"name": "widgets.example.com", "resourceVersion": "7", "labels": {"a": "1"}}
    marked = crd()
    marked["metadata"] = {"name": "widgets.example.com", "labels": {"b": "2"}, "annotations": {"c": "3"}}
    assert replacement(crd(), marked)["metadata"]["labels"] == {"a": "1", "b": "2"}
    assert replacement(crd(), marked)["metadata"]["annotations"] == {"c": "3"}


def webhook(**client: str) -> dict[str, Any]:
    return {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {"name": "hook"}, **client}}}


@pytest.mark.parametrize(
    ("ours", "theirs", "bundle"),
    [
        ({}, {"caBundle": "aW5qZWN0ZWQ="}, "aW5qZWN0ZWQ="),
        ({"caBundle": "b3Vycw=="}, {"caBundle": "x"}, "b3Vycw=="),
        ({}, {}, None),
    ],
    ids=["injected", "the chart's own", "none"],
)
def test_an_injected_certificate_is_left(ours: dict[str, str], theirs: dict[str, str], bundle: str | None) -> None:
    existing, wanted = crd(conversion=webhook(**theirs)), crd(conversion=webhook(**ours))
    found = replacement(existing, wanted)["spec"]["conversion"]["webhook"]["clientConfig"]
    assert found.get("caBundle") == bundle
    assert wanted == crd(conversion=webhook(**ours)), "the chart's own is not changed"


def as_stored(schema: dict[str, Any]) -> dict[str, Any]:
    """The form in which the API server (1.37) returns it."""
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    return crd(version(schema=schema), names=names, conversion={"strategy": "None"})


@pytest.mark.parametrize(
    ("wanted", "stored", "same"),
    [
        (SIZE, SIZE, True),
        (spec_of(a={"type": "string", "description": "", "nullable": False}), spec_of(a={"type": "string"}), True),
        (spec_of(a={"type": "string", "default": ""}), spec_of(a={"type": "string"}), False),
        (spec_of(a={"type": "boolean", "default": False}), spec_of(a={"type": "boolean"}), False),
        (spec_of(a={"type": "integer", "minimum": 0}), spec_of(a={"type": "integer"}), False),
        (spec_of(a={}), spec_of(), False),
        (spec_of(a=TEXT), spec_of(a=TEXT, b=TEXT), False),
    ],
    ids=["same", "empty values", "default text", "default false", "zero", "open property", "less"],
)
def test_an_unchanged_crd_is_recognised(wanted: dict[str, Any], stored: dict[str, Any], *, same: bool) -> None:
    assert is_current(as_stored(stored), crd(version(schema=wanted), preserveUnknownFields=False)) is same


def test_a_label_that_is_missing_is_a_change() -> None:
    wanted = crd()
    wanted["metadata"] = {"labels": {"b": "2"}}
    assert not is_current(as_stored(SIZE), wanted)
