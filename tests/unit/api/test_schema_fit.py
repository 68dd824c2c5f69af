"""Which CRDs an operator accepts: those that can store everything that its models have."""

from copy import deepcopy
from typing import Any

import pytest

from managedchart_operator.api.crd import SCHEMA_DIGEST, digest_of, misfit
from managedchart_operator.lifecycle.definitions import managedchart, managedchart_schema


def schema() -> dict[str, Any]:
    """A schema with each form that the models use."""
    return {
        "type": "object",
        "properties": {
            "phase": {"type": "string", "enum": ["Ready", "Failed"], "description": "Where it stands."},
            "values": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "phases": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "requests": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }


def changed(*path: str, to: Any) -> dict[str, Any]:
    """The schema with one part replaced; None removes it."""
    made = schema()
    node = made
    for step in path[:-1]:
        node = node[step]
    if to is None:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return made


ITEM = ("properties", "phases", "items", "properties", "name")


@pytest.mark.parametrize(
    ("found", "lack"),
    [
        pytest.param(changed("properties", "phase", to=None), "it has no field phase", id="a field"),
        pytest.param(changed(*ITEM, to=None), "it has no field phases[].name", id="a field of an item"),
        pytest.param(
            changed("properties", "requests", "additionalProperties", to=None),
            "it has no field requests.*",
            id="the values of a map",
        ),
        pytest.param(changed(*ITEM, "type", to="integer"), "phases[].name is of type integer, not string", id="a type"),
        pytest.param(changed("properties", "phase", "enum", to=["Ready"]), "phase cannot be Failed", id="a value"),
        pytest.param(
            changed("properties", "values", to={"type": "object"}),
            "values does not keep unknown fields",
            id="any field",
        ),
    ],
)
def test_the_first_missing_part_is_named(found: dict[str, Any], lack: str) -> None:
    assert misfit(schema(), found) == lack


OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(schema(), id="the same"),
        pytest.param(changed("properties", "more", to={"type": "string"}), id="another field"),
        pytest.param(changed("properties", "phase", "enum", to=["Failed", "Ready", "Paused"]), id="another value"),
        pytest.param(changed("properties", "phase", "enum", to=None), id="any value"),
        pytest.param(changed("properties", "phase", "description", to="Another text."), id="another description"),
        pytest.param(changed("properties", "phases", "items", to=OPEN), id="any field of an item"),
        pytest.param(OPEN, id="any field"),
    ],
)
def test_a_schema_with_more_fields_fits(found: dict[str, Any]) -> None:
    assert misfit(schema(), found) is None


def test_every_field_of_the_models_is_compared() -> None:
    """Removing any one of them from the CRD's schema, however deep, is found; of an open object all are kept."""
    needed = managedchart_schema()
    found = deepcopy(needed)
    paths = list(_fields(needed, ()))
    assert len(paths) > 100
    for path in paths:
        node = found
        for step in path[:-1]:
            node = node[step]
        removed = node.pop(path[-1])
        assert misfit(needed, found), path
        node[path[-1]] = removed
    assert misfit(needed, found) is None


def _fields(node: dict[str, Any], path: tuple[str, ...]) -> Any:
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, part in node.get("properties", {}).items():
        yield (*path, "properties", name)
        yield from _fields(part, (*path, "properties", name))
    if "items" in node:
        yield from _fields(node["items"], (*path, "items"))


def test_the_digest_ignores_descriptions_only() -> None:
    own = digest_of(schema())
    assert own == digest_of(changed("properties", "phase", "description", to="Another text."))
    assert own != digest_of(changed("properties", "phase", to=None))
    assert own != digest_of(changed("properties", "description", to={"type": "string"}))


def test_the_crd_carries_the_digest_of_its_schema() -> None:
    crd = managedchart()
    (version,) = crd["spec"]["versions"]
    assert crd["metadata"]["annotations"][SCHEMA_DIGEST] == digest_of(version["schema"]["openAPIV3Schema"])
