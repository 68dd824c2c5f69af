"""Durations as Go and Helm write them: `180s`, `5m`, `1h30m`, `500ms`.

The format is that of Go's `time.ParseDuration`, which `helm --timeout` uses, without a sign and units below a millisecond.
Every accepted duration fits in Go's Duration (292 years), so helm never refuses one that the API server accepted: six digits
for a number and 16 characters in all cannot reach that.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from managedchart_operator.api.schema import cel_string, matches

DURATION_PATTERN = r"^([0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h))+$"
DURATION_LENGTH = 16
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Return the length of a duration in seconds. Raises ValueError, naming the form, for anything else."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f'"{duration}" is not a duration; write it like 180s, 5m or 1h30m')
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(duration))


def _check(duration: object) -> object:
    if isinstance(duration, str) and seconds(duration) <= 0:
        raise ValueError(f'the duration "{duration}" must be longer than zero')
    return duration


def _form() -> dict[str, Any]:
    # One sentence for two rules: the form, and a digit that is not zero.
    return matches(
        DURATION_PATTERN, "write a duration longer than zero, like 180s, 5m or 1h30m", also="self.matches('[1-9]')"
    )


def between(least: str | None, most: str, message: str) -> dict[str, Any]:
    """Return the CEL rules of a duration with bounds, for `json_schema_extra`; `message` is shown for one beyond them.

    The API server applies the rule to a value that is new or has changed (KEP-4008, since Kubernetes 1.30). The models accept
    what was stored before the rule, and `api.bounds` clamps it.
    """
    limits = [f"duration(self) {sign} duration('{limit}')" for sign, limit in ((">=", least), ("<=", most)) if limit]
    form = _form()
    # What has no form of a duration is refused by the rule above, and an error here would hide its sentence.
    rule = f"!self.matches({cel_string(DURATION_PATTERN)}) || {' && '.join(limits)}"
    form["x-kubernetes-validations"].append({"rule": rule, "message": message})
    return form


Duration = Annotated[
    str,
    Field(pattern=DURATION_PATTERN, max_length=DURATION_LENGTH, json_schema_extra=_form()),
    # Before the pattern, whose own error shows only the regular expression.
    BeforeValidator(_check),
]
"""A positive duration, kept as it was written."""

DurationOrZero = Annotated[
    str,
    Field(
        pattern=DURATION_PATTERN,
        max_length=DURATION_LENGTH,
        json_schema_extra=matches(DURATION_PATTERN, "write a duration like 5m, or 0s for never"),
    ),
]
"""A duration that may be zero, kept as it was written."""
