"""When a failure is tried again.

Boundary: pure. Source of the form: exponential back-off with a cap, as kubelet restarts containers.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.api.spec import Retry
from managedchart_operator.errors import OperatorError

_WAITS = f"it waits for a new spec, or a new value of the annotation {RETRY_ANNOTATION}"


@dataclass(frozen=True, slots=True)
class Next:
    """What comes after a failure: another attempt at a time, or none. `message` says it for a person.

    `gave_up` tells that there would have been another one, had it not been one too many.
    """

    at: datetime | None
    message: str
    gave_up: bool = False


def next_attempt(error: OperatorError, *, failures: int, retry: Retry, now: datetime, endless: bool = False) -> Next:
    """Return what follows the failure that makes it `failures` in a row. `endless` is for removals: they never give up."""
    if not error.transient and not endless:
        return Next(None, f"trying again without a change is useless: {_WAITS}")
    if failures > retry.limit and not endless:
        return Next(
            None,
            f"gave up after {failures} attempts (spec.retry.limit {retry.limit}): {_WAITS}",
            gave_up=True,
        )
    delay = min(seconds(retry.backoff) * 2 ** min(failures - 1, 30), seconds(retry.max_backoff))
    at = now + timedelta(seconds=delay)
    return Next(at, f"attempt {failures} failed, the next one begins at {at.strftime('%Y-%m-%dT%H:%M:%SZ')}")
