r"""Reads the syntax of helm's `--set`, for a key and a value that are given separately.

It follows pkg/strvals of helm 4: dots go into mappings, `[0]` into lists, a backslash escapes the next character (`a\.b`, in
values too), `{a,b}` is a list; true, false, null and whole numbers without a leading zero are typed, everything else is a
string; null makes helm delete the chart's default. There are two differences: a comma in the value is a comma (`--set` needs
`\,`, which works here too), and an empty name as in `a..b`, which helm drops silently, is refused. `set_flags` makes helm's
flags of the result.

Every accepted key and value is compared with the real helm (tests/unit/helm/test_set_conformance.py).
"""

import re
from collections.abc import Sequence

from managedchart_operator import nesting

# Both are helm's own limits (pkg/strvals); a list index allocates everything below it.
MAX_INDEX = 65536
MAX_LEVELS = 30

_INTEGER = re.compile(r"[+-]?[0-9]+")
_INDEX = re.compile(r"\+?[0-9]+")
_SPECIAL = re.compile(r"[\\.\[=,]")


class SetSyntaxError(Exception):
    """What is wrong with a key or a value (`part`), without the field's name."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(problem)
        self.part = part
        self.problem = problem


Scalar = str | int | bool | None


def parse_key(key: str) -> list[str | int]:
    """Split a key into names and list indexes. Raises SetSyntaxError."""
    steps: list[str | int] = []
    position = 0
    while True:
        name, stop, position = _until(key, position, ".[=,")
        if stop in ("=", ","):
            raise SetSyntaxError("key", f"write \\{stop} for a {stop} that is part of the name")
        if not name:
            raise SetSyntaxError("key", "a name is empty; write names separated by single dots, like image.tag")
        steps.append(name)
        while stop == "[":
            text, stop, position = _until(key, position, "]")
            if not stop:
                raise SetSyntaxError("key", "an index is not closed; write it like hosts[0]")
            steps.append(_index(text))
            rest, stop, position = _until(key, position, ".[=,")
            if rest or stop in ("=", ","):
                raise SetSyntaxError("key", "only a dot or another index may follow an index, like hosts[0].name")
        if not stop:
            break
    if sum(isinstance(step, str) for step in steps) > MAX_LEVELS + 1:
        raise SetSyntaxError("key", f"it goes deeper than {MAX_LEVELS} levels; use spec.values")
    if len(steps) > nesting.MAX_LEVELS:
        # helm does not limit indexes, but spec.values could not be nested so deep either.
        raise SetSyntaxError("key", f"it goes deeper than {nesting.MAX_LEVELS} levels")
    return steps


def parse_value(value: str) -> Scalar | list[Scalar]:
    """Type a value as helm's --set does. Raises SetSyntaxError."""
    if not value.startswith("{"):
        return _typed(_unescaped(value))
    items = []
    position, stop = 1, ","
    while stop == ",":
        item, stop, position = _until(value, position, ",}")
        items.append(_typed(item))
    if not stop:
        raise SetSyntaxError("value", "a list must end with }; write \\{ for a text that begins with a brace")
    if position < len(value):
        raise SetSyntaxError(
            "value", "nothing may follow the } of a list; write \\{ for a text that begins with a brace"
        )
    return items


def spell_key(steps: Sequence[str | int]) -> str:
    """Write a key that `parse_key` and helm read as these steps."""
    parts = [f"[{step}]" if isinstance(step, int) else "." + _SPECIAL.sub(r"\\\g<0>", step) for step in steps]
    return "".join(parts).removeprefix(".")


def _until(text: str, position: int, stops: str) -> tuple[str, str, int]:
    """Return the text up to one of the stops, the stop ("" at the end), and the position after it."""
    found: list[str] = []
    while position < len(text):
        character = text[position]
        position += 1
        if character in stops:
            return "".join(found), character, position
        if character == "\\":
            found.append(text[position : position + 1])
            position += 1
        else:
            found.append(character)
    return "".join(found), "", position


def _unescaped(text: str) -> str:
    return _until(text, 0, "")[0]


def _index(text: str) -> int:
    if not _INDEX.fullmatch(text):
        raise SetSyntaxError("key", f"an index is a whole number from 0 to {MAX_INDEX}, like hosts[0]")
    # Compared by length first: Python refuses to convert thousands of digits.
    digits = text.lstrip("+0") or "0"
    if len(digits) > len(str(MAX_INDEX)) or int(digits) > MAX_INDEX:
        raise SetSyntaxError("key", f"an index may be {MAX_INDEX} at most")
    return int(digits)


def _typed(text: str) -> Scalar:
    folded = text.casefold()
    if folded in ("true", "false"):
        return folded == "true"
    if folded == "null":
        return None
    if text == "0":
        return 0
    if not text.startswith("0") and len(text) <= 4096 and _INTEGER.fullmatch(text):
        number = int(text)
        if -(2**63) <= number < 2**63:
            return number
    return text
