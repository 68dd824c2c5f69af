"""Turns the values of a ManagedChart into helm's arguments: one memory file a source, and flags for `set`.

helm reads, types and merges the sources; the order is, weakest first, values files, inline YAML files, values, set. Each source
is read here too, by helm's rules (`yaml_reader`): a broken one is reported with its field or file, its line and a remedy before
helm starts, and the operator needs to know what to redact and which values a release has lost. `charts.confinement` opens the
files; the chart's own defaults are left to helm. Where values are compared or merged here, it is as helm merges them: mappings
entry by entry, everything else as a whole.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.api.spec import SetValue, YamlFile
from managedchart_operator.errors import ValuesError
from managedchart_operator.helm.memory_files import Argument, FileArgument
from managedchart_operator.helm.set_flags import SetFlags, Spend, set_flags
from managedchart_operator.helm.yaml_reader import Budget, BudgetError, YamlError, read_documents
from managedchart_operator.helm.yaml_scalars import describe
from managedchart_operator.nesting import TOO_MANY_VALUES, count
from managedchart_operator.reasons import Reason

# helm reads JSON as YAML, which it almost is: go-yaml refuses these characters in a string, or folds them into a space, unless
# they are escaped.
_NOT_PLAIN_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

# For all sources together, with what aliases and the indexes of `set` expand to. The values are stored in the release Secret
# (1 MiB of gzip), next to the chart and the manifests. The largest values files of known charts have 0.3 MB and 10,000 nodes.
# Reading so many costs 0.4 s of a thread, and helm 60 MiB (measured).
MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = TOO_MANY_VALUES

# Enough to find a value; keys may have any length and any depth.
_LONGEST_KEY = 64
_DEEPEST = 32

# A stalled resource is reconciled again when its spec changes, but not when a file does.
_AGAIN = f"after a change of a file, set the annotation {RETRY_ANNOTATION} to a new value."
_HINT = f"Correct it; {_AGAIN}"
_TOO_MUCH_HINT = (
    f"Remove values that equal the chart's defaults, and large lists that the chart does not need; {_AGAIN}"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One source of values. `origin` names it in messages, like "values file /charts/a.yaml"."""

    origin: str
    content: bytes = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Values:
    """All values of a spec: the sources, the weakest first, and spec.set on top of them."""

    sources: tuple[Source, ...] = ()
    flags: SetFlags = field(default_factory=SetFlags)

    @property
    def distinct(self) -> tuple[Source, ...]:
        """The sources, each once: of a file that is named repeatedly, only the last place changes anything."""
        return tuple(reversed({id(source): source for source in reversed(self.sources)}.values()))

    @property
    def arguments(self) -> list[Argument]:
        """The arguments that pass the values to `helm upgrade`."""
        files = [FileArgument("--values", source.content, source.origin) for source in self.distinct]
        return [*files, *self.flags.arguments]

    @property
    def layers(self) -> tuple[Mapping[str, Any], ...]:
        """Mappings that hold every value, the weakest first; the last one has the result of spec.set."""
        return (*(source.values for source in self.distinct), self.flags.outcome)

    @property
    def text(self) -> bytes:
        """A text that contains every value as it was written, after its name."""
        return b"\n".join((*(source.content for source in self.distinct), encode(self.flags.outcome)))

    def merged(self) -> dict[str, Any]:
        """Return the values as helm merges them, without the chart's defaults."""
        return merged(self.layers)


def read_values(
    *,
    files: Iterable[tuple[str, bytes]],
    yaml_files: Sequence[YamlFile],
    values: Mapping[str, Any],
    set_values: Sequence[SetValue],
) -> Values:
    """Read all values of the spec. To be called in a thread.

    `files` are pairs of a path and the content; one that has been read before is not read again. Raises ValuesError that names
    the file or the field, also when all values together exceed MAX_BYTES or MAX_NODES: before they are built.
    """
    budget = _budget()
    read: dict[str, Source] = {}
    sources = []
    for path, content in files:
        if path not in read:
            read[path] = _read(content, f"values file {path}", budget)
        sources.append(read[path])
    for index, file in enumerate(yaml_files):
        origin = f"spec.yamlFilesContent[{index}] ({file.filename})"
        sources.append(_read(file.yaml_content.encode(errors="surrogatepass"), origin, budget))
    if values:
        with _within_budget("spec.values"):
            budget.spend(nodes=count(values, limit=budget.nodes))
            content = encode(values)
            budget.spend(bytes=len(content))
        sources.append(Source("spec.values", content, values))

    def spender(origin: str) -> Spend:
        def spend(size: int, nodes: int) -> None:
            with _within_budget(origin):
                budget.spend(bytes=size, nodes=nodes)

        return spend

    below = merged(source.values for source in Values(tuple(sources)).distinct) if set_values else {}
    return Values(tuple(sources), set_flags(set_values, below, budget=spender))


def _budget() -> Budget:
    return Budget(bytes=MAX_BYTES, nodes=MAX_NODES, expanded=MAX_BYTES)


def _read(content: bytes, origin: str, budget: Budget) -> Source:
    return Source(origin, content, load_mapping(content, origin=origin, budget=budget))


@contextlib.contextmanager
def _within_budget(origin: str) -> Iterator[None]:
    """Word the error of a budget that is exceeded by a source."""
    try:
        yield
    except BudgetError as error:
        raise ValuesError(
            f"{origin}: the values of all sources together have {error.excess}",
            reason=Reason.VALUES_INVALID,
            hint=_TOO_MUCH_HINT,
        ) from None


def load_mapping(data: bytes, *, origin: str, budget: Budget | None = None) -> dict[str, Any]:
    """Read a YAML text that must be a mapping, as `helm --values` reads it.

    Empty documents count as {}; later documents override earlier ones. Raises ValuesError (VALUES_INVALID) that names the
    origin, the line and the problem, but never quotes the text, which may hold secrets.
    """
    documents = []
    try:
        with _within_budget(origin):
            for line, value in read_documents(data, budget or _budget()):
                if not isinstance(value, dict | None):
                    raise YamlError(f"this must be a mapping (key: value), but is {describe(value)}", line)
                documents.append(value or {})
    except YamlError as problem:
        raise ValuesError(problem.at(origin), reason=Reason.VALUES_INVALID, hint=_HINT) from problem
    return merged(documents)


def encode(values: Mapping[str, Any]) -> bytes:
    """Encode values as JSON that helm's YAML reader reads back unchanged; equal values give equal text.

    Plain `json.dumps` is not enough: helm refuses its surrogate pairs, and some characters unless they are escaped. Raises
    ValuesError for values that JSON cannot hold.
    """
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, sort_keys=True)
        return _NOT_PLAIN_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()
    except (ValueError, RecursionError) as error:
        problem = "they contain half a character (a lone surrogate), NaN or infinity, or are nested too deep"
        raise ValuesError(
            f"The values cannot be passed to Helm: {problem}", reason=Reason.VALUES_INVALID, hint=_HINT
        ) from error


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings; neither is changed. A None stays: helm deletes the chart's default."""
    result = dict(base)
    for key, value in override.items():
        present = result.get(key)
        result[key] = merge(present, value) if isinstance(value, dict) and isinstance(present, dict) else value
    return result


def merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge mappings, the weakest first."""
    return reduce(merge, layers, {})


def lost_values(before: Mapping[str, Any], now: Mapping[str, Any], *, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of the values of `before` that `now` lacks or sets to something else, in alphabetical order.

    Compares what users have set (`helm get values`), not the charts' defaults. A mapping that is missing entirely is one path;
    one without entries sets nothing. Paths are written as `--set` reads them, long keys cut. They are all that leaves this
    function, since the values may be secrets.
    """
    for key, value in sorted(before.items()):
        here = (*path, _escaped(key))
        other = now.get(key)
        if isinstance(value, dict) and isinstance(other, dict) and len(here) < _DEEPEST:
            yield from lost_values(value, other, path=here)
        elif value != {} if key not in now else not _same(value, other):
            yield ".".join(here)


def _same(one: Any, other: Any) -> bool:
    # In Python True equals 1, which templates print differently.
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _escaped(key: str) -> str:
    cut = key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 1]}…"
    return cut.replace("\\", "\\\\").replace(".", "\\.")
