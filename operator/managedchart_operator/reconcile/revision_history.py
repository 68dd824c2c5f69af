"""Keeps `status.history`: the last revisions that this resource made, which also prove what it has deployed.

A revision is recorded when its deployment has succeeded, once more when its run has ended, and otherwise, if the run was
interrupted, at the end of the next one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from managedchart_operator.api.status import ManagedChartStatus, RevisionRecord
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.times import write_time

# Enough to compare; helm itself keeps ten.
HISTORY = 5


def remember(
    status: ManagedChartStatus, revision: Revision | None, *, action: str, chart_version: str | None = None
) -> None:
    """Put a revision and its outcome into the history. Its chart's version is by default what the status says."""
    if revision is None:
        return
    known = {record.revision: record for record in status.history}.get(revision.number)
    if action == Operation.RESUME and known is not None:
        action = known.action  # the operation that made it
    if chart_version is None and status.release is not None and status.release.revision == revision.number:
        chart_version = status.release.chart_version
    record = RevisionRecord(
        revision=revision.number,
        action=action,
        outcome=revision.status,
        chart_version=chart_version,
        digest=revision.digest,
        time=write_time(),
    )
    others = [other for other in status.history if other.revision != revision.number]
    status.history = _latest([record, *others], newest=revision.number)


def complete(status: ManagedChartStatus, revisions: Sequence[Revision], *, uid: str) -> None:
    """Add those of the revisions, newest first, that interrupted runs of the resource with this UID made.

    Not one that is still deployed: the record would say that its objects became ready. The run that continues it records it.
    And not one that was only stored for a rollback: that has its labels.
    """
    ownership = Ownership.of(uid, status)
    rolled_back = {(record.revision, record.digest) for record in status.history if record.action == "Rollback"}
    added = [
        RevisionRecord(
            revision=revision.number,
            action=(Operation.INSTALL if revision.number == 1 else Operation.UPGRADE).value,
            outcome=revision.status,
            digest=revision.digest,
            time=write_time(datetime.fromtimestamp(revision.stored_at or 0.0, UTC)),
        )
        for revision in revisions
        if ownership.made(revision)
        and not ownership.recorded_here(revision)
        and revision.status != DEPLOYED
        and not revision.pending
        and (revision.number + 1, revision.digest) not in rolled_back
    ]
    if added:
        numbers = {record.revision for record in added}
        others = [record for record in status.history if record.revision not in numbers]
        status.history = _latest([*added, *others], newest=revisions[0].number)


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


def _latest(records: Iterable[RevisionRecord], *, newest: int) -> list[RevisionRecord]:
    """Return the latest ones, the newest first. A release that was installed again counts from 1: the former ones come last."""
    return sorted(records, key=lambda record: (record.revision <= newest, record.revision), reverse=True)[:HISTORY]
