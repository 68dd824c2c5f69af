"""Finds what an update of a CustomResourceDefinition would break for its users; pure, over the JSON of both.

A change is safe if every object that was valid stays valid, keeps all of its fields, and means the same. Compared are the
scope, and the versions that the CRD in the cluster serves or stores. The list is that of the preflight checks of the Operator
Lifecycle Manager, which also refuses changes of which it does not know whether they are safe. Schemas have megabytes, so this
belongs in a thread. `crd_changes` finds what is lost, whatever the objects are.

Source: OLM documentation, "Custom Resource Definition Upgrade Safety"; Kubernetes documentation, "Custom Resources".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from managedchart_operator.kube.crd_changes import dropped_versions, schema_of

Json = Mapping[str, Any]

_LOWEST = ("minimum", "minLength", "minItems", "minProperties")
_HIGHEST = ("maximum", "maxLength", "maxItems", "maxProperties")
# Whatever they say, only their removal is known to be safe.
_COMPARED_AS_A_WHOLE = ("pattern", "format", "multipleOf", "allOf", "anyOf", "oneOf", "not", "x-kubernetes-list-type")
_TRUE_NARROWS = ("exclusiveMinimum", "exclusiveMaximum", "uniqueItems", "x-kubernetes-embedded-resource")
_FALSE_NARROWS = ("nullable", "x-kubernetes-preserve-unknown-fields")
_INT_OR_STRING = "x-kubernetes-int-or-string"
# Structural schemas are not recursive, and the API server accepts no deeper ones in 1.5 MiB; the chart's is not checked yet.
_DEEPEST = 100


def stored_version_problems(existing: Json, wanted: Json) -> list[str]:
    """Return each version in which objects may be stored and which is removed; the API server could not read them."""
    return [
        f"version {version} is removed, but objects may be stored in it"
        for version in dropped_versions(existing, wanted)
    ]


def problems(existing: Json, wanted: Json) -> list[str]:
    """Return what is unsafe, each with its field and version, like `.spec.size (v1): the type changes …`; [] if it is safe."""
    found = stored_version_problems(existing, wanted)
    before, after = existing["spec"]["scope"], wanted["spec"].get("scope")
    if before != after:
        found.append(f"the scope changes from {before} to {after}")
    stored = (existing.get("status") or {}).get("storedVersions") or ()
    versions = {version["name"]: version for version in wanted["spec"]["versions"]}
    for version in existing["spec"]["versions"]:
        name = version["name"]
        if name in versions and (version.get("served") or name in stored):
            changes = _of_schema(schema_of(version), schema_of(versions[name]), "", 0)
            found += [f"{path or 'the object'} ({name}): {what}" for path, what in changes]
    return found


def _of_schema(old: Json, new: Json, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield what is unsafe at a path and below it, as path and sentence."""
    if depth > _DEEPEST:
        yield path, f"it is deeper than {_DEEPEST} levels, which are not compared"
        return
    for what in _of_value(old, new):
        yield path, what
    yield from _of_fields(old, new, path, depth)
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _of_schema(before, after, f"{path}{mark}", depth + 1)
        elif before and not after and not _keeps_unknown(new):
            yield f"{path}{mark}", "the field is removed"
        elif before is True and isinstance(after, dict) and after:
            yield f"{path}{mark}", "values are restricted"


def _of_fields(old: Json, new: Json, path: str, depth: int) -> Iterator[tuple[str, str]]:
    before, after = old.get("properties") or {}, new.get("properties") or {}
    for name, schema in before.items():
        if name in after:
            yield from _of_schema(schema, after[name], f"{path}.{name}", depth + 1)
        elif not _keeps_unknown(new) and not new.get("additionalProperties"):
            yield f"{path}.{name}", "the field is removed"
    required = set(new.get("required") or ()) - set(old.get("required") or ())
    for name in sorted(required):
        yield f"{path}.{name}", "the field becomes required" if name in before else "a new field is required"


def _of_value(old: Json, new: Json) -> Iterator[str]:
    """Yield what is unsafe of a value itself: its type, default and restrictions."""
    if (before := _type(old)) != (after := _type(new)):
        yield f"the type changes from {before} to {after}"
    yield from _of_default(old, new)
    if new.get("enum") is not None:
        if old.get("enum") is None:
            yield "values are restricted to an enum"
        elif gone := [each for each in old["enum"] if each not in new["enum"]]:
            yield f"the enum loses {', '.join(json.dumps(each) for each in gone[:5])}"
    yield from _of_limits(old, new)
    for name in _COMPARED_AS_A_WHOLE:
        if new.get(name) is not None and new.get(name) != old.get(name):
            yield f"{name} is {'changed' if old.get(name) is not None else 'new'}"
    yield from (f"{name} becomes true" for name in _TRUE_NARROWS if new.get(name) and not old.get(name))
    yield from (f"{name} becomes false" for name in _FALSE_NARROWS if old.get(name) and not new.get(name))
    known = {rule.get("rule") for rule in old.get("x-kubernetes-validations") or ()}
    added = (rule.get("rule") for rule in new.get("x-kubernetes-validations") or ())
    yield from (f"a new validation rule: {rule}" for rule in added if rule not in known)


def _of_limits(old: Json, new: Json) -> Iterator[str]:
    for name in (*_LOWEST, *_HIGHEST):
        before, after = old.get(name), new.get(name)
        if after is None:
            continue
        if before is None:
            yield f"a new {name} of {after}"
        elif after > before if name in _LOWEST else after < before:
            yield f"{name} changes from {before} to {after}"


def _of_default(old: Json, new: Json) -> Iterator[str]:
    if "default" in old and "default" not in new:
        yield "the default is removed"
    elif "default" in new and "default" not in old:
        yield "a new default"
    elif "default" in new and old["default"] != new["default"]:
        yield "the default changes"


def _type(schema: Json) -> str:
    return "int-or-string" if schema.get(_INT_OR_STRING) else str(schema.get("type") or "any")


def _keeps_unknown(schema: Json) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))
