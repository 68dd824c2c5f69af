"""Rewrites the stored manifest of a release: drops objects, marks them as kept, or moves them to another apiVersion.

helm builds every object of a stored manifest before it uninstalls, upgrades or rolls back, so one object of a kind that the
cluster does not serve makes the whole operation fail. And an uninstall honours `helm.sh/resource-policy: keep` only where the
stored manifest has it. Helm's plug-in mapkubeapis rewrites stored manifests for the same reason. This module only makes the new
text; the callers decide whose revision may be rewritten.

Unchanged documents stay as they are, byte for byte. A changed one is written again from its YAML nodes: each scalar keeps its
text, comments within it are lost. A changed list is split into one document an object, since helm looks for the policy on a
document, not on the items of a list (4.3.1, pkg/action/resource_policy.go).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.ownership import RESOURCE_POLICY
from managedchart_operator.helm.stored_release import decode, packed, secret_name
from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_documents
from managedchart_operator.reasons import Reason

_KEEP = "keep"
# Limit for one document that is rewritten: so many nodes take 100 MiB. The largest CustomResourceDefinitions have a fifth.
_EDITED_NODES = 100_000
# The API server's limit for all data of a Secret (MaxSecretSize in its pkg/apis/core).
_SECRET_BYTES = 1024 * 1024
_BEFORE_SEPARATOR = re.compile(r"^(?=---(?:[ \t][^\n]*)?\r?$)", re.MULTILINE)
# The separator and the comments above an object, like helm's `# Source: chart/templates/file.yaml`.
_HEAD = re.compile(r"(?:---[ \t]*(?:#[^\n]*)?\r?\n)?(?:[ \t]*(?:#[^\n]*)?\r?\n)*")
_TEXT = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"


@dataclass(frozen=True, slots=True)
class Rendered:
    """An object as a manifest names it. `namespace` is empty where the manifest has none, so the release's applies."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

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


Edit = Drop | Keep | Move
Editor = Callable[[Rendered], Edit | None]
"""Returns the edit for an object; None leaves it as it is."""


def rendered_in(manifest: str) -> list[Rendered]:
    """Return the objects of a manifest, with lists split into their items. Documents that helm cannot read are left out."""
    return [named for text in _documents(manifest) for named in _named(text)]


def rewrite(manifest: str, edit: Editor) -> str:
    """Return the manifest with the edits applied to its objects. Documents that helm cannot read stay as they are."""
    return "".join(_rewritten(text, edit) for text in _documents(manifest))


def with_manifest(secret: Mapping[str, Any], edit: Editor, *, hooks: bool) -> str | None:
    """Return the data of a release Secret with its objects edited; None where nothing changes.

    `hooks` says whether hooks are edited too; a hook without an object is removed. Everything else of helm's document stays. To
    be called in a thread, like `decode`. Raises HelmError, also when the result does not fit into a Secret.
    """
    document = dict(decode(secret).document)
    before = document.get("manifest") or ""
    after = rewrite(before, edit)
    kept_hooks = document.get("hooks")
    if hooks and kept_hooks:
        kept_hooks = [changed for hook in kept_hooks if (changed := _changed_hook(hook, edit)) is not None]
    if after == before and kept_hooks == document.get("hooks"):
        return None
    document["manifest"] = after
    if "hooks" in document:
        document["hooks"] = kept_hooks
    data = packed(document)
    # The outer base64 encoding is the API's own and does not count.
    if len(data) // 4 * 3 > _SECRET_BYTES:
        raise HelmError(
            f"The release Secret {secret_name(secret)} has no room for the changed manifest",
            reason=Reason.RELEASE_TOO_LARGE,
            transient=False,
            hint="Make the values smaller, or leave files out of the chart (.helmignore).",
        )
    return data


def _changed_hook(hook: dict[str, Any], edit: Editor) -> dict[str, Any] | None:
    before = hook.get("manifest") or ""
    after = rewrite(before, edit)
    if after == before:
        return hook
    return {**hook, "manifest": after} if after.strip() else None


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
        named.append(Rendered(item.get("apiVersion") or "", item["kind"], name, namespace))
    return named


def _rewritten(document: str, edit: Editor) -> str:
    changes = [edit(named) for named in _named(document)]
    if not any(changes):
        return document
    if all(isinstance(change, Drop) for change in changes):
        return ""
    root = _composed(document)
    objects = list(_objects(root))
    if len(objects) != len(changes):
        return document  # the two readers disagree: leave it, and helm reports what it cannot build
    edited = [_edited(node, change) for node, change in zip(objects, changes, strict=True)]
    if edited == [root]:
        return document
    head = found[0] if (found := _HEAD.match(document)) else ""
    following = head if head.startswith("---") else f"---\n{head}"
    try:
        return head + following.join(_serialized(node) for node in edited if node is not None)
    except RecursionError:
        return document


def _composed(document: str) -> yaml.Node | None:
    """Return a document as YAML nodes; None where it is too large or nested too deep."""
    try:
        # The limit is checked before the nodes are built, which take 250 times the memory of the text.
        data = document.encode()
        for _ in read_documents(data, Budget(bytes=len(data), nodes=_EDITED_NODES)):
            pass
        node: yaml.Node | None = yaml.compose(document, Loader=yaml.CSafeLoader)
    except (YamlError, yaml.YAMLError, RecursionError):
        return None
    return node


def _objects(node: yaml.Node | None, api_version: str = "", kind: str = "") -> Iterator[yaml.MappingNode]:
    """Yield the objects of a document, split as in `manifest`; an item of a list may be without a kind."""
    if not isinstance(node, yaml.MappingNode):
        return
    if kind and not _text(node, "kind") and not _text(node, "apiVersion"):
        node = _with(_with(node, "kind", kind), "apiVersion", api_version)
    items = _value(node, "items")
    if isinstance(items, yaml.SequenceNode):
        kind = _text(node, "kind").removesuffix("List")
        for item in items.value:
            yield from _objects(item, _text(node, "apiVersion"), kind)
    elif _text(node, "kind"):
        yield node


def _edited(node: yaml.MappingNode, change: Edit | None) -> yaml.MappingNode | None:
    """Return the node with the edit applied, the same one where it changes nothing; None to drop it."""
    match change:
        case Drop():
            return None
        case Move(api_version):
            return _with(node, "apiVersion", api_version)
        case Keep():
            metadata = _mapping(node, "metadata")
            annotations = _mapping(metadata, "annotations")
            if _text(annotations, RESOURCE_POLICY).strip().lower() != _KEEP:
                annotations = _with(annotations, RESOURCE_POLICY, _KEEP)
                return _with(node, "metadata", _with(metadata, "annotations", annotations))
    return node


def _serialized(node: yaml.Node) -> str:
    _spell_out_nulls(node, set())
    text: str = yaml.serialize(node, Dumper=yaml.CSafeDumper, allow_unicode=True, width=-1)
    return text


def _spell_out_nulls(node: yaml.Node, seen: set[int]) -> None:
    """Write each empty null as `null`: within braces libyaml would quote it, which makes it a string."""
    if isinstance(node, yaml.ScalarNode):
        if not node.value and not node.style:
            node.value = "null"
    elif isinstance(node, yaml.CollectionNode) and id(node) not in seen:
        seen.add(id(node))  # an alias puts a node into several places, even into itself
        for each in node.value:
            for part in each if isinstance(each, tuple) else (each,):
                _spell_out_nulls(part, seen)


def _value(node: yaml.MappingNode, key: str) -> yaml.Node | None:
    return next((value for name, value in node.value if name.value == key), None)


def _text(node: yaml.MappingNode, key: str) -> str:
    value = _value(node, key)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def _mapping(node: yaml.MappingNode, key: str) -> yaml.MappingNode:
    """Return a mapping within a mapping; an empty one if it is missing or null."""
    value = _value(node, key)
    return value if isinstance(value, yaml.MappingNode) else yaml.MappingNode(_MAP, [], flow_style=node.flow_style)


def _with(node: yaml.MappingNode, key: str, value: str | yaml.Node) -> yaml.MappingNode:
    """Return a copy of a mapping with another value for a key: an alias may use the node itself elsewhere, too."""
    style = '"' if node.flow_style else None  # so that JSON stays JSON
    new = yaml.ScalarNode(_TEXT, value, style=style) if isinstance(value, str) else value
    entries = [(_copied(name), new if name.value == key else _copied(old)) for name, old in node.value]
    if all(name.value != key for name, _ in node.value):
        entries.append((yaml.ScalarNode(_TEXT, key, style=style), new))
    return yaml.MappingNode(node.tag, entries, flow_style=node.flow_style)


def _copied(node: yaml.Node) -> yaml.Node:
    """Return a copy of a scalar: one node in two places would be written as an alias, even as a key."""
    return yaml.ScalarNode(node.tag, node.value, style=node.style) if isinstance(node, yaml.ScalarNode) else node
