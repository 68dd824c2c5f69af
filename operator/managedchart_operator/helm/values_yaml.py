"""YAML as helm reads it.

Purpose: a values file must mean to the operator exactly what it means to `helm --values`, or the merged values would
differ from what the person tried on the command line. helm reads with sigs.k8s.io/yaml, which goes through go-yaml v2
to JSON; its rules are neither YAML 1.1 as PyYAML reads it (dates, base 60) nor YAML 1.2. So the scanner is libyaml,
which go-yaml is a port of, and the meaning of each scalar is decided here.

Boundary: bytes in, plain values out; `values` merges and words the errors. Invariant: what this module accepts, helm
accepts with the same result (tests/unit/helm/test_values_conformance.py asks the real helm). Facts that surprise: `010`
and `08` are both the number 8; `y`, `on` and `NO` are booleans; dates stay strings; a key given twice is no error, the
last one counts; a `<<` overrides the keys above it.
"""

import math
import re
import struct
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.nesting import MAX_LEVELS

# go-yaml bounds the number of nodes that aliases expand to, but not their bytes: 400,000 aliases of one long text
# would still be gigabytes. Values end in the release Secret, which holds 1 MiB compressed; 16 MiB is beyond any use.
_MAX_EXPANDED_BYTES = 16 * 1024 * 1024

_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NOT_FINITE = re.compile(r"\.(nan|NaN|NAN)|[-+]?\.(inf|Inf|INF)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Go's ParseInt with base 0: prefixes 0x, 0o and 0b, and a bare leading zero for octal.
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|(0|[1-9][0-9]*))")
_SEPARATED = re.compile(r"(?<=[0-9])_(?=[0-9])")
_SEPARATOR = b"---"


class ValuesYamlError(Exception):
    """A text that helm would not read either. `line` counts from 1; None when it is not known."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def read_documents(data: bytes) -> Iterator[tuple[int, Any]]:
    """Read all documents as helm does: the text is split where a line begins with `---` before it is parsed.

    Yields the number of the first line (from 1) and the value of each. Aliases share their value: never change one in
    place. Raises ValuesYamlError.
    """
    for first_line, document in _split(data):
        yield first_line + 1, _Builder(document, first_line).build()


def describe(value: object) -> str:
    """Say in a person's words what kind of value this is."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "a mapping"


def as_string(value: object) -> str | None:
    """Turn a scalar into a string as helm does for map keys and Chart.yaml's text fields; None if helm cannot.

    A number loses what its type does not hold: `version: 1.10` is "1.1".
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() if value < 2**63:
            return str(value)
        case float():
            return _go_float(value)
        case _:
            return None


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    lines: list[bytes] = []
    first = 0
    for number, line in enumerate(data.replace(b"\r\n", b"\n").split(b"\n")):
        if line.startswith(_SEPARATOR):
            rest = line[len(_SEPARATOR) :].strip()
            if rest and not rest.startswith(b"#"):
                raise ValuesYamlError("only a comment may follow the document separator ---", number + 1)
            if lines:
                yield first, b"\n".join(lines) + b"\n"
            lines, first = [], number
        lines.append(line)
    yield first, b"\n".join(lines)


@dataclass(slots=True)
class _Anchor:
    """A node with a name: its value, and what each use of it costs in nodes and bytes."""

    value: Any = None
    nodes: int = 0
    size: int = 0
    complete: bool = False


class _Builder:
    """Builds the value of one document from libyaml's events, counting what aliases expand to."""

    def __init__(self, document: bytes, first_line: int) -> None:
        self._events: Iterator[Any] = yaml.parse(document, Loader=yaml.CSafeLoader)
        self._first_line = first_line
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = 1
        self._aliased = 0
        self._size = 0

    def build(self) -> Any:
        """The first document's value, None when there is none. What follows a `...` is ignored, as helm does."""
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    value = self._value(next(self._events), 0)
                    next(self._events)  # the document's end: raises if something stands behind the value
                    return value
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            context = f"{error.context}: " if error.context else ""
            line = None if mark is None else self._first_line + mark.line + 1
            raise ValuesYamlError(f"{context}{error.problem or 'this is not YAML'}", line) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            # Only libyaml's reader raises these: its own text is a dump of the byte.
            raise ValuesYamlError("it is not UTF-8 text, or holds control characters", None) from error
        except UNREADABLE as error:
            raise ValuesYamlError(f"it cannot be read ({type(error).__name__})", None) from error
        return None

    def _line(self, event: Any) -> int:
        return int(self._first_line + event.start_mark.line + 1)

    def _value(self, event: Any, depth: int) -> Any:
        if depth > MAX_LEVELS:
            raise ValuesYamlError(f"nested deeper than {MAX_LEVELS} levels", self._line(event))
        nodes, size = self._nodes, self._size
        self._nodes += 1
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
            raise ValuesYamlError(f"unknown anchor {event.anchor!r}", self._line(event))
        if not anchor.complete:
            raise ValuesYamlError(f"the value of anchor {event.anchor!r} contains itself", self._line(event))
        self._nodes += anchor.nodes
        self._aliased += anchor.nodes
        self._add_size(anchor.size, event)
        if self._aliased > 100 and self._nodes > 1000 and self._aliased / self._nodes > _allowed_ratio(self._nodes):
            raise ValuesYamlError("aliases expand to too many values", self._line(event))
        return anchor.value

    def _add_size(self, size: int, event: Any) -> None:
        self._size += size
        if self._size > _MAX_EXPANDED_BYTES:
            raise ValuesYamlError(f"aliases expand to more than {_MAX_EXPANDED_BYTES >> 20} MiB", self._line(event))

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
                raise ValuesYamlError(f"{describe(raw)} cannot be a key; put it in quotes", self._line(event))
            result[key] = self._value(next(self._events), depth + 1)
        return result

    def _merge(self, event: Any, value: Any, target: dict[str, Any]) -> None:
        # A list of mappings is merged from its end, so that earlier ones win; a list behind an alias is refused.
        in_place = isinstance(value, list) and not isinstance(event, yaml.AliasEvent)
        sources = reversed(value) if in_place else (value,)
        for source in sources:
            if not isinstance(source, dict):
                raise ValuesYamlError("<< needs a mapping or a list of mappings", self._line(event))
            target.update(source)

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        self._add_size(len(text.encode(errors="replace")), event)
        tag = event.tag
        if tag is None:
            value = _resolve(text) if event.implicit[0] else text
        elif tag == _TAG + "binary":
            try:
                value = b64decode(text.replace("\n", ""), validate=True).decode(errors="replace")
            except Base64Error as error:
                raise ValuesYamlError("!!binary needs base64", self._line(event)) from error
        elif tag in (_TAG + "bool", _TAG + "int", _TAG + "float", _TAG + "null"):
            value = _tagged(tag.removeprefix(_TAG), _resolve(text))
            if value is _MISMATCH:
                raise ValuesYamlError(f"this cannot be read as !!{tag.removeprefix(_TAG)}", self._line(event))
        else:
            value = text
        if isinstance(value, float) and not math.isfinite(value):
            # JSON, through which helm goes, has no such value.
            raise ValuesYamlError("values that are not finite numbers (.nan, .inf) cannot be used", self._line(event))
        return value


_MISMATCH = object()


def _tagged(tag: str, value: Any) -> Any:
    match tag, value:
        case "float", int() if not isinstance(value, bool):
            return float(value)
        case ("bool", bool()) | ("float", float()) | ("null", None):
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case _:
            return _MISMATCH


def _is_merge(event: Any) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.value == "<<"
        and (event.implicit[0] or event.tag == _TAG + "merge")
    )


def _resolve(text: str) -> Any:
    """What a plain scalar means to go-yaml v2."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    if text[0] not in "+-.0123456789":
        return text
    # In a number that begins with its point underscores must separate digits; elsewhere they may stand anywhere.
    plain = _SEPARATED.sub("", text) if text[0] == "." else text.replace("_", "")
    if matched := _INTEGER.fullmatch(plain):
        sign, hexadecimal, octal, binary, decimal = matched.groups()
        bases = ((hexadecimal, 16), (octal, 8), (binary, 2), (decimal, 10))
        # Python converts no decimal number of thousands of digits; one of 20 digits is beyond 64 bits already.
        number = next(int(digits[:21], base) if base == 10 else int(digits, base) for digits, base in bases if digits)
        if number < 2**63 or (not sign and number < 2**64) or (sign == "-" and number == 2**63):
            return -number if sign == "-" else number
    if _FLOAT.fullmatch(plain):
        value = float(plain)
        # Go refuses numbers that are out of range, and the text stays a text.
        return value if math.isfinite(value) else text
    return text


def _allowed_ratio(nodes: int) -> float:
    """The share of nodes that may come from aliases: go-yaml's rule, 99 % up to 400,000 nodes, falling to 10 %."""
    low, high = 400_000, 4_000_000
    return 0.99 - 0.89 * (min(max(nodes, low), high) - low) / (high - low)


def _go_float(value: float) -> str:
    """Go's FormatFloat(value, 'g', -1, 32): the shortest text of the same 32-bit number."""
    single = _single(value)
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    for precision in range(9):
        text = f"{single:.{precision}e}"
        if _single(float(text)) == single:
            break
    mantissa, exponent = text.split("e")
    if -4 <= int(exponent) < 6:
        digits = len(mantissa.lstrip("-").replace(".", ""))
        places = max(0, digits - 1 - int(exponent))
        return f"{float(text):.{places}f}"
    return text


def _single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
