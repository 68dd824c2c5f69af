"""When a failure is tried again.

Boundary: pure. Source of the form: exponential back-off with a cap, as kubelet restarts containers.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.api.spec import Retry
from managedchart_operator.diagnosis.cause_table import CAUSES
from managedchart_operator.errors import OperatorError
from managedchart_operator.reasons import Reason
from managedchart_operator.times import write_time

_WAITS = f"it waits for a new spec, or a new value of the annotation {RETRY_ANNOTATION}"
_NOT_AGAIN = (
    "the same upgrade is not retried automatically, since each attempt disturbs what runs: change the spec, set"
    f" spec.retry.afterRollback to true, or set the annotation {RETRY_ANNOTATION} to a new value for one more attempt"
)


# For a defect of the operator or of a plug-in, whatever spec.retry.backoff says: it ends with a restart or by chance,
# and may be reached by a resource that its author has made for that, with a back-off of a millisecond.
DEFECT_BACKOFF_SECONDS = 30.0
DEFECT_MAX_BACKOFF_SECONDS = 600.0

# Why a release did not become ready after it was applied.
WORKLOAD_REASONS = frozenset(row.reason for row in CAUSES if row.workload)


@dataclass(frozen=True, slots=True)
class Next:
    """What comes after a failure. `message` says it for a person.

    `at` is when to come again, None for never. `stalled` tells that this is no retry any more but a look whether the cause
    is gone; `gave_up` that this is the failure with which the retries are used up.
    """

    at: datetime | None
    message: str
    stalled: bool = False
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failures are retried. `probe` is the seconds between looks at a resource that was given up."""

    retry: Retry
    probe: float
    taken_back: bool = True
    """Whether nothing is left in the cluster that could heal: atomic rolls back or uninstalls what failed."""
    endless: bool = False
    """For removals: they never give up."""

    def after(
        self, error: OperatorError, *, failures: int, now: datetime, applied_and_rolled_back: bool = False
    ) -> Next:
        """Return what follows the failure that makes it `failures` in a row.

        `applied_and_rolled_back` says that it has disturbed what runs, as the same attempt would again.
        """
        if not error.transient and not self.endless:
            return Next(None, f"trying again without a change is useless: {_WAITS}", stalled=True)
        if applied_and_rolled_back and not self.retry.after_rollback:
            return Next(None, _NOT_AGAIN, stalled=True, gave_up=True)
        if failures > self.retry.limit and not self.endless:
            return self._given_up(error, failures=failures, now=now)
        doubled = 2 ** min(failures - 1, 30)
        delay = min(seconds(self.retry.backoff) * doubled, seconds(self.retry.max_backoff))
        if error.reason is Reason.INTERNAL_ERROR:
            delay = max(delay, min(DEFECT_BACKOFF_SECONDS * doubled, DEFECT_MAX_BACKOFF_SECONDS))
        at = now + timedelta(seconds=delay)
        return Next(at, f"attempt {failures} failed, the next one begins at {write_time(at)}")

    def still_given_up(self, *, failures: int, now: datetime) -> Next:
        """Return what follows a look that showed no change."""
        at = now + timedelta(seconds=self.probe)
        return Next(
            at,
            f"gave up after {_attempts(failures)}: looks at {write_time(at)} whether the cause is gone",
            stalled=True,
        )

    def _given_up(self, error: OperatorError, *, failures: int, now: datetime) -> Next:
        news = failures == self.retry.limit + 1
        gave_up = f"gave up after {_attempts(failures)} (spec.retry.limit {self.retry.limit})"
        if error.reason in WORKLOAD_REASONS and self.taken_back:
            return Next(None, f"{gave_up}: {_WAITS}", stalled=True, gave_up=news)
        at = now + timedelta(seconds=self.probe)
        return Next(at, f"{gave_up}: looks at {write_time(at)} whether the cause is gone", stalled=True, gave_up=news)


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"
