"""What the status says about earlier runs, and which annotations ask for a new one.

`StatusRecorder` writes `status.attempt`, and only `last_run_of` reads it; conditions and messages are never parsed. The process
remembers nothing, so a restarted operator knows as much as the one before.
"""

from dataclasses import dataclass
from datetime import datetime

from managedchart_operator.api.resource import FORCE_ANNOTATION, RETRY_ANNOTATION, ManagedChart, request_token
from managedchart_operator.api.status import AttemptStatus, ManagedChartStatus, Outlook, Phase
from managedchart_operator.reasons import Reason
from managedchart_operator.times import read_time


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run, according to the status. Times in seconds since the epoch."""

    attempt: str | None = None
    """The random word in the labels of the revision that it made; None where the status does not say."""
    digest: str | None = None
    """Digest of its input."""
    current: bool = True
    """Whether it was for the present generation of the spec."""
    operation: str | None = None
    """What it did with the release."""
    phase: Phase | None = None
    """The phase that it had reached."""
    interrupted: bool = False
    """Whether it neither succeeded nor failed: the operator was stopped, or a request interrupted the run."""
    ended_at: float | None = None
    """When it ended; None also until the remedy of its failure has ended."""
    revision: int | None = None
    """The newest revision when a run last ended."""
    proven: bool = False
    """Whether the objects of that revision were seen ready."""
    failed_revision: int | None = None
    """The revision that failed."""
    failures: int = 0
    """How often its input has failed in a row."""
    reason: str | None = None
    """The reason of the last of them."""
    retry_at: float | None = None
    """When to retry; None with failures means not without a change."""
    waited: bool = False
    """Whether the operator has waited for another Helm operation since."""

    @property
    def succeeded(self) -> bool:
        """Whether there was a run, and it succeeded."""
        return self.ended_at is not None and self.failures == 0

    @property
    def stopped_in_exec(self) -> bool:
        """Whether it reached exec and was stopped there."""
        return self.interrupted and self.phase is Phase.EXEC


def last_run_of(chart: ManagedChart, status: ManagedChartStatus, *, started: datetime | None = None) -> LastRun:
    """Return what the status says about the last run.

    `started` is when this operator started: a defect that an earlier operator ran into may be fixed in this one.
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
        interrupted=attempt.started_at is not None and ended_at is None and attempt.outlook in (None, Outlook.WAIT),
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
    """Whether the annotation has a token that was not handled yet."""
    token = chart.requests.get(annotation)
    return token is not None and _handled(status, annotation) != token


def attempt_requested(chart: ManagedChart, status: ManagedChartStatus) -> bool:
    """Whether an annotation asks for another attempt, which fetches the chart again too."""
    return any(requested(chart, status, name) for name in (RETRY_ANNOTATION, FORCE_ANNOTATION))


def _handled(status: ManagedChartStatus, annotation: str) -> str | None:
    """Return the handled token; an older operator stored the whole value of the annotation."""
    known = status.attempt.handled_requests.get(annotation)
    return known and request_token(known)


def _phase(attempt: AttemptStatus) -> Phase | None:
    return next((phase for phase in Phase if phase.value == attempt.phase), None)
