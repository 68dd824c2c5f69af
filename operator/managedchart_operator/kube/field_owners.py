"""Which managers own which fields of an object, as `metadata.managedFields` says.

For each manager the API server keeps the set of fields that the manager was the last to set; a field that several managers set
to the same value is in each of their sets. The sets are part of the metadata and contain no values. A set is a tree of
mappings, in which a key is one step of a path: `f:NAME` a field, `k:{...}` the item of a list with these keys, `v:VALUE` the
item of a set, `i:NUMBER` an index, and `.` the element itself. `objects` does the reading.

Source: Kubernetes documentation, "Server-Side Apply"; sigs.k8s.io/structured-merge-diff, `fieldpath/serialize.go`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

HELM = "helm"
"""The manager of what helm writes, 3 and 4: the name of its program."""

Path = tuple[str, ...]
"""The steps to a field, as in the tree: `("f:spec", "f:replicas")`."""

# The status belongs to controllers; charts do not set it.
_STATUS = "status"
# For one manager of one object. An Event never names so many; a ConfigMap of 1 MiB may have a hundred thousand.
_MOST_FIELDS = 1000
# The fields of a pod are some 10 levels deep. Custom resources may be nested to any depth.
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Manager:
    """Who sets fields. `subresource` distinguishes autoscalers, which write to `scale`, from others of the same name."""

    name: str
    subresource: str = ""

    def __str__(self) -> str:
        return f"{self.name}, subresource {self.subresource}" if self.subresource else self.name


@dataclass(frozen=True, slots=True)
class OwnedField:
    """A field of an object, and one of its managers."""

    path: Path
    manager: Manager

    def __str__(self) -> str:
        return f"{path_text(self.path)} (set by {self.manager})"


def fields_of_others(metadata: Mapping[str, Any]) -> list[OwnedField]:
    """Return the fields outside the status that managers other than helm own, alone or together with helm.

    At most 1000 for each manager.
    """
    found: list[OwnedField] = []
    for manager, fields in _entries(metadata):
        if manager.name == HELM or manager.subresource == _STATUS:
            continue
        paths = (path for path in _leaves(fields) if path[0] != f"f:{_STATUS}")
        found += (OwnedField(path, manager) for path in islice(paths, _MOST_FIELDS))
    return found


def is_key(path: Path) -> bool:
    """Whether a field only names its item of a list, like the name of a container."""
    above = path[-2] if len(path) > 1 else ""
    return above.startswith("k:") and path[-1].removeprefix("f:") in _loaded(above.removeprefix("k:"))


def matches(path: Path, pointer: str) -> bool:
    """Whether a field is that of a JSON pointer or below it. Source: RFC 6901.

    In the pointer `*` is any step, and the item of a list is named by the value of a key, like a container by its name.
    """
    wanted = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    if len(wanted) > len(path):
        return False
    return all(want == "*" or want in _names(step) for want, step in zip(wanted, path, strict=False))


def _names(step: str) -> Iterable[str]:
    """Return the names of a step in a JSON pointer."""
    kind, _, value = step.partition(":")
    return map(str, _loaded(value).values()) if kind == "k" else (value,)


def value_at(live: Any, path: Path) -> tuple[bool, Any]:
    """Return whether a live object has a field, and its value."""
    for step in path:
        kind, _, key = step.partition(":")
        if kind == "f" and isinstance(live, Mapping) and key in live:
            live = live[key]
        elif kind == "k" and isinstance(live, list):
            keys = _loaded(key).items()
            found = [item for item in live if isinstance(item, Mapping) and keys <= item.items()]
            if not found:
                return False, None
            live = found[0]
        else:
            return False, None
    return True, live


def owns(metadata: Mapping[str, Any], manager: Manager, path: Path) -> bool:
    """Whether the manager owns the field, in any version of the API."""
    return any(_has(fields, path) for known, fields in _entries(metadata) if known == manager)


def taken_over(before: list[OwnedField], metadata: Mapping[str, Any]) -> list[OwnedField]:
    """Return the fields that helm owns now and their previous managers do not.

    A field that helm set to the value of another manager belongs to both, so it was not taken over.
    """
    helm = Manager(HELM)
    return [
        field for field in before if owns(metadata, helm, field.path) and not owns(metadata, field.manager, field.path)
    ]


def path_text(path: Path) -> str:
    """Return a path as people write it: `spec.template.spec.containers[name=main].image`."""
    text = ""
    for step in path:
        kind, _, value = step.partition(":")
        if kind == "f" and not set("./[") & set(value):
            text += f".{value}"
        else:
            text += f"[{_keys(value) if kind == 'k' else value}]"
    return text.removeprefix(".")


def _entries(metadata: Mapping[str, Any]) -> Iterator[tuple[Manager, Mapping[str, Any]]]:
    for entry in metadata.get("managedFields") or ():
        yield Manager(entry.get("manager") or "", entry.get("subresource") or ""), entry.get("fieldsV1") or {}


def _leaves(fields: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Yield the path of each field without inner fields; paths end at _DEEPEST levels."""
    for step, inner in fields.items():
        if step == ".":
            continue  # several managers may own the mere existence of an item or mapping; that is never a conflict
        path = (*above, step)
        if inner.keys() - {"."} and len(path) < _DEEPEST:
            yield from _leaves(inner, path)
        else:
            yield path


def _has(fields: Mapping[str, Any], path: Path) -> bool:
    tree = fields
    for step in path:
        if step not in tree:
            return False
        tree = tree[step]
    return True


def _keys(value: str) -> str:
    """Return the keys of a list's item as text: `name=main` for `{"name":"main"}`."""
    return ",".join(f"{name}={key}" for name, key in _loaded(value).items()) or value


def _loaded(keys: str) -> dict[str, Any]:
    """Return the keys of a list's item; {} for what the API server cannot have written."""
    try:
        loaded = json.loads(keys)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
