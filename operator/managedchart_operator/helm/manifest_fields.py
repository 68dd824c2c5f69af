"""Edits single fields of an object that helm rendered, by their path in `metadata.managedFields`.

A field that another manager holds is left out of what helm applies, so that helm neither sets nor owns it, or it gets the value
that the cluster has. What the chart itself renders for it is kept in a comment above the object, because a later upgrade has to
know whether the chart's value has changed. `manifest_edits` applies this to whole manifests.

A step of a path is `f:NAME` for a field, `k:{...}` for the item of a list with these keys, `v:VALUE` for the item of a set.
Source: sigs.k8s.io/structured-merge-diff, `fieldpath/serialize.go`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from managedchart_operator.helm.yaml_nodes import copied, serialized
from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_document

Path = tuple[str, ...]

_NOTE = "# managedchart.dev/chart-values: "
_NOTE_LINE = re.compile(rf"^{re.escape(_NOTE)}(?P<json>.*)\n", re.MULTILINE)
# A key of a list's item that the API server fills in, so a chart may leave it out: that of ports.
_DEFAULT_KEYS = {"protocol": "TCP"}
_TEXT = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"


@dataclass(frozen=True, slots=True)
class FieldEdit:
    """What to do with one field. `value` is JSON; None leaves the field out."""

    path: Path
    value: str | None = None
    only_if: str | None = None
    """The field is edited only where the object has this value in it, as JSON; None for any."""
    insert: bool = False
    """Whether the value is also written where the object lacks the field."""


def edited(node: yaml.MappingNode, edits: Iterable[FieldEdit]) -> tuple[yaml.MappingNode, dict[Path, Any]]:
    """Return the object with its fields edited, the same node where nothing changes; and what the edited fields had."""
    before: dict[Path, Any] = {}
    for edit in edits:
        present, value = value_in(node, edit.path)
        if edit.only_if is not None and not (present and value == json.loads(edit.only_if)):
            continue
        if not present and not (edit.insert and edit.value is not None):
            continue
        new = None if edit.value is None else _parsed(edit.value)
        changed = _with(node, edit.path, new)
        if isinstance(changed, yaml.MappingNode):
            node = changed
            before |= {edit.path: value} if present else {}
    return node, before


def value_in(node: yaml.Node, path: Path) -> tuple[bool, Any]:
    """Return whether an object has a field, and the value of the field as helm reads it."""
    for step in path:
        found = _inner(node, step)
        if found is None:
            return False, None
        node = found
    try:
        return True, read_document(serialized(node).encode(), 0, Budget())
    except (YamlError, yaml.YAMLError, RecursionError):
        return False, None


def note(values: Mapping[Path, Any]) -> str:
    """Return the comment, a line, that says what the chart renders for these fields; "" for none."""
    return f"{_NOTE}{json.dumps([[list(path), value] for path, value in values.items()])}\n" if values else ""


def noted(document: str) -> dict[Path, Any]:
    """Return what the comment in a document says."""
    found: dict[Path, Any] = {}
    for line in _NOTE_LINE.finditer(document):
        try:
            found |= {tuple(map(str, path)): value for path, value in json.loads(line["json"])}
        except (ValueError, TypeError, RecursionError):
            continue  # a chart may write any comment
    return found


def without_note(document: str) -> str:
    """Return the document without that comment."""
    return _NOTE_LINE.sub("", document)


def _inner(node: yaml.Node, step: str) -> yaml.Node | None:
    """Return the field or the item of a step; None if the node lacks it."""
    kind, _, key = step.partition(":")
    if kind == "f" and isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if kind in ("k", "v") and isinstance(node, yaml.SequenceNode):
        return next((item for item in node.value if _is_item(item, kind, key)), None)
    return None


def _is_item(item: yaml.Node, kind: str, key: str) -> bool:
    """Whether an item of a list is that of a step."""
    try:
        wanted = json.loads(key)
    except ValueError:
        return False
    if kind == "v":
        return isinstance(item, yaml.ScalarNode) and item.value == str(wanted)
    if not isinstance(item, yaml.MappingNode) or not isinstance(wanted, dict):
        return False
    present = {name.value: value.value for name, value in item.value if isinstance(value, yaml.ScalarNode)}
    return all(str(present.get(name, _DEFAULT_KEYS.get(name))) == str(value) for name, value in wanted.items())


def _with(node: yaml.Node, path: Path, value: yaml.Node | None) -> yaml.Node | None:
    """Return a copy of a node with a value in the field at the path, or without the field; None where that is impossible."""
    step, rest = path[0], path[1:]
    kind, _, key = step.partition(":")
    found = _inner(node, step)
    if rest:
        inner = _with(found or yaml.MappingNode(_MAP, []), rest, value)
        if inner is None:
            return None
    else:
        inner = value
    if isinstance(node, yaml.SequenceNode) and found is not None:
        if kind == "k" and not rest:
            return None  # the item has fields of the chart too
        at = node.value.index(found)
        items = [*node.value[:at], *([inner] if inner else []), *node.value[at + 1 :]]
        return yaml.SequenceNode(node.tag, items, flow_style=node.flow_style)
    if not isinstance(node, yaml.MappingNode) or kind != "f":
        return None
    # By name: an alias is the same node as what it stands for.
    entries = [(copied(name), inner if name.value == key else copied(old)) for name, old in node.value]
    if found is None:
        entries.append((yaml.ScalarNode(_TEXT, key), inner))
    return yaml.MappingNode(node.tag, [each for each in entries if each[1] is not None], flow_style=node.flow_style)


def _parsed(text: str) -> yaml.Node | None:
    """Return JSON as a node; YAML has JSON's values."""
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.CSafeLoader)
    return node
