"""When a failure is retried, and how that is said.

Pure. Source of the form: exponential back-off with a cap, as kubelet restarts containers.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.api.spec import Retry
from managedchart_operator.api.status import Outlook
from managedchart_operator.diagnosis.causes import CAUSES
from managedchart_operator.errors import OperatorError
from managedchart_operator.reasons import Reason

_TOKEN = f"set the annotation {RETRY_ANNOTATION} to a new value"

# For a defect of the operator or of a plug-in, whatever spec.retry.backoff says: it ends with a restart or by chance,
# and may be reached by a resource that its author has made for that, with a back-off of a millisecond.
DEFECT_BACKOFF_SECONDS = 30.0
DEFECT_MAX_BACKOFF_SECONDS = 600.0

# Why a release did not become ready after it was applied.
WORKLOAD_REASONS = frozenset(row.reason for row in CAUSES if row.workload)


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What follows a failure. `at` is when, None for never without a change; `failures` is how often it has failed in a row."""

    outlook: Outlook
    failures: int
    at: datetime | None = None
    gave_up: bool = False
    """Whether this is the failure with which the retries are used up."""

    @property
    def stalled(self) -> bool:
        """Whether nothing is attempted any more unless something changes."""
        return self.outlook is not Outlook.RETRY


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failures are retried. `probe` is the seconds between checks of a resource whose retries are used up."""

    retry: Retry
    probe: float
    taken_back: bool = True
    """Whether nothing is left in the cluster that could heal: atomic rolls back or uninstalls what failed."""
    endless: bool = False
    """For removals: they never give up."""

    def after(
        self, error: OperatorError, *, failures: int, now: datetime, applied_and_rolled_back: bool = False
    ) -> RetryPlan:
        """Return what follows the failure that makes it `failures` in a row.

        `applied_and_rolled_back` says that it has disturbed what runs, as the same attempt would again.
        """
        if not error.transient and not self.endless:
            return RetryPlan(Outlook.CHANGE, failures)
        if applied_and_rolled_back and not self.retry.after_rollback:
            return RetryPlan(Outlook.KEEP_ROLLED_BACK, failures, gave_up=True)
        if failures > self.retry.limit and not self.endless:
            return self._given_up(error, failures=failures, now=now)
        delay = back_off(self.retry, failures)
        if error.reason is Reason.INTERNAL_ERROR:
            delay = max(delay, min(DEFECT_BACKOFF_SECONDS * _doubled(failures), DEFECT_MAX_BACKOFF_SECONDS))
        return RetryPlan(Outlook.RETRY, failures, now + timedelta(seconds=delay))

    def still_given_up(self, *, failures: int, now: datetime) -> RetryPlan:
        """Return what follows a check that showed no change."""
        return RetryPlan(Outlook.CHECK, failures, now + timedelta(seconds=self.probe))

    def _given_up(self, error: OperatorError, *, failures: int, now: datetime) -> RetryPlan:
        news = failures == self.retry.limit + 1
        if error.reason in WORKLOAD_REASONS and self.taken_back:
            return RetryPlan(Outlook.CHANGE, failures, gave_up=news)
        return RetryPlan(Outlook.CHECK, failures, now + timedelta(seconds=self.probe), gave_up=news)


def back_off(retry: Retry, failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: doubled each time, up to the most that the spec allows."""
    return min(seconds(retry.backoff) * _doubled(failures), seconds(retry.max_backoff))


def outlook_message(outlook: Outlook, *, failures: int, limit: int, at: str | None) -> str:
    """Say for a person what follows; `at` is an RFC 3339 time, `limit` the spec's."""
    gave_up = f"Gave up after {_attempts(failures)} (spec.retry.limit {limit})"
    match outlook:
        case Outlook.RETRY:
            return f"Attempt {failures} failed; retrying at {at}"
        case Outlook.CHECK:
            return f"{gave_up}; checking again at {at}"
        case Outlook.CHANGE if failures > limit:
            return f"{gave_up}; change the spec or {_TOKEN}"
        case Outlook.CHANGE:
            return f"Not retried automatically; change the spec or {_TOKEN}"
        case Outlook.KEEP_ROLLED_BACK:
            return (
                "Not retried automatically, since each attempt disturbs what runs; change the spec, set"
                f" spec.retry.afterRollback to true, or {_TOKEN}"
            )
        case Outlook.WAIT:
            return f"Waiting for another Helm operation until {at}"


def _doubled(failures: int) -> float:
    return 2.0 ** max(min(failures - 1, 30), 0)


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"
