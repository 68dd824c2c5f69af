"""The calls of the CEL library; they run in a worker process (`expressions`).

The library is Google's (cel-expr-python, over cel-cpp): unknown names are errors at compile time, runaway expressions are
ended, and an error of an evaluation is a value of type ERROR instead of an exception.
"""

import json
import re
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

# The library describes errors over several lines, with the expression and a caret.
_LONGEST = 300
_CODE = re.compile(r"^[A-Z_]+: (ERROR: )?| \[[A-Z_]+\]$")
_PLACE = re.compile(r"<input>:(\d+):(\d+): ")


def problem(text: str, variables: tuple[str, ...]) -> str:
    """Return why an expression does not compile, with the position; "" if it does."""
    try:
        _environment(variables).compile(text)
    except Exception as error:  # noqa: BLE001 -- the library raises RuntimeError, and others for odd texts
        return _words(str(error) or type(error).__name__)
    return ""


def evaluate(text: str, variables: tuple[str, ...], data: str) -> tuple[str, Any]:
    """Return the error ("" for none) and the value of an expression over JSON data, which has the variables."""
    try:
        compiled = _compiled(text, variables)
        result = compiled.eval(data=json.loads(data))
    except Exception as error:  # noqa: BLE001 -- as above
        return _words(str(error) or type(error).__name__), None
    if result.type() == cel.Type.ERROR:
        return _words(str(result.value())), None
    value = result.plain_value()
    if value is None or isinstance(value, bool | int | float | str):
        return "", value
    return f"its value is a {type(value).__name__}", None


@lru_cache(maxsize=256)
def _environment(variables: tuple[str, ...]) -> cel.Env:
    extensions = [ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_math.ExtMath(), ext_bindings.ExtBindings()]
    return cel.NewEnv(variables=dict.fromkeys(variables, cel.Type.DYN), extensions=extensions)


@lru_cache(maxsize=256)
def _compiled(text: str, variables: tuple[str, ...]) -> cel.Expression:
    return _environment(variables).compile(text)


def _words(text: str) -> str:
    """Return an error of the library in one line: where and what, without its code and its picture of the place."""
    line = _CODE.sub("", " ".join(text.split(" | ", maxsplit=1)[0].split("\n |", maxsplit=1)[0].split()))
    line = _PLACE.sub(r"line \1, column \2: ", line).replace(" (in container '')", "")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
