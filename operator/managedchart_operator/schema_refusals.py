"""Words the API server's answer that an object does not fit the schema of its kind: unknown fields, wrong types, duplicates.

Under server-side apply it checks this before anything else, and lists every problem that it finds in the object, each on a line
of its own if there are several. `api_refusals` has the row.
Source: sigs.k8s.io/structured-merge-diff, typed (ValidationErrors.Error), measured with Kubernetes 1.37.
"""

import re
from collections.abc import Sequence

from managedchart_operator.shortening import listed

PATTERN = r"failed to create typed patch object [^:]*: (?P<problems>errors:(?:\n[ \t]+[^\n]+)+|[^\n]+)"

_UNKNOWN = ": field not declared in schema"
_DUPLICATE = ": duplicate entries for key "
_EXPECTED = ": expected "
# It prints a value of another type than expected as Go does. That may be a password that YAML reads as a number.
_GO_VALUE = re.compile(r"got &value\.valueUnstructured\{Value:(?P<value>.*)\}$", re.DOTALL)
_NUMBER = re.compile(r"[-+.\d]")
_SHOWN = 5

CORRECT_NAME = "Correct the field's name in the values or the chart, or use the API version that has this field."
_CORRECT_TYPE = (
    "Write each value in the type that is expected; in YAML a number in quotes is a text, and yes and on are booleans."
)
_ONCE = (
    "Set each entry once in the values. Or set spec.forceUpgrade: true: Helm then replaces the objects from the client's side, "
    "which accepts duplicate entries."
)


def message(found: re.Match[str], it: str) -> str:
    """Name all problems of the object `it`, up to a number."""
    problems = _problems(found)
    unknown = [problem.removesuffix(_UNKNOWN) for problem in problems if problem.endswith(_UNKNOWN)]
    if len(unknown) == len(problems):
        return unknown_fields(it, unknown)
    return f"{it}: {listed(map(_worded, problems))}"


def unknown_fields(it: str, fields: Sequence[str]) -> str:
    """Say that the object `it` does not have these fields; at least one."""
    more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
    return f"{it} has no field{'s' if len(fields) > 1 else ''} {', '.join(fields[:_SHOWN])}{more}"


def hint(found: re.Match[str]) -> str | None:
    """Return what to do about each kind of problem that there is."""
    text = "\n".join(_problems(found))
    advice = ((_UNKNOWN, CORRECT_NAME), (_EXPECTED, _CORRECT_TYPE), (_DUPLICATE, _ONCE))
    return " ".join(sentence for sign, sentence in advice if sign in text) or None


def _problems(found: re.Match[str]) -> list[str]:
    lines = found["problems"].removeprefix("errors:").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _worded(problem: str) -> str:
    if problem.endswith(_UNKNOWN):
        return problem.removesuffix(_UNKNOWN) + ": no such field"
    return _GO_VALUE.sub(lambda found: f"got {_type_of(found['value'])}", problem)


def _type_of(value: str) -> str:
    if value in ("true", "false"):
        return "boolean"
    if value.startswith("map["):
        return "map"
    if value.startswith("["):
        return "list"
    return "number" if _NUMBER.match(value) else "another type"
