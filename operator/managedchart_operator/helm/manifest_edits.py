"""Rewrites a manifest: drops objects, marks them as kept, moves them to another apiVersion, or leaves fields to their managers.

Unchanged documents stay as they are, byte for byte. A changed one is written again from its YAML nodes: each scalar keeps its
text, comments within it are lost. A changed list is split into one document an object, since helm looks for the policy on a
document, not on the items of a list (4.3.1, pkg/action/resource_policy.go). `manifest_fields` edits single fields; both the
stored manifest and helm's post-renderer are edited here. helm starts the latter for an upgrade, so this imports little.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.manifest_fields import FieldEdit, Path, edited, note, noted, value_in, without_note
from managedchart_operator.helm.ownership import HOOK, RESOURCE_POLICY
from managedchart_operator.helm.yaml_nodes import composed, mapping_of, serialized, text_of, value_of, with_value

_KEEP = "keep"
_BEFORE_SEPARATOR = re.compile(r"^(?=---(?:[ \t][^\n]*)?\r?$)", re.MULTILINE)
# The separator and the comments above an object, like helm's `# Source: chart/templates/file.yaml`.
_HEAD = re.compile(r"(?:---[ \t]*(?:#[^\n]*)?\r?\n)?(?:[ \t]*(?:#[^\n]*)?\r?\n)*")


@dataclass(frozen=True, slots=True)
class Rendered:
    """An object as a manifest names it. `namespace` is empty where the manifest has none, so the release's applies."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    is_hook: bool = False

    @property
    def group(self) -> str:
        """API group, "" for the core."""
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove the object from the manifest: helm then neither builds nor deletes it."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Annotate the object so that an uninstall keeps it."""


@dataclass(frozen=True, slots=True)
class Move:
    """Change the object's apiVersion to another one that serves its kind."""

    api_version: str


@dataclass(frozen=True, slots=True)
class SetFields:
    """Edit single fields of the object; what the chart renders for them is kept in a comment above it."""

    fields: tuple[FieldEdit, ...]


Edit = Drop | Keep | Move | SetFields
Editor = Callable[[Rendered], Edit | None]
"""Returns the edit for an object; None leaves it as it is."""


def rendered_in(manifest: str) -> list[Rendered]:
    """Return the objects of a manifest, with lists split into their items. Documents that helm cannot read are left out."""
    return [named for text in _documents(manifest) for named in _named(text)]


def rewrite(manifest: str, edit: Editor) -> str:
    """Return the manifest with the edits applied to its objects. Documents that helm cannot read stay as they are."""
    return "".join(_rewritten(text, edit) for text in _documents(manifest))


def _documents(manifest: str) -> list[str]:
    """Split a manifest before each separator; lines of a text within a document are indented."""
    return [text for text in _BEFORE_SEPARATOR.split(manifest) if text]


def _named(document: str) -> list[Rendered]:
    try:
        objects = outline(document)
    except ManifestError:
        return []
    named = []
    for item in objects:
        metadata = item.get("metadata") or {}
        name, namespace = metadata.get("name") or "", metadata.get("namespace") or ""
        is_hook = HOOK in (metadata.get("annotations") or {})
        named.append(Rendered(item.get("apiVersion") or "", item["kind"], name, namespace, is_hook))
    return named


def _rewritten(document: str, edit: Editor) -> str:
    changes = [edit(named) for named in _named(document)]
    if not any(changes):
        return document
    if all(isinstance(change, Drop) for change in changes):
        return ""
    root = composed(document)
    objects = list(_objects(root))
    if len(objects) != len(changes):
        return _unchanged(document, changes)  # the two readers disagree: helm reports what it cannot build
    edited = [_edited(node, change) for node, change in zip(objects, changes, strict=True)]
    if [node for node, _ in edited] == [root]:
        return document
    head = found[0] if (found := _HEAD.match(document)) else ""
    head, earlier = without_note(head), noted(head) if len(objects) == 1 else {}
    following = head if head.startswith("---") else f"---\n{head}"
    try:
        return head + following.join(
            note({**chart_values, **earlier}) + serialized(node) for node, chart_values in edited if node is not None
        )
    except RecursionError:
        return _unchanged(document, changes)


def _unchanged(document: str, changes: Iterable[Edit | None]) -> str:
    """Return a document that cannot be edited as it is. Raises ManifestError if helm would then overwrite a field."""
    if any(isinstance(change, SetFields) for change in changes):
        raise ManifestError("an object with fields that are left to their managers is too large, or nested too deep")
    return document


def _objects(node: yaml.Node | None, api_version: str = "", kind: str = "") -> Iterator[yaml.MappingNode]:
    """Yield the objects of a document, split as in `manifest`; an item of a list may be without a kind."""
    if not isinstance(node, yaml.MappingNode):
        return
    if kind and not text_of(node, "kind") and not text_of(node, "apiVersion"):
        node = with_value(with_value(node, "kind", kind), "apiVersion", api_version)
    items = value_of(node, "items")
    if isinstance(items, yaml.SequenceNode):
        kind = text_of(node, "kind").removesuffix("List")
        for item in items.value:
            yield from _objects(item, text_of(node, "apiVersion"), kind)
    elif text_of(node, "kind"):
        yield node


def _edited(node: yaml.MappingNode, change: Edit | None) -> tuple[yaml.MappingNode | None, dict[Path, Any]]:
    """Return the node with the edit applied, the same one where it changes nothing, None to drop it; and the chart's values."""
    match change:
        case Drop():
            return None, {}
        case Move(api_version):
            return with_value(node, "apiVersion", api_version), {}
        case Keep():
            metadata = mapping_of(node, "metadata")
            annotations = mapping_of(metadata, "annotations")
            if text_of(annotations, RESOURCE_POLICY).strip().lower() != _KEEP:
                annotations = with_value(annotations, RESOURCE_POLICY, _KEEP)
                return with_value(node, "metadata", with_value(metadata, "annotations", annotations)), {}
        case SetFields(fields):
            return edited(node, fields)
    return node, {}


def chart_values(manifest: str, wanted: Callable[[Rendered], Sequence[Path]]) -> dict[Rendered, dict[Path, Any]]:
    """Return what the chart itself renders for fields of objects, whether the manifest leaves them to others or not.

    `wanted` returns the paths for an object. Fields and objects that the manifest lacks are missing in the answer.
    """
    found: dict[Rendered, dict[Path, Any]] = {}
    for document in _documents(manifest):
        named = _named(document)
        paths = [wanted(each) for each in named]
        if not any(paths):
            continue
        objects, notes = list(_objects(composed(document))), noted(document) if len(named) == 1 else {}
        if len(objects) != len(named):
            continue
        for each, node, those in zip(named, objects, paths, strict=True):
            values = {path: value for path in those for present, value in [value_in(node, path)] if present}
            found[each] = values | {path: notes[path] for path in those if path in notes}
    return found


def noted_values(manifest: str) -> dict[Rendered, dict[Path, Any]]:
    """Return what the chart itself renders for the fields that the manifest leaves to their managers."""
    found = {}
    for document in _documents(manifest):
        if (values := noted(document)) and len(named := _named(document)) == 1:
            found[named[0]] = values
    return found
