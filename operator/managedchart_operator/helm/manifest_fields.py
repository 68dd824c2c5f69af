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
from dataclasses import dataclass, field
from typing import Any

import yaml

from managedchart_operator.helm.yaml_nodes import copied, fields_of, node_of, serialized
from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_document

Path = tuple[str, ...]

_NOTE = "# managedchart.dev/chart-values: "
_NOTE_LINE = re.compile(rf"^{re.escape(_NOTE)}(?P<json>.*)\n", re.MULTILINE)
# A key of a list's item that the API server fills in, so a chart may leave it out: that of ports.
_DEFAULT_KEYS = {"protocol": "TCP"}
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
    tree = _Edits()
    for edit in edits:
        tree.add(edit)
    before: dict[Path, Any] = {}
    new = _edited(node, tree, before)
    return (new, before) if isinstance(new, yaml.MappingNode) else (node, {})


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
            values = {tuple(map(str, path)): value for path, value in json.loads(line["json"])}
        except (ValueError, TypeError, RecursionError):
            continue  # a chart may write any comment
        found |= {path: value for path, value in values.items() if path}
    return found


def without_note(document: str) -> str:
    """Return the document without that comment."""
    return _NOTE_LINE.sub("", document)


@dataclass(slots=True)
class _Edits:
    """The edits of one object by the steps of their paths, so that the object is walked once for all of them."""

    edit: FieldEdit | None = None
    inner: "dict[str, _Edits]" = field(default_factory=dict)

    def add(self, edit: FieldEdit) -> None:
        """Add an edit; a later one replaces an earlier one of the same field."""
        place = self
        for step in edit.path:
            place = place.inner.setdefault(step, _Edits())
        place.edit = edit


def _edited(node: yaml.Node, edits: _Edits, before: dict[Path, Any]) -> yaml.Node | None:
    """Return a node with the edits applied, the same one where nothing changes, None where it is left out."""
    if (edit := edits.edit) is not None:
        present, value = value_in(node, ())
        if edit.only_if is None or (present and value == json.loads(edit.only_if)):
            before[edit.path] = value
            return None if edit.value is None else node_of(json.loads(edit.value))
    if isinstance(node, yaml.MappingNode):
        return _edited_mapping(node, edits, before)
    if isinstance(node, yaml.SequenceNode):
        return _edited_list(node, edits, before)
    return node


def _edited_mapping(node: yaml.MappingNode, edits: _Edits, before: dict[Path, Any]) -> yaml.MappingNode:
    missing = {step.removeprefix("f:"): inner for step, inner in edits.inner.items() if step.startswith("f:")}
    if not missing:
        return node
    # Copies: an alias is the same node as what it stands for.
    entries, changed = [], False
    for name, value in fields_of(node):
        inner = missing.pop(name.value, None)
        new = value if inner is None else _edited(value, inner, before)
        changed |= new is not value
        if new is not None:
            entries.append((copied(name), copied(value) if new is value else new))
    for key, inner in missing.items():
        if (inserted := _inserted(inner)) is not None:
            entries.append((node_of(key), inserted))
            changed = True
    return yaml.MappingNode(node.tag, entries, flow_style=node.flow_style) if changed else node


def _edited_list(node: yaml.SequenceNode, edits: _Edits, before: dict[Path, Any]) -> yaml.SequenceNode:
    items: list[yaml.Node | None] = list(node.value)
    for step, inner in edits.inner.items():
        kind, _, key = step.partition(":")
        at = next((number for number, item in enumerate(items) if item is not None and _is_item(item, kind, key)), None)
        if at is None:
            continue
        # The item of a list with keys has fields of the chart too, so it is never left out as a whole.
        items[at] = _edited(node.value[at], _Edits(inner=inner.inner) if kind == "k" else inner, before)
    if all(new is old for new, old in zip(items, node.value, strict=True)):
        return node
    return yaml.SequenceNode(node.tag, [item for item in items if item is not None], flow_style=node.flow_style)


def _inserted(edits: _Edits) -> yaml.Node | None:
    """Return the value of a field that the object lacks; None where it stays without."""
    edit = edits.edit
    if edit is not None and edit.insert and edit.value is not None and edit.only_if is None:
        return node_of(json.loads(edit.value))
    found = [
        (node_of(step.removeprefix("f:")), value)
        for step, inner in edits.inner.items()
        if step.startswith("f:") and (value := _inserted(inner)) is not None
    ]
    return yaml.MappingNode(_MAP, found) if found else None


def _inner(node: yaml.Node, step: str) -> yaml.Node | None:
    """Return the field or the item of a step; None if the node lacks it."""
    kind, _, key = step.partition(":")
    if kind == "f" and isinstance(node, yaml.MappingNode):
        return next((value for name, value in fields_of(node) if name.value == key), None)
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
    if kind != "k" or not isinstance(item, yaml.MappingNode) or not isinstance(wanted, dict):
        return False
    present = {name.value: value.value for name, value in fields_of(item) if isinstance(value, yaml.ScalarNode)}
    return all(str(present.get(name, _DEFAULT_KEYS.get(name))) == str(value) for name, value in wanted.items())
