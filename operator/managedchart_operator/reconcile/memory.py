"""What the status remembers of earlier passes, and what was asked for by annotations.

Purpose: `decide` gets the past from here. Boundary: pure. Invariant: nothing is remembered in the process, so a restart knows
as much.
"""

from datetime import datetime

from managedchart_operator.api.resource import ManagedChart, request_token
from managedchart_operator.api.status import ManagedChartStatus, Phase
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Memory
from managedchart_operator.times import read_time

_GOOD_PHASES = frozenset({Phase.READY, Phase.SKIPPED, Phase.DESTROYED})


def memory(chart: ManagedChart, status: ManagedChartStatus, *, started: datetime | None = None) -> Memory:
    """Return what earlier passes left in the status.

    `started` is when this operator did: a defect that an earlier one met may be corrected in this one.
    """
    retry_at = read_time(status.next_retry_at)
    failure = status.last_failure
    if started is not None and failure is not None and failure.reason == Reason.INTERNAL_ERROR:
        failed = read_time(failure.time)
        retry_at = started if failed is not None and failed < started else retry_at
    attempt = status.attempt
    ended_at = read_time(attempt.ended_at) if attempt else None
    # A run that ends says something else here, whatever came of it.
    interrupted = any(c.type == "Reconciling" and c.reason == Reason.PROGRESSING for c in status.conditions)
    return Memory(
        digest=status.attempted_digest,
        current=status.observed_generation == chart.generation,
        succeeded=status.failures == 0 and status.phase in _GOOD_PHASES,
        revision=status.release.revision if status.release else None,
        released=any(c.type == "Released" and c.status == "True" for c in status.conditions),
        failures=status.failures,
        retry_at=retry_at.timestamp() if retry_at else None,
        interrupted=interrupted,
        in_exec=interrupted and status.phase is Phase.EXEC,
        attempt=attempt.id if attempt else None,
        operation=attempt.operation if attempt else None,
        ended_at=ended_at.timestamp() if ended_at else None,
        told_end=attempt is not None,
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
    known = status.handled_requests.get(annotation)
    return known and request_token(known)
