"""How deep untrusted data may be nested; `shallow_json` reads JSON within that limit.

The API server stores JSON of 10,000 levels wherever a schema preserves unknown fields, and managedFields repeat those
levels. Recursive code (Python's json, copy, pydantic's serializer, the operator's own) fails at some hundred levels. So
nothing deeper than `READ_LEVELS` is ever built from JSON of the API server: what is nested deeper is read as null. Nothing is
lost by that: the operator never writes back an object that it has read, and a spec deeper than `MAX_LEVELS` is refused with
its field's name (`reconcile.parse`), so a spec that was cut is refused as well. The same is true for `READ_CONTAINERS`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# The limit for the values of a chart, and for a spec. Values of real charts have some 15 levels, the largest schemas of
# CustomResourceDefinitions some 40. Below READ_LEVELS, since an object is an item of a list or a part of a watch event, and its
# managedFields repeat the levels of its spec below a few of their own.
MAX_LEVELS = 100
# The limit of pydantic's reader, in every version of Python. Python's json refuses 995 in one version and reads 9,997 in
# another.
READ_LEVELS = 200
TOO_MANY_VALUES = 100_000
"""The most values of a chart; a list with one more stands for what was cut off."""
# The most lists and mappings that are built of one object: some 7 MB, and 30 ms. A mapping with one entry counts as three
# values, so values with more of them are too many; those of the largest real charts have some thousand.
READ_CONTAINERS = TOO_MANY_VALUES // 3
# How much of a path is shown: people write short names, but a name may be of any length.
_SHOWN_STEPS = 4
_SHOWN_NAME = 40


def too_deep(value: dict[str, Any] | list[Any]) -> str | None:
    """Return the path of a part that is nested deeper than MAX_LEVELS, like `values.a.b…`, or None.

    Each list and each mapping is a level, except `value` itself.
    """
    layer = [value]
    for _ in range(MAX_LEVELS + 1):
        layer = [inner for item in layer for inner in _values(item) if isinstance(inner, (dict, list))]
        if not layer:
            return None
    return _path(value)


def count(value: Mapping[str, Any] | list[Any], *, limit: int) -> int:
    """Return the number of mappings, lists, keys and single values in a value, with itself; at the limit counting may end."""
    found = 1
    left: list[Any] = [value]
    while left and found <= limit:
        inner = left.pop()
        found += len(inner) * (2 if isinstance(inner, dict) else 1)
        if found <= limit:
            left += [each for each in _values(inner) if isinstance(each, (dict, list))]
    return found


def _values(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _children(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the lists and mappings directly within a value, each with the step that leads to it."""
    if isinstance(value, dict):
        yield from ((f".{key}", inner) for key, inner in value.items() if isinstance(inner, (dict, list)))
    else:
        yield from ((f"[{index}]", inner) for index, inner in enumerate(value) if isinstance(inner, (dict, list)))


def _path(value: Any) -> str:
    """Return the beginning of the path to a part that is nested too deep, without recursion."""
    steps: list[str] = []
    ways = [_children(value)]
    while len(ways) <= MAX_LEVELS + 1:
        found = next(ways[-1], None)
        if found is None:
            ways.pop()
            steps.pop()
        else:
            step, inner = found
            steps.append(step)
            ways.append(_children(inner))
    return "".join(_shortened(step) for step in steps[:_SHOWN_STEPS]).removeprefix(".") + "…"


def _shortened(step: str) -> str:
    return step if len(step) <= _SHOWN_NAME else step[: _SHOWN_NAME - 1] + "…"
