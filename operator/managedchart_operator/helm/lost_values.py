"""Finds the values of one revision that the values of another lack or set differently.

Compares what users have set (`helm get values`), not the charts' defaults. Only the paths of values leave this module, never
the values themselves, which may be secrets.
"""

from collections.abc import Iterator, Mapping
from typing import Any

# Enough to find a value. Keys may have any length and any depth.
_LONGEST_KEY = 64
_DEEPEST = 32


def lost_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of the values of `before` that `now` lacks or sets to something else, in alphabetical order.

    Mappings are compared entry by entry, everything else as a whole, as helm merges them. A mapping that is missing entirely is
    one path; one without entries sets nothing. Paths are written as `--set` reads them, long keys cut.
    """
    path: list[str] = []
    levels = [(iter(sorted(before.items())), now)]
    while levels:
        entries, there = levels[-1]
        key, value = next(entries, (None, None))
        if key is None:
            levels.pop()
            path = path[:-1]
            continue
        path.append(_escaped(key))
        other = there.get(key)
        if isinstance(value, dict) and isinstance(other, dict) and len(path) < _DEEPEST:
            levels.append((iter(sorted(value.items())), other))
            continue
        if value != {} if key not in there else not _same(value, other):
            yield ".".join(path)
        path.pop()


def _same(one: Any, other: Any) -> bool:
    # In Python True equals 1, which templates print differently.
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _escaped(key: str) -> str:
    cut = key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 1]}…"
    return cut.replace("\\", "\\\\").replace(".", "\\.")
