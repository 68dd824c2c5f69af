"""Durations as Go and Helm write them: `180s`, `5m`, `1h30m`, `500ms`.

The format is that of Go's `time.ParseDuration`, which `helm --timeout` uses, without a sign and units below a millisecond.
Every accepted duration fits in Go's Duration (292 years), so helm never refuses one that the API server accepted: six digits
for a number and 16 characters in all cannot reach that.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from managedchart_operator.api.schema import matches

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


Duration = Annotated[
    str,
    Field(
        pattern=DURATION_PATTERN,
        max_length=DURATION_LENGTH,
        # One sentence for two rules: the form, and a digit that is not zero.
        json_schema_extra=matches(
            DURATION_PATTERN, "write a duration longer than zero, like 180s, 5m or 1h30m", also="self.matches('[1-9]')"
        ),
    ),
    # Before the pattern, whose own error shows only the regular expression.
    BeforeValidator(_check),
]
"""A positive duration, kept as it was written."""
