"""Keeps the last few revisions and their outcomes in the status, as proof of what this resource has deployed."""

from managedchart_operator.api.status import ManagedChartStatus, RevisionRecord
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.times import write_time

# Enough to compare; helm itself keeps ten.
HISTORY = 5


def remember(status: ManagedChartStatus, revision: Revision | None, *, action: str) -> None:
    """Put a revision and its outcome first in the history; its chart is that of `status.release`."""
    if revision is None:
        return
    known = {record.revision: record for record in status.history}
    if action == Operation.RESUME and revision.number in known:
        action = known[revision.number].action  # the operation that made it
    record = RevisionRecord(
        revision=revision.number,
        action=action,
        outcome=revision.status,
        chart_version=status.release.chart_version if status.release else None,
        digest=revision.digest,
        time=write_time(),
    )
    others = [other for other in status.history if other.revision != revision.number]
    status.history = [record, *others][:HISTORY]


def turned_out_failed(status: ManagedChartStatus, revision: int) -> None:
    """Record that a revision which was deployed when its run ended has been marked failed."""
    for record in status.history:
        if record.revision == revision:
            record.outcome = FAILED


def release_uninstalled(status: ManagedChartStatus) -> None:
    """Record that the release is deleted: its revisions prove nothing about a later release of that name."""
    for record in status.history:
        if record.outcome == DEPLOYED:
            record.outcome = UNINSTALLED
