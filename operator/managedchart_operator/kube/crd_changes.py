"""Compares a CustomResourceDefinition of a chart with the one in the cluster; pure, over their JSON.

A stored version must stay, or the API server could no longer read what is in etcd. A field that is no longer in the schema is
dropped from an object when that is written next. Both are found before anything is written. These walk through schemas of
megabytes, so they belong in a thread.
Source: Kubernetes documentation, "Versions in CustomResourceDefinitions", "Field pruning".
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]

_MARKS = ("labels", "annotations")
# Keys of a schema whose values are those of custom resources, in which an empty one has a meaning.
_VALUES = frozenset({"default", "enum", "example"})
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
# Structural schemas are not recursive, and the API server accepts no deeper ones in 1.5 MiB; the chart's is not checked yet.
_DEEPEST = 100
_STEP = re.compile(r"\.([^.\[\]]+)|\[[^\]]*\]")


def dropped_versions(existing: Json, wanted: Json) -> list[str]:
    """Return the versions in which objects may be stored, and which the wanted CRD does not have."""
    kept = {version["name"] for version in _versions(wanted)}
    return [version for version in (existing.get("status") or {}).get("storedVersions") or () if version not in kept]


def storage_version(crd: Json) -> str | None:
    """Return the version in which objects are written."""
    return next((version["name"] for version in _versions(crd) if version.get("storage")), None)


def lost_fields(existing: Json, wanted: Json) -> list[str]:
    """Return what users of the existing CRD lose: fields like `.spec.size (v1)`, and versions that are no longer served."""
    lost = []
    wanted_versions = {version["name"]: version for version in _versions(wanted) if version.get("served")}
    for version in _versions(existing):
        name = version["name"]
        if not version.get("served"):
            continue
        if name not in wanted_versions:
            lost.append(f"the version {name}")
            continue
        fields = _lost(schema_of(version), schema_of(wanted_versions[name]), "", 0)
        lost += [f"{field} ({name})" for field in fields]
    return lost


def has_field(crd: Json, version: str, path: str) -> bool:
    """Whether a version has a field; `path` is as the API server writes it, like `.spec.ports[0].name`."""
    schema: Json | None = next((schema_of(each) for each in _versions(crd) if each["name"] == version), None)
    for step in _STEP.finditer(path):
        if schema is None or schema.get(_PRESERVE):
            return schema is not None
        schema = _child(schema, step[1])
    return schema is not None


def is_current(existing: Json, wanted: Json) -> bool:
    """Whether a replacement would change nothing, as far as that can be seen here; False in doubt.

    The API server fills in names and the conversion, and leaves out what is empty.
    """
    names = wanted["spec"]["names"]
    defaults = {"singular": names["kind"].lower(), "listKind": f"{names['kind']}List"}
    spec = {"conversion": {"strategy": "None"}, **replacement(existing, wanted)["spec"], "names": {**defaults, **names}}
    marks = [(existing["metadata"].get(part) or {}, wanted["metadata"].get(part) or {}) for part in _MARKS]
    return all(have.items() >= want.items() for have, want in marks) and _pruned(spec) == _pruned(existing["spec"])


def replacement(existing: Json, wanted: Json) -> dict[str, Any]:
    """Return the existing CRD with the spec of the wanted one, and with its labels and annotations added.

    A certificate that an injector has written into the conversion webhook stays where the chart has none.
    """
    metadata = dict(existing["metadata"])
    for part in _MARKS:
        added = wanted["metadata"].get(part)
        if added:
            metadata[part] = {**(metadata.get(part) or {}), **added}
    metadata.pop("managedFields", None)  # the API server keeps what it has
    spec = copy.deepcopy(wanted["spec"])
    ours, theirs = _webhook(spec), _webhook(existing["spec"])
    if ours is not None and theirs and not ours.get("caBundle") and theirs.get("caBundle"):
        ours["caBundle"] = theirs["caBundle"]
    return {**existing, "metadata": metadata, "spec": spec}


def group_kind(crd: Json) -> tuple[str, str]:
    """Return the group and the kind that a CRD defines."""
    spec = crd["spec"]
    return spec["group"], spec["names"]["kind"]


def schema_of(version: Json) -> Json:
    """Return the schema of a version of a CRD."""
    schema: Json = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return schema


def _versions(crd: Json) -> list[Json]:
    found: list[Json] = (crd.get("spec") or {}).get("versions") or []
    return found


def _pruned(value: Any) -> Any:
    """Return a part of a CRD without what the API server does not store; values of a chart stay as they are."""
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item if key in _VALUES else _pruned(item)
        for key, item in value.items()
        if key in _VALUES or not _is_left_out(item)
    }


def _is_left_out(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str | list) and not value)


def _webhook(spec: Json) -> dict[str, Any] | None:
    webhook = (spec.get("conversion") or {}).get("webhook") or {}
    found: dict[str, Any] | None = webhook.get("clientConfig")
    return found


def _lost(old: Json, new: Json, path: str, depth: int) -> Iterator[str]:
    """Yield the topmost fields below a path that only the old schema has."""
    if new.get(_PRESERVE) or depth > _DEEPEST:
        return
    for name, schema in (old.get("properties") or {}).items():
        child = _child(new, name)
        if child is None:
            yield f"{path}.{name}"
        else:
            yield from _lost(schema, child, f"{path}.{name}", depth + 1)
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _lost(before, after, f"{path}{mark}", depth + 1)


def _child(schema: Json, name: str | None) -> Json | None:
    """Return the schema of a property, or of a list's items where `name` is None; None if there is none."""
    if name is None:
        items = schema.get("items")
        return items if isinstance(items, dict) else None
    child = (schema.get("properties") or {}).get(name)
    if child is None:
        extra = schema.get("additionalProperties")
        child = extra if isinstance(extra, dict) else {_PRESERVE: True} if extra is True else None
    return child if isinstance(child, dict) else None
