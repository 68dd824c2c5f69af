"""Decides whose a release is, from its revisions and from the records of them in the status.

Everything that destroys (uninstall, rollback, deletion of CRDs) asks here first, and leaves a release alone without proof. The
proof is in the labels of the release Secrets. helm carries labels over to the next revision, also when somebody runs it by
hand, so the owner label alone shows only that a revision descends from one of this resource. The attempt label shows who made
it, since it names the revision number that it was made for. A rollback carries the labels of its target; the status records it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from managedchart_operator.api.status import ManagedChartStatus, Phase
from managedchart_operator.helm.storage import DEPLOYED, OWNER_LABEL, SUPERSEDED, Revision
from managedchart_operator.times import read_time


@dataclass(frozen=True, slots=True)
class Ownership:
    """What one ManagedChart can prove about the revisions of its release. `uid` is that of the ManagedChart."""

    uid: str
    recorded: Mapping[int, float] = field(default_factory=dict)
    """When the run ended that made a revision, by number: the revisions, rollbacks included, that the status records."""
    recorded_good: frozenset[int] = frozenset()
    """Those of them that were deployed then."""
    destroyed: bool = False
    """Whether the last run uninstalled the release, so that records of an older operator are out of date."""

    @classmethod
    def of(cls, uid: str, status: ManagedChartStatus) -> Self:
        """Take the records from the status of the ManagedChart."""
        return cls(
            uid,
            recorded={
                record.revision: ended.timestamp() if (ended := read_time(record.time)) else 0.0
                for record in status.history
            },
            recorded_good=frozenset(record.revision for record in status.history if record.outcome == DEPLOYED),
            destroyed=status.phase is Phase.DESTROYED,
        )

    def made(self, revision: Revision) -> bool:
        """Whether this resource's operator made the revision."""
        if revision.owner != self.uid:
            return False
        return revision.labelled_for == revision.number or self._is_recorded(revision)

    def labels(self, revision: Revision) -> bool:
        """Whether a revision has this resource's label: it is of this resource, or descends from one that is."""
        return revision.owner == self.uid

    def recorded_here(self, revision: Revision) -> bool:
        """Whether the status records the outcome of a run that made the revision."""
        return self._is_recorded(revision)

    def deployed(self, revisions: Sequence[Revision]) -> bool:
        """Whether this resource has deployed the release of these revisions, newest first, or one that was deleted since."""
        if not revisions:
            return bool(self.recorded_good) and not self.destroyed
        return revisions[0].owner == self.uid and any(map(self._was_good, revisions))

    def owns(self, revisions: Sequence[Revision]) -> bool:
        """Whether the release of these revisions, newest first, is this resource's to uninstall.

        It is if this resource installed it, or deployed it after others had; not if it only failed to upgrade theirs.
        """
        if not revisions or revisions[0].owner != self.uid:
            return False
        return all(revision.owner == self.uid for revision in revisions) or self.deployed(revisions)

    def was_good(self, revision: Revision) -> bool:
        """Whether the records show that a run of this resource succeeded with this revision."""
        return revision.number in self.recorded_good and self._is_recorded(revision)

    def failed(self, revision: Revision) -> bool:
        """Whether the records show that a run of this resource failed with this revision."""
        return revision.number not in self.recorded_good and self._is_recorded(revision)

    @property
    def rollback_mark(self) -> str:
        """The end of the description, in helm's history, of a rollback by this resource's operator."""
        return f" by the ManagedChart operator (ManagedChart with the UID {self.uid})"

    def marks_rollback(self, description: str) -> bool:
        """Whether a revision's description, also one of an earlier operator, says that it is such a rollback."""
        return description.endswith((self.rollback_mark, f" by {OWNER_LABEL} {self.uid}"))

    def _was_good(self, revision: Revision) -> bool:
        if not self.made(revision):
            return False
        if revision.status == DEPLOYED and revision.operator_waits:
            return self.was_good(revision)  # helm calls it deployed before its objects are ready
        return revision.status in (DEPLOYED, SUPERSEDED) or self.was_good(revision)

    def _is_recorded(self, revision: Revision) -> bool:
        # A release that was installed again counts from 1, so an older record may have the number of a newer revision.
        ended = self.recorded.get(revision.number)
        return ended is not None and (revision.stored_at or 0.0) <= ended + 1
