r"""Builds helm's flags for `spec.set`: --set for numbers, booleans and null, --set-file for texts.

Keys and values have the syntax of helm's `--set` (pkg/strvals of helm 4), given separately: dots go into mappings, `[0]` into
lists, a backslash escapes the next character (`a\.b`, in values too), `{a,b}` is a list; true, false, null and whole numbers
without a leading zero are typed, everything else is a string; null makes helm delete the chart's default. There are two
differences: a comma in the value is a comma (`--set` needs `\,`, which works here too), and an empty name as in `a..b`, which
helm drops silently, is refused. Every accepted key and value is compared with the real helm
(tests/unit/helm/test_set_conformance.py).

Texts go into memory files, so they do not appear among helm's arguments. A list with texts is one --set with null in their
places, and one --set-file an index.

helm applies all --set before all --set-file (measured with 4.3.1), each kind in its order, but of two entries of spec.set the
later one wins. So a text that a later entry replaces becomes a null, which hides what is below like the text. Before helm
starts, the entries are also applied to the values of the sources: helm's own message does not say which entry goes into a text
or a number.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator import nesting
from managedchart_operator.api.spec import SetValue
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import Argument, FileArgument
from managedchart_operator.helm.yaml_scalars import describe
from managedchart_operator.reasons import Reason

# Each text is an open file of helm, and the usual limit of a process is 1024.
MAX_TEXTS = 512
# Linux allows 2 MiB for the arguments and the environment of a process.
MAX_BYTES = 1024 * 1024
# Both are helm's own limits (pkg/strvals); a list index allocates everything below it.
MAX_INDEX = 65536
MAX_LEVELS = 30

# Python refuses to convert more digits than some thousands.
_INTEGER = re.compile(r"0|(?!0)[+-]?[0-9]{1,4000}")
# A character, with the backslash that escapes it.
_TOKEN = re.compile(r"\\.?|.", re.DOTALL)
_INDEX = re.compile(r"\+?[0-9]+")
_SPECIAL = re.compile(r"[\\.\[=,]")

Scalar = str | int | bool | None
Steps = tuple[str | int, ...]
Spend = Callable[[int, int], None]
"""Spends bytes and nodes of the budget of all values. Raises ValuesError when it is exceeded."""


def _unbounded(_: str) -> Spend:
    return lambda size, nodes: None  # noqa: ARG005 -- what every function of this type gets


@dataclass(frozen=True, slots=True)
class SetFlags:
    """The flags for `spec.set`, and the values that result from them."""

    arguments: Sequence[Argument] = ()
    outcome: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The resulting values of the top-level names that the entries set."""


class _InvalidError(Exception):
    """Whether the key or the value is wrong, and the problem, without the field's name."""


def set_flags(
    entries: Sequence[SetValue], below: Mapping[str, Any], *, budget: Callable[[str], Spend] = _unbounded
) -> SetFlags:
    """Return the flags for the entries; `below` are the merged values of the sources.

    `budget` returns the function that spends what an entry costs, given the field's name; it is asked before anything is built.
    Raises ValuesError (VALUES_INVALID) that names the field and the remedy; a value is never quoted.
    """
    names: set[str] = set()
    outcome: Any = below
    writes: list[tuple[Steps, Scalar | list[Scalar], str]] = []
    for index, entry in enumerate(entries):
        origin = f"spec.set[{index}]"
        try:
            steps, value = _parse_key(entry.key), _parse_value(entry.value)
            if "\0" in entry.key:
                raise _InvalidError("key", "it has a NUL character, which no argument of a program can have")
            spend = budget(origin)
            spend(len(entry.key) + len(entry.value), len(steps) + (len(value) if isinstance(value, list) else 1))
            outcome = _put(outcome, steps, value, spend)
        except _InvalidError as invalid:
            part, problem = invalid.args
            quoted = f" ({entry.key!r})" if part == "key" else ""
            raise ValuesError(
                f"{origin}.{part}{quoted}: {problem}",
                reason=Reason.VALUES_INVALID,
                hint=r"Write it as for Helm's --set: image.tag, hosts[0].name, and a\.b for a name with a dot.",
            ) from invalid
        names.add(str(steps[0]))
        writes.append((steps, value, origin))
        if isinstance(value, list):
            writes += [((*steps, place), item, origin) for place, item in enumerate(value) if isinstance(item, str)]
    if sum(isinstance(value, str) for _, value, _ in writes) > MAX_TEXTS:
        raise _too_much(f"{MAX_TEXTS} texts")
    sets: list[str] = []
    files: list[FileArgument] = []
    for steps, value, origin in writes:
        if isinstance(value, str) and _at(steps, outcome) == value:
            files.append(FileArgument(f"--set-file={_spelled(steps)}", value.encode(), origin))
        else:
            sets.append(f"--set={_spelled(steps)}={_written(value)}")
    if sum(len(text.encode()) for text in (*sets, *(file.option for file in files))) > MAX_BYTES:
        raise _too_much(f"{MAX_BYTES >> 20} MiB of keys and numbers")
    return SetFlags([*sets, *files], {name: outcome[name] for name in names})


def _too_much(what: str) -> ValuesError:
    return ValuesError(
        f"spec.set has more than {what}", reason=Reason.VALUES_INVALID, hint="Write long lists in spec.values."
    )


def _parse_key(key: str) -> Steps:
    """Split a key into names and list indexes. Raises _InvalidError."""
    steps: list[str | int] = []
    position = 0
    while True:
        name, stop, position = _until(key, position, ".[=,")
        if stop in ("=", ","):
            raise _InvalidError("key", f"write \\{stop} for a {stop} that is part of the name")
        if not name:
            raise _InvalidError("key", "a name is empty; write names separated by single dots, like image.tag")
        steps.append(name)
        while stop == "[":
            text, stop, position = _until(key, position, "]")
            if not stop:
                raise _InvalidError("key", "an index is not closed; write it like hosts[0]")
            steps.append(_index(text))
            rest, stop, position = _until(key, position, ".[=,")
            if rest or stop in ("=", ","):
                raise _InvalidError("key", "only a dot or another index may follow an index, like hosts[0].name")
        if not stop:
            break
    if sum(isinstance(step, str) for step in steps) > MAX_LEVELS + 1:
        raise _InvalidError("key", f"it goes deeper than {MAX_LEVELS} levels; use spec.values")
    if len(steps) > nesting.MAX_LEVELS:
        # helm does not limit indexes, but spec.values could not be nested so deep either.
        raise _InvalidError("key", f"it goes deeper than {nesting.MAX_LEVELS} levels")
    return tuple(steps)


def _parse_value(value: str) -> Scalar | list[Scalar]:
    """Type a value as helm's --set does. Raises _InvalidError."""
    if not value.startswith("{"):
        return _typed(_until(value, 0, "")[0])
    items = []
    position, stop = 1, ","
    while stop == ",":
        item, stop, position = _until(value, position, ",}")
        items.append(_typed(item))
    if not stop:
        raise _InvalidError("value", "a list must end with }; write \\{ for a text that begins with a brace")
    if position < len(value):
        raise _InvalidError(
            "value", "nothing may follow the } of a list; write \\{ for a text that begins with a brace"
        )
    return items


def _until(text: str, position: int, stops: str) -> tuple[str, str, int]:
    """Return the text up to one of the stops, the stop ("" at the end), and the position after it."""
    found: list[str] = []
    for token in _TOKEN.finditer(text, position):
        if token[0] in stops:
            return "".join(found), token[0], token.end()
        found.append(token[0].removeprefix("\\"))
    return "".join(found), "", len(text)


def _index(text: str) -> int:
    if not _INDEX.fullmatch(text):
        raise _InvalidError("key", f"an index is a whole number from 0 to {MAX_INDEX}, like hosts[0]")
    if int(text) > MAX_INDEX:
        raise _InvalidError("key", f"an index may be {MAX_INDEX} at most")
    return int(text)


def _typed(text: str) -> Scalar:
    folded = text.casefold()
    if folded in ("true", "false"):
        return folded == "true"
    if folded == "null":
        return None
    if _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    return text


def _put(target: Any, steps: Steps, value: Any, spend: Spend, *, walked: str = "") -> Any:
    """Return a copy of target with the value where the steps lead to. Raises _InvalidError, and what `spend` does."""
    step, rest = steps[0], steps[1:]
    wanted, kind = (dict, "mapping") if rest and isinstance(rest[0], str) else (list, "list")
    result: Any
    if isinstance(step, str):
        result = dict(target)
        here = whole = f"{walked}.{step}".removeprefix(".")
        is_free = step not in result
    else:
        new = max(0, step + 1 - len(target))
        spend(0, new)
        result = [*target, *[None] * new]
        here, whole = f"{walked}[{step}]", "it"
        # helm replaces null at an index, and whatever is there by a mapping, without an error.
        is_free = result[step] is None or (wanted is dict and not isinstance(result[step], dict))
    if rest:
        inside = wanted() if is_free else result[step]
        if not isinstance(inside, wanted):
            problem = f"{here} is {describe(inside)} in the values below, not a {kind}; set {whole} as a whole there"
            raise _InvalidError("key", problem)
        value = _put(inside, rest, value, spend, walked=here)
    result[step] = value
    return result


def _at(steps: Steps, values: Any) -> Any:
    """Return the value to which the steps lead; None if there is none."""
    for step in steps:
        if isinstance(values, list) and isinstance(step, int) and step < len(values):
            values = values[step]
        elif isinstance(values, dict):
            values = values.get(step)
        else:
            return None
    return values


def _written(value: Scalar | list[Scalar]) -> str:
    """Write a value as --set reads it, with null in place of texts."""
    if isinstance(value, list):
        return f"{{{','.join(map(_written, value))}}}"
    return json.dumps(None if isinstance(value, str) else value)


def _spelled(steps: Steps) -> str:
    """Write a key that `_parse_key` and helm read as these steps."""
    parts = [f"[{step}]" if isinstance(step, int) else "." + _SPECIAL.sub(r"\\\g<0>", step) for step in steps]
    return "".join(parts).removeprefix(".")
