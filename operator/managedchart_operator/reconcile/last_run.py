"""What the status says of earlier runs, and which annotations ask for something new.

`RunRecorder` writes `status.attempt`, and only `last_run_of` reads it: conditions and messages are output, nothing parses them.
Nothing is remembered in the process, so a restarted operator knows as much as the one before.
"""

from dataclasses import dataclass
from datetime import datetime

from managedchart_operator.api.resource import ManagedChart, request_token
from managedchart_operator.api.status import AttemptStatus, ManagedChartStatus, Outlook, Phase
from managedchart_operator.reasons import Reason
from managedchart_operator.times import read_time


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run, as the status has it. Times in seconds since the epoch."""

    attempt: str | None = None
    """The random word that the revision which it made carries too; None where the status does not say."""
    digest: str | None = None
    """Digest of its input."""
    current: bool = True
    """Whether it was for the present generation of the spec."""
    operation: str | None = None
    """What it did with the release."""
    phase: Phase | None = None
    """The phase that it had reached."""
    interrupted: bool = False
    """Whether it has not come to its end, well or not: the operator was stopped, or the run gave way to a request."""
    ended_at: float | None = None
    """When it ended; None also while what it began after a failure has not ended."""
    revision: int | None = None
    """The revision that the last run which ended has left."""
    proven: bool = False
    """Whether the objects of that revision were seen ready."""
    failed_revision: int | None = None
    """The revision that failed."""
    failures: int = 0
    """Failures in a row of its input."""
    reason: str | None = None
    """The reason of the last of them."""
    retry_at: float | None = None
    """When to try again; None with failures means never without a change."""
    waited: bool = False
    """Whether another Helm operation has been waited for since."""

    @property
    def succeeded(self) -> bool:
        """Whether there was a run, and it ended well."""
        return self.ended_at is not None and self.failures == 0

    @property
    def stopped_in_exec(self) -> bool:
        """Whether it reached exec and was stopped there."""
        return self.interrupted and self.phase is Phase.EXEC


def last_run_of(chart: ManagedChart, status: ManagedChartStatus, *, started: datetime | None = None) -> LastRun:
    """Return what the status says of the last run.

    `started` is when this operator started: a defect that an earlier one met may be corrected in this one.
    """
    attempt = status.attempt
    retry_at, ended_at = read_time(attempt.next_retry_at), read_time(attempt.ended_at)
    if started is not None and attempt.reason == Reason.INTERNAL_ERROR and ended_at is not None and ended_at < started:
        retry_at = started
    return LastRun(
        attempt=attempt.id,
        digest=attempt.digest,
        current=attempt.generation == chart.generation,
        operation=attempt.operation,
        phase=_phase(attempt),
        interrupted=attempt.started_at is not None and ended_at is None and attempt.outlook is None,
        ended_at=ended_at.timestamp() if ended_at else None,
        revision=attempt.revision,
        proven=attempt.proven,
        failed_revision=attempt.failed_revision,
        failures=attempt.failures,
        reason=attempt.reason,
        retry_at=retry_at.timestamp() if retry_at else None,
        waited=attempt.outlook is Outlook.WAIT,
    )


def requested(chart: ManagedChart, status: ManagedChartStatus, annotation: str) -> bool:
    """Whether the annotation carries a token that was not carried out yet."""
    token = chart.requests.get(annotation)
    return token is not None and _handled(status, annotation) != token


def handled(chart: ManagedChart, status: ManagedChartStatus) -> bool:
    """Whether every annotation that asks for something was carried out."""
    return all(_handled(status, name) == token for name, token in chart.requests.items())


def _handled(status: ManagedChartStatus, annotation: str) -> str | None:
    """Return what was carried out; an older operator has kept the annotation's value whole."""
    known = status.attempt.handled_requests.get(annotation)
    return known and request_token(known)


def _phase(attempt: AttemptStatus) -> Phase | None:
    return next((phase for phase in Phase if phase.value == attempt.phase), None)
