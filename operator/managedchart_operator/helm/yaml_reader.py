"""Reads YAML as helm does.

The operator must read a values file as `helm --values` does, and a rendered manifest as helm applies it. This is the one reader
for both: the scanner is libyaml, which go-yaml is a port of, and `yaml_scalars` resolves the scalars. Whatever this module
accepts, helm accepts with the same result (tests/unit/helm/test_values_conformance.py compares with the real helm). Surprising
facts: a duplicate key is not an error, the last one counts; a `<<` overrides the keys above it.

The author of a chart controls the text, so its cost is bounded in advance: values are built one by one from libyaml's events,
within a `Budget`. (PyYAML's loaders first build a tree of nodes of the whole text: 250 times the memory, measured.)
"""

import math
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.helm.yaml_scalars import as_string, describe, resolve
from managedchart_operator.nesting import MAX_LEVELS

# Text of all scalars, with those that aliases repeat. go-yaml limits the number of nodes that aliases expand to, but not their
# bytes: 400,000 aliases of one long text are gigabytes.
MAX_EXPANDED_BYTES = 16 * 1024 * 1024
# helm stores the manifest, with the chart, in a Secret of 1 MiB: this much fits only if it compresses to an eighth. The
# largest known, the CustomResourceDefinitions of the Prometheus operator, have 4.5 MB. While libyaml reads a single long scalar
# no other thread runs: 0.06 s for so many bytes (measured on two busy cores).
MAX_BYTES = 6 * 1024 * 1024
# Those CustomResourceDefinitions have 100,000. So many empty lists take 20 MiB and 0.6 s (measured).
MAX_NODES = 250_000
# A document without content costs as much as so many nodes (measured).
_DOCUMENT_NODES = 6

# With the end of the line before it: a pattern that begins with a text is found ten times faster than one that begins with ^.
_SEPARATOR = re.compile(rb"\n---(?P<rest>[^\n]*)")
# A directive is only valid before a `---`, where texts are split, so helm refuses them all. libyaml compares each %TAG with all
# before it, so 0.7 MB of them would block the process for 5 s (measured).
_DIRECTIVE = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*+(?:#[^\r\n]*+)?+[\r\n])*+%")
_TAG = "tag:yaml.org,2002:"
_TYPES = {_TAG + "bool": bool, _TAG + "int": int, _TAG + "float": float, _TAG + "null": type(None)}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class YamlError(Exception):
    """A text that helm cannot read either. `line` counts from 1; None when it is not known."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line

    def at(self, origin: str) -> str:
        """Return the problem after its place: the name of the text, and the line where it is known."""
        where = "" if self.line is None else f", line {self.line}"
        return f"{origin}{where}: {self.problem}"


class BudgetError(YamlError):
    """A text, or several that share a budget, are larger than is allowed. `excess` says what there is more than allowed."""

    def __init__(self, excess: str) -> None:
        super().__init__(f"it has {excess}", None)
        self.excess = excess


@dataclass(slots=True)
class Budget:
    """How much may still be read. Several texts may share one budget; `read_documents` spends it."""

    bytes: int = MAX_BYTES
    nodes: int = MAX_NODES
    """Mappings, lists, scalars and keys, including those that aliases expand to."""
    expanded: int = MAX_EXPANDED_BYTES
    """Bytes of the scalars, including those that aliases expand to."""
    _whole: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Note the whole budget, for messages."""
        self._whole = (self.bytes, self.nodes, self.expanded)

    def spend(self, *, bytes: int = 0, nodes: int = 0, expanded: int = 0) -> None:  # noqa: A002 -- named like the field
        """Reduce the budget. Raises BudgetError when it is exceeded."""
        self.bytes -= bytes
        self.nodes -= nodes
        self.expanded -= expanded
        if self.bytes < 0:
            raise BudgetError(f"more than {_size(self._whole[0])}")
        if self.nodes < 0:
            raise BudgetError(f"more than {self._whole[1]} values")
        if self.expanded < 0:
            raise BudgetError(f"more than {_size(self._whole[2])} with what aliases repeat")


def _size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size} bytes"


def read_documents(data: bytes, budget: Budget | None = None) -> Iterator[tuple[int, Any]]:
    """Read all documents as helm does: the text is split where a line begins with `---`, before it is parsed.

    Yields the first line (from 1) and the value of each. Do not change a value in place: aliases share it. To be called in a
    thread where the text may be large. Raises YamlError.
    """
    budget = budget or Budget()
    budget.spend(bytes=len(data))
    for first_line, document in split(data):
        yield first_line + 1, read_document(document, first_line, budget)


def read_document(document: bytes, first_line: int, budget: Budget) -> Any:
    """Return the value of one document that `split` has yielded, as `read_documents` does. Raises YamlError."""
    return _Builder(document, first_line, budget).build()


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each document and the number of its first line (from 0). Raises YamlError."""
    data = b"\n" + data.replace(b"\r\n", b"\n")
    begin, line = 1, 0
    for separator in _SEPARATOR.finditer(data):
        end = separator.start() + 1
        passed = line + data.count(b"\n", begin, end)
        rest = separator["rest"].strip()
        if rest and not rest.startswith(b"#"):
            raise YamlError("only a comment may follow the document separator ---", passed + 1)
        if begin < end:
            yield line, data[begin:end]
        begin, line = end, passed
    yield line, data[begin:]


@dataclass(slots=True)
class _Anchor:
    """The value of an anchor, and what each alias of it costs in nodes and bytes."""

    value: Any = None
    nodes: int = 0
    size: int = 0
    complete: bool = False


class _Builder:
    """Builds the value of one document from libyaml's events, and counts what aliases expand to."""

    def __init__(self, document: bytes, first_line: int, budget: Budget) -> None:
        self._document = document
        self._events: Iterator[Any] = iter(())
        self._first_line = first_line
        self._budget = budget
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = 1
        self._aliased = 0
        self._size = 0

    def build(self) -> Any:
        """Return the first document's value, or None without a document. Text after a `...` is ignored, as helm does."""
        self._budget.spend(nodes=_DOCUMENT_NODES)
        try:
            text = self._document.decode("utf-16").encode() if self._document.startswith(_UTF16) else self._document
            if b"%" in text and _DIRECTIVE.match(text):
                raise YamlError("directives (%) are not supported", self._first_line + 1)
            self._events = yaml.parse(text, Loader=yaml.CSafeLoader)
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    value = self._value(next(self._events), 0)
                    next(self._events)  # the document's end: raises if anything follows the value
                    return value
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            context = f"{error.context}: " if error.context else ""
            line = None if mark is None else self._first_line + mark.line + 1
            raise YamlError(f"{context}{error.problem or 'this is not YAML'}", line) from error
        except (yaml.YAMLError, UnicodeError) as error:
            # Only libyaml's reader raises these: its own text is a dump of the byte.
            raise YamlError("it is not UTF-8 text, or contains control characters", None) from error
        except UNREADABLE as error:
            # The error's own text is left out, since it may quote the document.
            raise YamlError(f"it cannot be read ({type(error).__name__})", None) from None
        return None

    def _line(self, event: Any) -> int:
        return int(self._first_line + event.start_mark.line + 1)

    def _value(self, event: Any, depth: int) -> Any:
        if depth > MAX_LEVELS:
            raise YamlError(f"nested deeper than {MAX_LEVELS} levels", self._line(event))
        nodes, size = self._nodes, self._size
        self._nodes += 1
        self._budget.spend(nodes=1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor = None
        if event.anchor is not None:
            anchor = self._anchors[event.anchor] = _Anchor()
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                value.append(self._value(item, depth + 1))
        else:
            value = self._mapping(depth)
        if anchor is not None:
            anchor.value, anchor.nodes, anchor.size = value, self._nodes - nodes, self._size - size
            anchor.complete = True
        return value

    def _alias(self, event: Any) -> Any:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise YamlError(f"unknown anchor {event.anchor!r}", self._line(event))
        if not anchor.complete:
            raise YamlError(f"the value of anchor {event.anchor!r} contains itself", self._line(event))
        self._nodes += anchor.nodes
        self._budget.spend(nodes=anchor.nodes)
        self._aliased += anchor.nodes
        self._add_size(anchor.size)
        if self._aliased > 100 and self._nodes > 1000 and self._aliased / self._nodes > _most_aliased(self._nodes):
            raise YamlError("aliases expand to too many values", self._line(event))
        return anchor.value

    def _add_size(self, size: int) -> None:
        self._size += size
        self._budget.spend(expanded=size)

    def _mapping(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if _is_merge(event):
                event = next(self._events)
                self._merge(event, self._value(event, depth + 1), result)
                continue
            raw = self._value(event, depth + 1)
            key = as_string(raw)
            if key is None:
                raise YamlError(f"{describe(raw)} cannot be a key; put it in quotes", self._line(event))
            result[key] = self._value(next(self._events), depth + 1)
        return result

    def _merge(self, event: Any, value: Any, target: dict[str, Any]) -> None:
        # A list of mappings is merged from its end, so that earlier ones win; helm refuses an alias of a list.
        in_place = isinstance(value, list) and not isinstance(event, yaml.AliasEvent)
        sources = reversed(value) if in_place else (value,)
        for source in sources:
            if not isinstance(source, dict):
                raise YamlError("<< needs a mapping or a list of mappings", self._line(event))
            target.update(source)

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        self._add_size(len(text.encode(errors="replace")))
        tag = event.tag
        if tag is None:
            value = resolve(text) if event.implicit[0] else text
        elif tag == _TAG + "binary":
            try:
                value = b64decode(text.replace("\n", ""), validate=True).decode(errors="replace")
            except Base64Error as error:
                raise YamlError("!!binary needs base64", self._line(event)) from error
        elif tag in _TYPES:
            value = resolve(text)
            if tag == _TAG + "float" and type(value) is int:
                value = float(value)
            if type(value) is not _TYPES[tag]:
                raise YamlError(f"this cannot be read as !!{tag.removeprefix(_TAG)}", self._line(event))
        else:
            value = text
        if isinstance(value, float) and not math.isfinite(value):
            # helm converts YAML to JSON, which has no such value.
            raise YamlError("numbers must be finite: .nan and .inf are not supported", self._line(event))
        return value


def _is_merge(event: Any) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and (event.implicit[0] or event.tag == _TAG + "merge")
    )


def _most_aliased(nodes: int) -> float:
    """Return the share of nodes that may come from aliases: go-yaml's rule, 99 % up to 400,000 nodes, falling to 10 %."""
    low, high = 400_000, 4_000_000
    return 0.99 - 0.89 * (min(max(nodes, low), high) - low) / (high - low)
