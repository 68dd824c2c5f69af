"""When a failure is retried, and how that is said.

Pure. Source of the form: exponential back-off with a cap, as kubelet restarts containers.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.api.spec import Retry
from managedchart_operator.api.status import Outlook
from managedchart_operator.diagnosis.causes import CAUSES
from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.permissions import IMPERSONATE
from managedchart_operator.reasons import Reason
from managedchart_operator.times import write_time

_TOKEN = f"set the annotation {RETRY_ANNOTATION} to a new value"

_KEPT = "The release stays as it is, because the API server did not answer the actions and checks that follow its deployment"

# For a defect of the operator or of a plug-in, whatever spec.retry.backoff says: it ends with a restart or by chance,
# and may be reached by a resource that its author has made for that, with a back-off of a millisecond.
DEFECT_BACKOFF_SECONDS = 30.0
DEFECT_MAX_BACKOFF_SECONDS = 600.0

# A pass that only looks attempts nothing, so it does not have to wait as long as the next attempt may have to.
LOOK_AGAIN_SECONDS = 60.0

# Why a release did not become ready after it was applied.
WORKLOAD_REASONS = frozenset(row.reason for row in CAUSES if row.workload)


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """What follows a failure. `at` is when, None for never without a change.

    `failures` is how often it has failed in a row, `limit` is spec.retry.limit.
    """

    outlook: Outlook
    failures: int
    limit: int
    at: datetime | None = None
    gave_up: bool = False
    """Whether this is the failure with which the retries are used up."""
    awaits: str = ""
    """The verb of a missing permission, if the next attempt begins as soon as it is granted."""
    kept: bool = False
    """Whether the release stays as it is, because the failure says nothing about it."""
    changes: tuple[str, ...] = ()
    """What has made it fail, like `LifecycleProfile p` or `plug-in p`: the next attempt begins as soon as one changes."""

    def awaiting_permission(self, verb: str) -> Self:
        """Return the plan for a failure that ends when a permission is granted, unless nothing is tried again then."""
        return replace(self, awaits=verb) if self.outlook in (Outlook.RETRY, Outlook.CHECK) else self

    def awaiting_change(self, *, profile: str = "", plugin: str = "") -> Self:
        """Return the plan for a failure because of a LifecycleProfile, of a plug-in, or ("") of something else."""
        changes = (f"LifecycleProfile {profile}" if profile else "", f"plug-in {plugin}" if plugin else "")
        return replace(self, changes=tuple(filter(None, changes)))

    @property
    def stalled(self) -> bool:
        """Whether nothing is attempted any more unless something changes."""
        return self.outlook is not Outlook.RETRY

    @property
    def message(self) -> str:
        """A sentence about it for a person."""
        attempts = "1 attempt" if self.failures == 1 else f"{self.failures} attempts"
        gave_up = f"Gave up after {attempts} (spec.retry.limit {self.limit})"
        at = write_time(self.at) if self.at else None
        granted = "the ServiceAccount can be used" if self.awaits == IMPERSONATE else "the permission is granted"
        sooner = f", or within a minute after {granted}" if self.awaits else ""
        sooner += f", or when {' or '.join(self.changes)} changes" if self.changes else ""
        *first, last = ("the spec", *self.changes)
        changed = f"{', '.join(first)} or {last}" if first else last
        match self.outlook:
            case Outlook.RETRY if self.kept:
                return f"{_KEPT}. Attempt {self.failures} failed; retrying at {at}{sooner}"
            case Outlook.RETRY:
                return f"Attempt {self.failures} failed; retrying at {at}{sooner}"
            case Outlook.CHECK:
                return f"{gave_up}; checking again at {at}{sooner}"
            case Outlook.KEEP_ROLLED_BACK:
                return (
                    f"Not retried automatically, since each attempt disrupts what runs; change {changed}, set"
                    f" spec.retry.afterRollback to true, or {_TOKEN}"
                )
        begins = gave_up if self.failures > self.limit else "Not retried automatically"
        return f"{begins}; change {changed}{',' if first else ''} or {_TOKEN}"


def after_failure(
    error: OperatorError,
    retry: Retry,
    *,
    failures: int,
    now: datetime,
    probe: float,
    taken_back: bool = True,
    applied_and_rolled_back: bool = False,
    endless: bool = False,
) -> RetryPlan:
    """Return what follows the failure that makes it `failures` in a row.

    `probe` is the seconds between checks of a resource whose retries are used up. `taken_back` says that nothing is left in the
    cluster that could heal: atomic rolls back or uninstalls what failed. `applied_and_rolled_back` says that the failure has
    disturbed what runs, as the same attempt would again. `endless` is for removals: they never give up.
    """
    if not error.transient and not endless:
        return RetryPlan(Outlook.CHANGE, failures, retry.limit)
    if applied_and_rolled_back and not retry.after_rollback:
        return RetryPlan(Outlook.KEEP_ROLLED_BACK, failures, retry.limit, gave_up=True)
    if failures > retry.limit and not endless:
        gave_up = failures == retry.limit + 1
        if error.reason in WORKLOAD_REASONS and taken_back:
            return RetryPlan(Outlook.CHANGE, failures, retry.limit, gave_up=gave_up)
        return RetryPlan(Outlook.CHECK, failures, retry.limit, now + timedelta(seconds=probe), gave_up=gave_up)
    delay = back_off(retry, failures)
    if error.reason is Reason.INTERNAL_ERROR:
        delay = max(delay, defect_back_off(failures))
    return RetryPlan(Outlook.RETRY, failures, retry.limit, now + timedelta(seconds=delay))


def look_again(error: OperatorError, retry: Retry, *, lacks: bool) -> float:
    """Return the seconds until a pass is repeated that could not find out what to do; the failure before it stays recorded.

    `lacks` says that the API server confirms the refusal. One that has just started refuses everybody for a moment.
    """
    if error.reason not in (Reason.API_UNAVAILABLE, Reason.FORBIDDEN):
        return seconds(retry.max_backoff)
    return min(seconds(retry.max_backoff), LOOK_AGAIN_SECONDS) if lacks else soon(retry)


def soon(retry: Retry) -> float:
    """Return the seconds until a pass is repeated that the API server did not answer for a moment."""
    return min(seconds(retry.backoff), LOOK_AGAIN_SECONDS)


def earlier_of(one: float | None, other: float | None) -> float | None:
    """Return the shorter of two delays in seconds; None is for ever."""
    return min((each for each in (one, other) if each is not None), default=None)


def defect_back_off(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row that spec.retry has no say in."""
    return min(DEFECT_BACKOFF_SECONDS * _doubled(failures), DEFECT_MAX_BACKOFF_SECONDS)


def back_off(retry: Retry, failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: doubled each time, up to the most that the spec allows."""
    return min(seconds(retry.backoff) * _doubled(failures), seconds(retry.max_backoff))


def _doubled(failures: int) -> float:
    return 2.0 ** max(min(failures - 1, 30), 0)
