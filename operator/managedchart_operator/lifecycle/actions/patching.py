"""What a patch makes of an object, computed here: whether it changes anything, and whether its tests hold.

The API server carries patches out. This is what makes them safe to run again: a patch that changes nothing is not sent, an
operation that removes what is not there is left out, and one whose test fails leaves the object as it is.
Source: RFC 7386 (merge patch), RFC 6902 (JSON patch), RFC 6901 (pointers).
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

_INDEX = re.compile(r"^(0|[1-9][0-9]{0,8})$")

Operation = Mapping[str, Any]
"""One operation of a JSON patch: `op`, `path`, and `value` where it has one."""


class PatchError(ValueError):
    """An operation does not fit the object; the text names its path, and no value."""


class TestFailedError(Exception):
    """A test of the patch does not hold; the text is its path."""

    __test__ = False


def merged(target: Any, patch: Any) -> Any:
    """Return what a merge patch makes of a value."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def patched(target: Mapping[str, Any], operations: Sequence[Operation]) -> tuple[Any, list[Operation]]:
    """Return what a JSON patch makes of an object, and the operations without those that remove what is not there.

    Raises PatchError, TestFailedError.
    """
    result: Any = copy.deepcopy(dict(target))
    kept = [operation for operation in operations if _carry_out(result, operation)]
    return result, kept


def _carry_out(result: Any, operation: Operation) -> bool:
    """Change the object; False for a removal of what is not there."""
    op, path = operation["op"], operation["path"]
    *above, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    try:
        parent = result
        for part in above:
            parent = parent[_place(parent, part)]
        if op == "add":
            _add(parent, last, copy.deepcopy(operation["value"]))
            return True
        place = _place(parent, last)
        there = parent[place]
    except (LookupError, TypeError) as error:
        if op == "remove":
            return False
        if op == "test":
            raise TestFailedError(path) from error
        raise PatchError(f"{op} of {path}: the object has no such place") from error
    if op == "test" and there != operation["value"]:
        raise TestFailedError(path)
    if op == "replace":
        parent[place] = copy.deepcopy(operation["value"])
    if op == "remove":
        del parent[place]
    return True


def _add(parent: Any, last: str, value: Any) -> None:
    if not isinstance(parent, list):
        parent[last] = value
        return
    place = len(parent) if last == "-" else _place(parent, last, end=True)
    parent.insert(place, value)


def _place(parent: Any, part: str, *, end: bool = False) -> Any:
    """Return the key of a mapping, or the index of a list. Raises LookupError, TypeError."""
    if isinstance(parent, Mapping):
        return part
    if not isinstance(parent, list):
        raise TypeError
    if not _INDEX.match(part) or int(part) >= len(parent) + end:
        raise LookupError
    return int(part)
