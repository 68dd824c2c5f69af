"""The schema is structural and matches the models."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from managedchart_operator.api.schema import SchemaError, matches, structural
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.lifecycle.definitions import action_schema

MODELS = [ManagedChartSpec, ManagedChartStatus]


def _nodes(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its dotted path."""
    yield where, schema
    for name, part in schema.get("properties", {}).items():
        yield from _nodes(part, f"{where}.{name}".lstrip("."))
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from _nodes(schema[key], where + mark)


def _spec(path: str) -> dict[str, Any]:
    return dict(_nodes(structural(ManagedChartSpec)))[path]


@pytest.mark.parametrize("model", MODELS)
def test_is_structural(model: type[BaseModel]) -> None:
    """As the API server demands: everything typed, no references, properties or additionalProperties, not both."""
    for where, node in _nodes(structural(model)):
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}, where
        assert not {"$ref", "$defs", "title", "anyOf", "oneOf", "allOf", "not", "const"} & node.keys(), where
        assert not {"properties", "additionalProperties"} <= node.keys(), where
        assert ("items" in node) == (node["type"] == "array"), where
        if node["type"] == "object":
            assert {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"} & node.keys(), where


@pytest.mark.parametrize("model", MODELS)
def test_optional_fields_are_absent_and_never_null(model: type[BaseModel]) -> None:
    """A null in a manifest is dropped before defaults are filled in, and `has()` in a rule sees no field."""
    for where, node in _nodes(structural(model)):
        assert "nullable" not in node, where
        assert node.get("default", "") is not None, where
        assert None not in node.get("enum", []), where


@pytest.mark.parametrize("model", MODELS)
def test_every_property_is_described_in_a_sentence(model: type[BaseModel]) -> None:
    for where, node in _nodes(structural(model)):
        for name, part in node.get("properties", {}).items():
            description = part.get("description", "")
            assert description.endswith("."), f"{where}.{name}"
            assert len(description.split()) >= 3, f"{where}.{name}: {description}"
            assert "\n" not in description, f"{where}.{name}"


def test_lists_with_rules_are_bounded() -> None:
    """The API server refuses a CRD whose rules may cost too much; it computes that from maxItems and maxLength."""
    for where, node in _nodes(structural(ManagedChartSpec)):
        if node["type"] == "array":
            assert "maxItems" in node, where
        if node["type"] == "string" and "enum" not in node:
            assert "maxLength" in node, where


@pytest.mark.parametrize("model", MODELS)
def test_fields_without_a_default_are_required(model: type[BaseModel]) -> None:
    schema = structural(model)
    expected = sorted(field.alias or "" for field in model.model_fields.values() if field.is_required())

    assert sorted(schema.get("required", [])) == expected


def test_defaults_match_the_models() -> None:
    defaults = {where: node["default"] for where, node in _nodes(structural(ManagedChartSpec)) if "default" in node}

    assert defaults == {
        "createNamespace": True,
        "action": "Deploy",
        "deletionPolicy": "Uninstall",
        "atomic": True,
        "wait": True,
        "waitFor": {},
        "timeout": "180s",
        "failFast": True,
        "failFastGrace": "3s",
        "forceUpgrade": False,
        "conflicts": {},
        "conflicts.policy": "Force",
        "crds": "Create",
        "dryRun": False,
        "skipSchemaValidation": False,
        "lifecycle": {},
        "lifecycle.name": "default",
        "lifecycle.validation": {},
        "lifecycle.validation.every": "5m",
        "lifecycle.validation.failureThreshold": 3,
        "retry": {},
        "retry.limit": 5,
        "retry.backoff": "10s",
        "retry.maxBackoff": "5m",
        "retry.afterRollback": False,
    }


def test_values_keep_unknown_fields() -> None:
    values = _spec("values")

    assert values["x-kubernetes-preserve-unknown-fields"] is True
    assert "additionalProperties" not in values


def test_lists_that_merge_by_a_key_are_maps() -> None:
    conditions = structural(ManagedChartStatus)["properties"]["conditions"]

    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert _spec("yamlFilesContent")["x-kubernetes-list-map-keys"] == ["filename"]


@pytest.mark.parametrize("model", MODELS)
def test_the_key_of_a_merging_list_is_required(model: type[BaseModel]) -> None:
    for where, node in _nodes(structural(model)):
        for key in node.get("x-kubernetes-list-map-keys", []):
            items = action_schema() if where == "lifecycle.actions" else node["items"]
            assert key in items["required"], where


@pytest.mark.parametrize("model", MODELS)
def test_every_rule_has_a_message_in_words(model: type[BaseModel]) -> None:
    for where, node in _nodes(structural(model)):
        for rule in node.get("x-kubernetes-validations", []):
            assert rule.keys() == {"rule", "message"}, where
            assert len(rule["message"].split()) >= 4, where


def test_every_pattern_of_the_spec_has_a_sentence() -> None:
    """Otherwise the API server shows a bare regular expression. A chart's name needs no explanation."""
    bare = [
        where
        for where, node in _nodes(structural(ManagedChartSpec))
        if "pattern" in node and "x-kubernetes-validations" not in node
    ]

    assert bare == ["chart.name"]


def test_a_nested_model_has_the_description_of_its_field() -> None:
    class Inner(BaseModel):
        """Of the class."""

        size: int = 3

    class Outer(BaseModel):
        one: Inner = Field(default_factory=Inner, description="Of the field.")
        two: Inner | None = None

    properties = structural(Outer)["properties"]

    assert properties["one"]["description"] == "Of the field."
    assert properties["one"]["default"] == {}
    assert properties["two"] == {
        "description": "Of the class.",
        "type": "object",
        "properties": {"size": {"type": "integer", "default": 3}},
    }


def test_a_choice_of_words_becomes_an_enum() -> None:
    class Model(BaseModel):
        many: Literal["a", "b"]

    assert structural(Model)["properties"]["many"] == {"type": "string", "enum": ["a", "b"]}


def test_an_unsupported_keyword_is_an_error_with_its_place() -> None:
    class Model(BaseModel):
        either: int | str

    with pytest.raises(SchemaError, match=r"Model\.either: a structural schema has no anyOf"):
        structural(Model)


def test_a_field_without_a_type_is_an_error() -> None:
    class Model(BaseModel):
        anything: object

    with pytest.raises(SchemaError, match=r"Model\.anything: needs a type"):
        structural(Model)


def test_a_pattern_is_quoted_for_cel() -> None:
    extra = matches(r"^\d'$", "digits and a quote")

    assert extra["x-kubernetes-validations"][0]["rule"] == r"self.matches('^\\d\'$')"
