"""Whether a CRD in a cluster can store everything that this operator's models have.

The API server drops, without an error, whatever a CRD's schema does not list, so `kube.definition` compares the two at start.
Each field must exist there, with its type and all its values; the cluster's schema may have more, because the CRD is upgraded
before the operator. The digest only shows that two schemas differ: who edits a CRD by hand leaves the annotation unchanged.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Below this keyword the API server stores also what is not described.
_OPEN = "x-kubernetes-preserve-unknown-fields"
# The schemas of the items of lists and maps, and how a path shows such an item.
_CONTAINED = (("items", "[]"), ("additionalProperties", ".*"))


def digest_of(schema: Mapping[str, Any]) -> str:
    """Return a digest of a schema without its descriptions, which change nothing of what the API server does."""
    text = json.dumps(_without_descriptions(schema), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def misfit(needed: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Return why a schema cannot store all that another one stores, like "it has no field status.phase"; None if it can.

    Of several reasons it is the first one in the order of `needed`.
    """
    return next(_misfits(needed, found, path=""), None)


def _misfits(needed: Mapping[str, Any], found: Mapping[str, Any], *, path: str) -> Iterator[str]:
    if needed.get("type") != found.get("type") and "type" in found:
        yield f"{path} is of type {found['type']}, not {needed.get('type')}"
        return
    if found.get("enum"):
        yield from (f"{path} cannot be {value}" for value in needed.get("enum", ()) if value not in found["enum"])
    if needed.get(_OPEN) and not found.get(_OPEN):
        yield f"{path} does not keep unknown fields"
    fields = found.get("properties", {})
    parts = [
        (part, fields.get(name), f"{path}.{name}".lstrip(".")) for name, part in needed.get("properties", {}).items()
    ]
    parts += [(needed[key], found.get(key), path + step) for key, step in _CONTAINED if key in needed]
    for part, described, where in parts:
        if isinstance(described, Mapping):
            yield from _misfits(part, described, path=where)
        elif not found.get(_OPEN):
            yield f"it has no field {where}"


def _without_descriptions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without the keyword `description`; a field of that name stays."""
    kept = {key: value for key, value in schema.items() if key != "description"}
    if "properties" in kept:
        kept["properties"] = {name: _without_descriptions(part) for name, part in kept["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), Mapping):
            kept[key] = _without_descriptions(kept[key])
    return kept
