"""Reads and writes YAML on the level of nodes, so that a text changes only where it is meant to.

Each scalar keeps its text: numbers and dates are written as the chart wrote them. Nodes are copied before they are changed,
since an alias may use one elsewhere.
"""

import json
from typing import Any

import yaml

from managedchart_operator.helm.yaml_reader import Budget, YamlError, read_documents

# Limit for one document that is rewritten: so many nodes take 100 MiB. The largest CustomResourceDefinitions have a fifth.
EDITED_NODES = 100_000
_TEXT = "tag:yaml.org,2002:str"
_MAP = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"
_MERGE = "tag:yaml.org,2002:merge"
_SCALARS = {
    bool: "tag:yaml.org,2002:bool",
    int: "tag:yaml.org,2002:int",
    float: "tag:yaml.org,2002:float",
    type(None): "tag:yaml.org,2002:null",
}


def composed(document: str) -> yaml.Node | None:
    """Return a document as YAML nodes; None where it is too large or nested too deep."""
    try:
        # The limit is checked before the nodes are built, which take 250 times the memory of the text.
        data = document.encode()
        for _ in read_documents(data, Budget(bytes=len(data), nodes=EDITED_NODES)):
            pass
        node: yaml.Node | None = yaml.compose(document, Loader=yaml.CSafeLoader)
    except (YamlError, yaml.YAMLError, RecursionError):
        return None
    return node


def serialized(node: yaml.Node) -> str:
    """Return a node as YAML. Raises RecursionError."""
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


def fields_of(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the entries of a mapping as helm reads them: of two with the same name the last counts, and `<<` is resolved."""
    entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for name, value in node.value:
        if name.tag != _MERGE:
            entries[str(name.value)] = (name, value)
            continue
        # The mappings of a list are merged from its end, as `yaml_reader` does.
        for source in reversed(value.value) if isinstance(value, yaml.SequenceNode) else (value,):
            if isinstance(source, yaml.MappingNode):
                entries |= {str(name.value): (name, inner) for name, inner in fields_of(source)}
    return list(entries.values())


def node_of(value: Any) -> yaml.Node:
    """Return a value of JSON as a node. Its text, read as YAML, may be another value: U+2028 is a line break there."""
    if isinstance(value, dict):
        return yaml.MappingNode(_MAP, [(node_of(key), node_of(inner)) for key, inner in value.items()])
    if isinstance(value, list):
        return yaml.SequenceNode(_LIST, [node_of(item) for item in value])
    if isinstance(value, str):
        return yaml.ScalarNode(_TEXT, value, style='"')
    return yaml.ScalarNode(_SCALARS[type(value)], json.dumps(value))


def value_of(node: yaml.MappingNode, key: str) -> yaml.Node | None:
    """Return the value of a key, or None."""
    return next((value for name, value in node.value if name.value == key), None)


def text_of(node: yaml.MappingNode, key: str) -> str:
    """Return the text of a key's value; "" if it is missing or no scalar."""
    value = value_of(node, key)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def mapping_of(node: yaml.MappingNode, key: str) -> yaml.MappingNode:
    """Return a mapping within a mapping; an empty one if it is missing or null."""
    value = value_of(node, key)
    return value if isinstance(value, yaml.MappingNode) else yaml.MappingNode(_MAP, [], flow_style=node.flow_style)


def with_value(node: yaml.MappingNode, key: str, value: str | yaml.Node) -> yaml.MappingNode:
    """Return a copy of a mapping with another value for a key: an alias may use the node itself elsewhere, too."""
    style = '"' if node.flow_style else None  # so that JSON stays JSON
    new = yaml.ScalarNode(_TEXT, value, style=style) if isinstance(value, str) else value
    entries = [(copied(name), new if name.value == key else copied(old)) for name, old in node.value]
    if all(name.value != key for name, _ in node.value):
        entries.append((yaml.ScalarNode(_TEXT, key, style=style), new))
    return yaml.MappingNode(node.tag, entries, flow_style=node.flow_style)


def copied(node: yaml.Node) -> yaml.Node:
    """Return a copy of a scalar: one node in two places would be written as an alias, even as a key."""
    return yaml.ScalarNode(node.tag, node.value, style=node.style) if isinstance(node, yaml.ScalarNode) else node
