"""Resolves YAML scalars as helm does.

Helm reads YAML with sigs.k8s.io/yaml, which converts it to JSON by go-yaml v2. Its rules are neither those of YAML 1.1 as
PyYAML reads it (dates, base 60) nor those of YAML 1.2. This module has them for values, Chart.yaml and rendered manifests.
Surprising facts: `010` and `08` are both the number 8; `y`, `on` and `NO` are booleans; `1e+06` is a number; dates and `22:22`
are strings.

Source: go-yaml v2.4.4 (resolve.go), sigs.k8s.io/yaml 1.6.0, k8s.io/apimachinery (util/json).
"""

import math
import re
import struct
from decimal import Decimal
from typing import Any

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
_NOT_FINITE = re.compile(r"\.(nan|NaN|NAN)|[-+]?\.(inf|Inf|INF)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Go's ParseInt with base 0: prefixes 0x, 0o and 0b, and a bare leading zero for octal. 2**64 has 20 decimal digits, and Python
# refuses to read thousands of them.
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]{0,19})")
_BARE_OCTAL = re.compile(r"^([-+]?0)(?=[0-7])")
_SEPARATED = re.compile(r"(?<=[0-9])_(?=[0-9])")
# From here on Go writes JSON numbers with an exponent.
_EXPONENT_FROM = 1e21


def resolve(text: str) -> Any:
    """Return the value that go-yaml v2 reads from a plain scalar, including nan and infinity, which JSON does not have."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    if text[0] not in "+-.0123456789":
        return text
    # In a number that begins with a point, underscores must be between digits; elsewhere they may be anywhere.
    plain = _SEPARATED.sub("", text) if text[0] == "." else text.replace("_", "")
    if _INTEGER.fullmatch(plain):
        number = int(_BARE_OCTAL.sub(r"\1o", plain), base=0)
        if -(2**63) <= number < (2**63 if plain[0] == "+" else 2**64):
            return number
    if _FLOAT.fullmatch(plain):
        value = float(plain)
        # Go refuses numbers that are out of range, so the scalar stays a string.
        return value if math.isfinite(value) else text
    return text


def describe(value: object) -> str:
    """Name the type of a value, as part of a sentence."""
    return _TYPES.get(type(value), "a mapping")


def as_string(value: object) -> str | None:
    """Turn a scalar into a string as helm does for map keys and Chart.yaml's text fields; None if helm cannot.

    A number loses digits that its type does not hold: `version: 1.10` is "1.1".
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


def as_json_number(value: float) -> int | float:
    """Return a number as helm sends it to the API server: whole ones without fraction and exponent.

    A number that does not fit into 64 bits was converted to a float before.
    """
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    single = float(value)
    if single.is_integer() and abs(single) < _EXPONENT_FROM:
        return int(Decimal(repr(single)))  # Go writes the shortest digits, and fills up with zeros
    return single


def _go_float(value: float) -> str:
    """Write a number like Go's FormatFloat(value, 'g', -1, 32): the shortest text of the same 32-bit number."""
    single = _single(value)
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    for precision in range(9):
        text = f"{single:.{precision}e}"
        if _single(float(text)) == single:
            break
    exponent = int(text.rpartition("e")[2])
    return f"{Decimal(text):f}" if -4 <= exponent < 6 else text


def _single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
