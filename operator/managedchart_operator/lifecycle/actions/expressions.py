"""CEL expressions of actions: compiled and evaluated in a worker process, with what may enter them.

A tenant writes them, so they run where they can be ended (`worker`), within a deadline, and over bounded data. Data of Secrets
and the annotation that repeats the last applied manifest never enter: a status could say what they contain. `cel` has the
calls of the library.
"""

import json
from collections.abc import Mapping
from typing import Any

from managedchart_operator.errors import LifecycleError, WorkerError
from managedchart_operator.lifecycle.actions import cel
from managedchart_operator.lifecycle.actions.targets import name_only
from managedchart_operator.lifecycle.actions.verb import Expression
from managedchart_operator.reasons import Reason
from managedchart_operator.worker import run_in_worker

MAX_OBJECTS = 500
"""How many objects enter an expression at most."""
MAX_BYTES = 1024 * 1024
"""How many bytes of JSON enter an expression at most."""
# The library ends expressions of more than 10,000 steps itself, which takes milliseconds; a cold worker imports it first.
_SECONDS = 5.0
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KNOWN = 4096

_problems: dict[Expression, str] = {}
"""What is wrong with the expressions that were compiled, "" for nothing: a pass over a resource compiles none again."""


async def problem(expression: Expression) -> str:
    """Return why an expression does not compile, with the position; "" if it does."""
    if expression not in _problems:
        try:
            found = await run_in_worker(cel.problem, expression.text, expression.variables, seconds=_SECONDS)
        except WorkerError as error:
            found = f"it cannot be compiled: {error.message}"
        if len(_problems) >= _KNOWN:
            _problems.clear()
        _problems[expression] = found
    return _problems[expression]


async def holds(expression: Expression, variables: Mapping[str, Any], seen: "Visible | None" = None) -> bool:
    """Whether an expression is true, over variables and the objects that it sees.

    Raises LifecycleError if it fails, or is not true or false.
    """
    result = await value_of(expression, variables, seen)
    if not isinstance(result, bool):
        raise _failed(expression, f"its value is of type {type(result).__name__}, not true or false")
    return result


async def value_of(expression: Expression, variables: Mapping[str, Any], seen: "Visible | None" = None) -> Any:
    """Return the value of an expression: null, a boolean, a number or a text. Raises LifecycleError."""
    used = {name: _json(variables.get(name)) for name in expression.variables}
    if seen is not None:
        used["objects"] = seen.text(expression)
    data = f"{{{','.join(f'{_json(name)}:{text}' for name, text in used.items())}}}"
    if len(data) > MAX_BYTES:
        raise _too_large(expression)
    try:
        error, value = await run_in_worker(cel.evaluate, expression.text, expression.variables, data, seconds=_SECONDS)
    except WorkerError as ended:
        raise _failed(expression, ended.message) from ended
    if error:
        raise _failed(expression, error)
    return value


def _too_large(expression: Expression) -> LifecycleError:
    return _failed(expression, f"its data has more than {MAX_BYTES // 1024} KiB: name fewer objects")


def _failed(expression: Expression, why: str) -> LifecycleError:
    return LifecycleError(
        f"{expression.place} cannot be evaluated: {why}",
        reason=Reason.LIFECYCLE_FAILED,
        transient=True,
        hint="Correct the expression: has(o.a.b) asks whether a field exists, o.a.?b.orValue(0) has a default for it;"
        " objects is empty where none exists.",
    )


class Visible:
    """Takes objects as they are read, as expressions see them: as text, of which a megabyte takes no more in memory.

    Of more than can enter an expression nothing is kept but their number.
    """

    def __init__(self) -> None:
        self.count = 0
        """How many objects there are."""
        self._texts: list[str] = []
        self._bytes = 0

    def take(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return the name of an object, while there are not too many."""
        self.count += 1
        if self.count > MAX_OBJECTS:
            return None
        if self._bytes <= MAX_BYTES:
            self._texts.append(_json(visible(item)))
            self._bytes += len(self._texts[-1])
        return name_only(item)

    def text(self, expression: Expression) -> str:
        """Return the objects as a JSON list. Raises LifecycleError if they are too many or too large for an expression."""
        if self.count > MAX_OBJECTS:
            raise LifecycleError(
                f"There are {self.count} objects; an expression can be about {MAX_OBJECTS}",
                transient=False,
                hint="Add a selector or a namespace.",
            )
        if self._bytes > MAX_BYTES:
            raise _too_large(expression)
        return f"[{','.join(self._texts)}]"


def visible(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as expressions see it: without data of Secrets, and without what repeats them."""
    secret = item.get("kind") == "Secret" and item.get("apiVersion") == "v1"
    seen = {key: value for key, value in item.items() if not (secret and key in ("data", "stringData"))}
    meta = {key: value for key, value in (item.get("metadata") or {}).items() if key != "managedFields"}
    if _LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != _LAST_APPLIED}
    return {**seen, "metadata": meta}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)
