"""Builds helm's flags for `spec.set`: --set for numbers, booleans and null, --set-file for texts.

Texts go into memory files, so they do not appear among helm's arguments. A list with texts is one --set with null in their
places, and one --set-file an index.

helm applies all --set before all --set-file (measured with 4.3.1), each kind in its order, but of two entries of spec.set the
later one wins. So a text that a later number, boolean, null or list replaces is left out, or becomes a null where it has to
hide what is below. Before helm starts, the entries are also applied to the values of the sources at their top-level names:
helm's own message does not say which entry goes into a text or a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from managedchart_operator.api.spec import SetValue
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import Argument, FileArgument
from managedchart_operator.helm.merging import merged
from managedchart_operator.helm.set_syntax import Scalar, SetSyntaxError, parse_key, parse_value, spell_key
from managedchart_operator.helm.yaml_scalars import describe
from managedchart_operator.reasons import Reason

# Each text is an open file of helm, and the usual limit of a process is 1024.
MAX_TEXTS = 512
# Linux allows 2 MiB for the arguments and the environment of a process.
MAX_BYTES = 1024 * 1024

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SetFlags:
    """The flags for `spec.set`, and the values that result from them."""

    arguments: Sequence[Argument] = ()
    outcome: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The resulting values of the top-level names that the entries set."""


@dataclass(frozen=True, slots=True)
class _Write:
    """One flag: `text` is a scalar or a list as --set reads it, or, with `is_file`, the content for --set-file."""

    steps: Steps
    text: str
    is_file: bool
    origin: str


def set_flags(entries: Sequence[SetValue], below: Sequence[Mapping[str, Any]]) -> SetFlags:
    """Return the flags for the entries; `below` are the values of the sources, the weakest first.

    Raises ValuesError (VALUES_INVALID) that names the field and the remedy; a value is never quoted.
    """
    parsed = [_parsed(entry, f"spec.set[{index}]") for index, entry in enumerate(entries)]
    if sum(_texts_in(value) for _, value in parsed) > MAX_TEXTS:
        raise _too_much(f"{MAX_TEXTS} texts")
    names = {str(steps[0]) for steps, _ in parsed}
    outcome: Any = merged({name: layer[name] for name in names & layer.keys()} for layer in below)
    writes: list[_Write] = []
    for index, (entry, (steps, value)) in enumerate(zip(entries, parsed, strict=True)):
        origin = f"spec.set[{index}]"
        try:
            outcome = _put(outcome, steps, value, walked="")
        except SetSyntaxError as invalid:
            raise _error(origin, entry.key, invalid) from invalid
        writes += _writes(steps, value, origin)
    return SetFlags(_arguments(_without_overridden(writes)), outcome)


def _parsed(entry: SetValue, origin: str) -> tuple[Steps, Scalar | list[Scalar]]:
    try:
        steps, value = parse_key(entry.key), parse_value(entry.value)
        if "\0" in entry.key:
            raise SetSyntaxError("key", "it has a NUL character, which no argument of a program can have")
    except SetSyntaxError as invalid:
        raise _error(origin, entry.key, invalid) from invalid
    return tuple(steps), value


def _error(origin: str, key: str, invalid: SetSyntaxError) -> ValuesError:
    quoted = f" ({key!r})" if invalid.part == "key" else ""
    return ValuesError(
        f"{origin}.{invalid.part}{quoted}: {invalid.problem}",
        reason=Reason.VALUES_INVALID,
        hint=r"Write it as for helm's --set: image.tag, hosts[0].name, and a\.b for a name with a dot.",
    )


def _too_much(what: str) -> ValuesError:
    return ValuesError(
        f"spec.set has more than {what}", reason=Reason.VALUES_INVALID, hint="Write long lists in spec.values."
    )


def _texts_in(value: Scalar | list[Scalar]) -> int:
    return sum(isinstance(item, str) for item in (value if isinstance(value, list) else [value]))


def _writes(steps: Steps, value: Scalar | list[Scalar], origin: str) -> Iterable[_Write]:
    if isinstance(value, str):
        yield _Write(steps, value, is_file=True, origin=origin)
        return
    if not isinstance(value, list):
        yield _Write(steps, _written(value), is_file=False, origin=origin)
        return
    yield _Write(steps, f"{{{','.join(map(_written, value))}}}", is_file=False, origin=origin)
    for index, item in enumerate(value):
        if isinstance(item, str):
            yield _Write((*steps, index), item, is_file=True, origin=origin)


def _written(value: Scalar) -> str:
    """Write a value as --set reads it; a text becomes null, as its placeholder."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return "null"


def _without_overridden(writes: Sequence[_Write]) -> list[_Write]:
    """Return writes that give in helm's order, every --set before every --set-file, what these give in their own order."""
    replaced: set[Steps] = set()
    """Places that a later --set writes as a whole."""
    mappings: set[Steps] = set()
    """Places that a later --set makes a mapping, since it writes to a name inside."""
    kept: list[_Write] = []
    for write in reversed(writes):
        steps = write.steps
        if write.is_file:
            inside = [steps[:length] for length in range(1, len(steps))]
            # helm replaces an item of a list, whatever it is, by the mapping.
            if any(place in mappings and isinstance(steps[len(place)], int) for place in inside):
                continue
            if any(place in replaced for place in (*inside, steps)):
                continue
        if write.is_file and steps not in mappings:
            kept.append(write)
            continue
        replaced.add(steps)
        mappings.update(steps[:length] for length in range(1, len(steps)) if isinstance(steps[length], str))
        kept.append(replace(write, text="null", is_file=False) if write.is_file else write)
    return kept[::-1]


def _arguments(writes: Sequence[_Write]) -> list[Argument]:
    files = [
        FileArgument(f"--set-file={spell_key(write.steps)}", write.text.encode(), write.origin)
        for write in writes
        if write.is_file
    ]
    others = [f"--set={spell_key(write.steps)}={write.text}" for write in writes if not write.is_file]
    size = sum(len(argument.encode()) for argument in (*others, *(file.option for file in files)))
    if size > MAX_BYTES:
        raise _too_much(f"{MAX_BYTES >> 20} MiB of keys and numbers")
    return [*others, *files]


def _put(target: Any, steps: Steps, value: Any, *, walked: str) -> Any:
    """Return a copy of target with the value at the place that the steps lead to."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        here = f"{walked}.{step}" if walked else step
        result = dict(target)
        if not rest:
            result[step] = value
            return result
        wanted: type = dict if isinstance(rest[0], str) else list
        present = result[step] if step in result else wanted()
        if not isinstance(present, wanted):
            kind = "mapping" if wanted is dict else "list"
            problem = f"{here} is {describe(present)} in the values below, not a {kind}; set {here} as a whole there"
            raise SetSyntaxError("key", problem)
        result[step] = _put(present, rest, value, walked=here)
        return result
    here = f"{walked}[{step}]"
    items = list(target)
    items.extend([None] * (step + 1 - len(items)))
    if not rest:
        items[step] = value
    elif isinstance(rest[0], str):
        # helm replaces whatever is at this index by a mapping, without an error.
        items[step] = _put(items[step] if isinstance(items[step], dict) else {}, rest, value, walked=here)
    else:
        nested = [] if items[step] is None else items[step]
        if not isinstance(nested, list):
            raise SetSyntaxError(
                "key", f"{here} is {describe(nested)} in the values below, not a list; set it as a whole there"
            )
        items[step] = _put(nested, rest, value, walked=here)
    return items
