"""Which updates of a CustomResourceDefinition would break objects or clients."""

import copy
from typing import Any

import pytest

from managedchart_operator.kube.crd_safety import problems, stored_version_problems

SIZE = {
    "type": "integer",
    "minimum": 1,
    "maximum": 9,
    "default": 3,
}
SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": SIZE,
        "mode": {"type": "string", "enum": ["Fast", "Safe"], "maxLength": 10},
        "ports": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True},
    },
}


def crd(spec: dict[str, Any] = SPEC, *, scope: str = "Namespaced", stored: tuple[str, ...] = ("v1",)) -> dict[str, Any]:
    """Return a CRD as the cluster has it, with one version."""
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": copy.deepcopy(spec)}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"scope": scope, "versions": versions},
        "status": {"storedVersions": list(stored)},
    }


def changed(place: str, **fields: Any) -> dict[str, Any]:
    """Return the spec's schema with other keywords at a place below it; None removes one."""
    spec = copy.deepcopy(SPEC)
    at: Any = spec
    for step in filter(None, place.split("/")):
        at = at[step]
    for name, value in fields.items():
        at.pop(name.replace("__", "-"), None)
        if value is not None:
            at[name.replace("__", "-")] = value
    return spec


SIZE_AT = "properties/size"
UNSAFE = [
    ("properties", {"mode": None}, ".spec.mode (v1): the field is removed"),
    ("properties/ports/items/properties", {"name": None}, ".spec.ports[].name (v1): the field is removed"),
    ("properties/labels", {"additionalProperties": None}, ".spec.labels.* (v1): the field is removed"),
    ("properties/labels/additionalProperties", {"nullable": None}, ".spec.labels.* (v1): nullable becomes false"),
    (
        "properties/free",
        {"x__kubernetes__preserve__unknown__fields": None},
        ".spec.free (v1): x-kubernetes-preserve-unknown-fields becomes false",
    ),
    ("", {"required": ["size", "mode"]}, ".spec.mode (v1): the field becomes required"),
    ("", {"required": ["size", "zone"]}, ".spec.zone (v1): a new field is required"),
    (SIZE_AT, {"type": "string"}, ".spec.size (v1): the type changes from integer to string"),
    (
        "properties/port",
        {"x__kubernetes__int__or__string": None, "type": "integer"},
        ".spec.port (v1): the type changes from int-or-string to integer",
    ),
    (SIZE_AT, {"default": 4}, ".spec.size (v1): the default changes"),
    (SIZE_AT, {"default": None}, ".spec.size (v1): the default is removed"),
    ("properties/mode", {"default": "Fast"}, ".spec.mode (v1): a new default"),
    (SIZE_AT, {"enum": [1, 2, 3]}, ".spec.size (v1): values are restricted to an enum"),
    ("properties/mode", {"enum": ["Fast"]}, '.spec.mode (v1): the enum loses "Safe"'),
    (SIZE_AT, {"minimum": 2}, ".spec.size (v1): minimum changes from 1 to 2"),
    (SIZE_AT, {"maximum": 8}, ".spec.size (v1): maximum changes from 9 to 8"),
    ("properties/mode", {"maxLength": 4}, ".spec.mode (v1): maxLength changes from 10 to 4"),
    ("properties/mode", {"minLength": 1}, ".spec.mode (v1): a new minLength of 1"),
    ("properties/ports", {"maxItems": 4}, ".spec.ports (v1): a new maxItems of 4"),
    ("properties/mode", {"pattern": "^F"}, ".spec.mode (v1): pattern is new"),
    (
        "",
        {"x__kubernetes__validations": [{"rule": "self.size > 1"}]},
        ".spec (v1): a new validation rule: self.size > 1",
    ),
]


@pytest.mark.parametrize(("place", "fields", "expected"), UNSAFE, ids=[each[2] for each in UNSAFE])
def test_an_unsafe_change_is_named(place: str, fields: dict[str, Any], expected: str) -> None:
    assert problems(crd(), crd(changed(place, **fields))) == [expected]


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("", {"required": None}),
        ("properties", {"zone": {"type": "string", "enum": ["a"], "default": "a"}}),
        (SIZE_AT, {"minimum": 0, "maximum": 10}),
        (SIZE_AT, {"minimum": None, "maximum": None}),
        (SIZE_AT, {"description": "How many"}),
        ("properties/mode", {"enum": ["Fast", "Safe", "Slow"]}),
        ("properties/mode", {"enum": None, "maxLength": None}),
        ("", {"x__kubernetes__preserve__unknown__fields": True, "properties": {"size": SIZE}}),
    ],
)
def test_a_change_that_widens_is_safe(place: str, fields: dict[str, Any]) -> None:
    assert problems(crd(), crd(changed(place, **fields))) == []


def test_the_scope_must_stay() -> None:
    assert problems(crd(), crd(scope="Cluster")) == ["the scope changes from Namespaced to Cluster"]


def test_a_stored_version_must_stay() -> None:
    existing = crd(stored=("v1alpha1", "v1"))

    assert stored_version_problems(existing, crd()) == ["version v1alpha1 is removed, but objects may be stored in it"]
    assert problems(existing, crd()) == stored_version_problems(existing, crd())


def test_a_version_that_nobody_uses_may_change() -> None:
    """Neither served nor stored."""
    existing = crd(stored=("v2",))
    existing["spec"]["versions"][0]["served"] = False
    existing["spec"]["versions"].append({"name": "v2", "served": True, "storage": True, "schema": {}})
    wanted = copy.deepcopy(existing)
    wanted["spec"]["versions"][0]["schema"] = {}

    assert problems(existing, wanted) == []


def test_a_schema_without_an_end_is_refused() -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}}

    assert "not compared" in problems(crd(deep), crd(deep))[0]
