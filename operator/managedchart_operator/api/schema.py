"""From a pydantic model to a structural OpenAPI v3 schema, as a CustomResourceDefinition needs it.

The models are the only source of the API: their docstrings, constraints and defaults become what `kubectl explain` shows
and what the API server validates and fills in. `crd` adds the names and columns of the resource. A keyword that the API
server would refuse or ignore raises SchemaError, so that it never reaches the CRD.

The rules are those of the Kubernetes documentation, "Custom Resources > Specifying a structural schema". Pydantic's JSON
Schema differs in three places: an Optional may be null (here it is absent, so that server-side defaults and `has()` work), a
part used twice is a `$ref` (here it is written out), and the default of a nested model is missing (here it is `{}`, which
makes the API server fill in the defaults inside it).
"""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from inspect import cleandoc, isclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

# The keywords of a structural schema (JSONSchemaProps) that the models use.
_KEYWORDS = frozenset(
    {
        "type", "description", "default", "enum", "format", "nullable", "pattern",
        "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties",
        "properties", "required", "items", "additionalProperties",
        "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
    }
)  # fmt: skip
_DROPPED = frozenset({"title", "$defs"})
# No field has a longer one, and one of a megabyte takes long to compare.
_LONGEST_NAME = 64


class SchemaError(ValueError):
    """A structural schema cannot express a part of a model; the message names the place and the keyword."""


class ApiModel(BaseModel):
    """A part of a ManagedChart: camelCase on the wire, frozen, without unknown fields (a misspelt one is an error)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


def field_names(model: type[BaseModel], *place: int | str) -> list[str]:
    """Return the names on the wire of the fields that a model has at a place below it; none where there is no model."""
    for part in place:
        found = next((each for each in model.model_fields.values() if each.alias == part), None)
        kinds = [] if found is None else [found.annotation, *get_args(found.annotation)]
        inner = next((each for each in kinds if isclass(each) and issubclass(each, BaseModel)), None)
        if inner is None:
            return []
        model = inner
    return [each.alias or name for name, each in model.model_fields.items()]


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return which of the names somebody has most likely meant; None if none is like it."""
    return next(iter(get_close_matches(name[:_LONGEST_NAME], names, n=1)), None)


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return CEL validation rules for `json_schema_extra`.

    Each pair is an expression and the sentence that a person reads when it is false.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def cel_string(text: str) -> str:
    """Return a CEL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def matches(pattern: str, message: str, *, also: str | None = None) -> dict[str, Any]:
    """Return the rule that a string matches `pattern` (and that the expression `also` holds).

    It adds a sentence to the bare regular expression that the API server shows for a `pattern`.
    """
    rule = f"self.matches({cel_string(pattern)})"
    return rules((rule if also is None else f"{rule} && {also}", message))


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """Return the structural schema of a model with its wire names.

    Raises SchemaError, naming the place, for what a structural schema cannot express.
    """
    generated = model.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")
    return _inline(generated, generated.get("$defs", {}), where=model.__name__)


def describe_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose descriptions name the defaults: kubectl explain does not show them otherwise."""
    described = dict(schema)
    if "properties" in schema:
        described["properties"] = {name: describe_defaults(part) for name, part in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        described["items"] = describe_defaults(schema["items"])
    text, default = schema.get("description", ""), schema.get("default")
    if default not in (None, {}, [], "") and "default" not in text.lower():
        shown = default if isinstance(default, str) else json.dumps(default)
        described["description"] = f"{text} Default: {shown}.".strip()
    return described


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with absence and nested defaults as the API server treats them."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if "default_factory" in schema:
            inner = self.generate_inner(schema["schema"])
            factory = schema["default_factory"]
            # An absent list or map already means an empty one; only a nested model has defaults to fill in.
            return {**inner, "default": {}} if isclass(factory) and issubclass(factory, BaseModel) else inner
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def _inline(schema: dict[str, Any], definitions: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Replace references by what they name and drop keywords that a structural schema must not have."""
    if "$ref" in schema:
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[schema["$ref"].removeprefix("#/$defs/")], **siblings}
    schema = {key: value for key, value in schema.items() if key not in _DROPPED}
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.pop("additionalProperties", None)
    if unknown := sorted(schema.keys() - _KEYWORDS):
        raise SchemaError(f"{where}: a structural schema has no {', '.join(unknown)}")
    if not schema.keys() & {"type", "x-kubernetes-int-or-string"}:
        raise SchemaError(f"{where}: needs a type")
    if "description" in schema:
        schema["description"] = cleandoc(schema["description"]).replace("\n", " ")
    if "properties" in schema:
        # Properties of an object are closed by being listed: the API server prunes or refuses all others itself.
        schema.pop("additionalProperties", None)
        schema["properties"] = {
            name: _inline(part, definitions, where=f"{where}.{name}") for name, part in schema["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in schema:
            if not isinstance(schema[key], dict):
                raise SchemaError(f"{where}: {key} must be a schema")
            schema[key] = _inline(schema[key], definitions, where=f"{where}.{key}")
    return {key: schema[key] for key in sorted(schema, key=_order)}


def _order(key: str) -> tuple[int, str]:
    """Sort first what a reader looks for first."""
    first = ("description", "type", "default", "enum")
    return (first.index(key) if key in first else len(first), key)
