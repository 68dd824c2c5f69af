"""Durations as Go and Helm write them: `180s`, `5m`, `1h30m`, `500ms`.

Source of the format: Go's `time.ParseDuration`, which `helm --timeout` uses. We leave out units below a millisecond and
the sign: nobody means them for a deployment.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Return the length of a duration in seconds. Raises ValueError, naming the form, for anything else."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f'"{duration}" is not a duration; write it like 180s, 5m or 1h30m')
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(duration))


def _check(duration: str) -> str:
    if seconds(duration) <= 0:
        raise ValueError(f'the duration "{duration}" must be longer than zero')
    return duration


Duration = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=32), AfterValidator(_check)]
"""A positive duration, kept as it was written."""
