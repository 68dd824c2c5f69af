"""The decision: what to do about one release, from what is wanted and what is there.

Purpose: every rule about releases in one pure function, held by a table test. Boundary: no I/O, no clock; `Observed`
carries the time. Invariants: in sync means that the newest revision is the one in our status, deployed, with our digest
(helm carries labels over to the next revision, so the digest alone proves nothing); input that failed is not tried again
before its time; a release is uninstalled only because the spec says so, or because a first install failed. One that is in the
middle of an uninstall is deployed over when it is wanted: its volume claims, above all, may still be there.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from managedchart_operator.api.spec import Action
from managedchart_operator.helm.storage import DEPLOYED, UNINSTALLED, UNINSTALLING, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.ownership import Ownership

# How long a helm of somebody else may hold a release at least: helm's own default of --timeout.
FOREIGN_LOCK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Desired:
    """What the spec wants. `timeout` in seconds."""

    action: Action
    digest: Digest
    dry_run: bool = False
    timeout: float = 180.0
    reinstalls: bool = False
    """Whether an upgrade may uninstall first, since the spec names a breaking version."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What our status says of the last run that ended. Times in seconds since the epoch."""

    digest: str | None = None
    """Digest of its input."""
    current: bool = True
    """Whether it was made for the present generation of the spec."""
    succeeded: bool = False
    revision: int | None = None
    """The revision that it left."""
    released: bool = False
    """Whether that revision had become ready."""
    failures: int = 0
    retry_at: float | None = None
    """When to try again; None with failures means never by itself."""
    interrupted: bool = False
    """Whether another run was begun after it and did not end: the operator was killed, or the run gave way to a request."""
    in_exec: bool = False
    """Whether that one got as far as exec and no further."""
    attempt: str | None = None
    """Random word of the last run that began, which the revision that it made carries too."""
    operation: str | None = None
    """What that run does with the release."""
    ended_at: float | None = None
    """When that run ended; None while it has not, or where the status does not say."""
    told_end: bool = False
    """Whether the status says of each run if and when it ended; one of an older operator does not."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is: the revisions of the release, newest first, and our memory."""

    ownership: Ownership
    now: float
    revisions: tuple[Revision, ...] = ()
    memory: Memory = Memory()
    rollback_is_ours: bool = False
    """Whether the newest revision is a rollback of ours that the status does not record."""
    retry_requested: bool = False
    force_requested: bool = False

    @property
    def newest(self) -> Revision | None:
        """The newest revision."""
        return self.revisions[0] if self.revisions else None

    @property
    def newest_is_ours(self) -> bool:
        """Whether this resource's operator made the newest revision."""
        return self.newest is not None and (self.rollback_is_ours or self.ownership.made(self.newest))

    def uninstall_is_ours(self, desired: Desired) -> bool:
        """Whether the uninstall that the newest revision is in the middle of was begun by a run of ours; that run is over.

        Somebody else's shows as begun after our last run had ended, or while it was doing something else.
        """
        newest, memory = self.newest, self.memory
        if newest is None or newest.owner != self.ownership.uid:
            return False
        if not memory.told_end:
            return memory.interrupted or memory.failures > 0
        if memory.ended_at is not None:
            # Whole seconds. A run that ended well has left no such revision.
            return memory.failures > 0 and (newest.modified_at or 0.0) <= memory.ended_at + 1
        return memory.operation == Operation.UNINSTALL or desired.reinstalls

    @property
    def newest_is_unproven(self) -> bool:
        """Whether helm calls the newest revision deployed, but nobody knows yet whether its objects became ready.

        Such a one is left by an operator that was killed while it waited for them.
        """
        newest, memory = self.newest, self.memory
        if newest is None or newest.status != DEPLOYED or not newest.operator_waits or not self.newest_is_ours:
            return False
        if newest.made_as != newest.number:
            return False  # a rollback, for which helm has waited
        return newest.number != memory.revision or not memory.released

    @property
    def newest_may_fail(self) -> bool:
        """Whether it is a failed revision if its objects do not become ready.

        Only if the status says that its run was in exec: else it may have been good for long, by a status that was lost.
        """
        newest, memory = self.newest, self.memory
        return self.newest_is_unproven and memory.in_exec and newest is not None and newest.number != memory.revision

    @property
    def newest_is_unfinished(self) -> bool:
        """Whether the run that made the newest revision has not ended: what follows exec may be left to do."""
        newest, memory = self.newest, self.memory
        unfinished = memory.told_end and memory.ended_at is None and memory.attempt is not None
        return unfinished and newest is not None and newest.is_of(memory.attempt or "")


class Verdict(StrEnum):
    """What kind of answer a decision is."""

    IN_SYNC = "InSync"
    RUN = "Run"
    HOLD = "Hold"
    """The same input failed; wait for its time, or for a change."""
    WAIT_FOR_LOCK = "WaitForLock"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do. `because` is a sentence for events and logs."""

    verdict: Verdict
    operation: Operation | None = None
    unlock: Revision | None = None
    """A revision that nobody works on any more, pending or never seen ready: mark it failed first."""
    wait: bool = False
    """For `FINISH`: the wait for the release's objects is not over."""
    may_fail: bool = False
    """For `FINISH`: the revision has failed if that wait does."""
    continues: bool = False
    """For `FINISH`: the run carries on the one that made the revision, so that its failure is the revision's."""
    wake_at: float | None = None
    because: str = ""
    changed_outside: bool = False
    gone: bool = False
    """Whether the release is known to be gone, or to be going."""

    @property
    def released(self) -> bool:
        """Whether the release is as desired already."""
        return self.operation is Operation.FINISH and not self.wait


def decide(desired: Desired, observed: Observed) -> Decision:
    """Return what to do now. The rules stand in their order of precedence."""
    memory, newest = observed.memory, observed.newest
    handled = desired.digest.matches(memory.digest) and memory.succeeded and not observed.force_requested
    held = _held(desired, observed)
    if desired.action is Action.SKIP:
        return _in_sync() if handled else held or _run(Operation.SKIP, "the spec says Skip")
    if desired.dry_run and desired.action is Action.DEPLOY:
        return _in_sync() if handled else held or _run(Operation.DRY_RUN, "the spec says dryRun")

    if desired.action is Action.DESTROY and not observed.ownership.owns(observed.revisions):
        # There is nothing, or what is there stays, so that nobody's lock matters.
        return _in_sync() if handled else held or _run(Operation.UNINSTALL, "the spec says Destroy")
    if wait := wait_for_lock(desired, observed):
        return wait
    if desired.action is Action.DESTROY:
        return held or _run(Operation.UNINSTALL, "the spec says Destroy")
    unlock = newest if newest is not None and (newest.pending or newest.status == UNINSTALLING) else None
    return _decide_deploy(desired, observed, handled=handled, held=held, unlock=unlock)


def wait_for_lock(desired: Desired, observed: Observed) -> Decision | None:
    """Return that another Helm operation is to be waited for, or None."""
    newest = observed.newest
    if newest is None or (free_at := _free_at(desired, observed)) <= observed.now:
        return None
    going = newest.status == UNINSTALLING
    doing = "uninstalls the release" if going else "works on the release"
    return Decision(
        Verdict.WAIT_FOR_LOCK,
        wake_at=free_at,
        because=f"Another Helm operation {doing} (revision {newest.number} is {newest.status})",
        gone=going,
    )


def _decide_deploy(
    desired: Desired, observed: Observed, *, handled: bool, held: Decision | None, unlock: Revision | None
) -> Decision:
    memory, newest = observed.memory, observed.newest
    if newest is None:
        was_there = handled and memory.revision is not None
        why = "the release was removed from outside" if was_there else "the release does not exist"
        return held or _run(Operation.INSTALL, why, changed_outside=was_there, gone=was_there)
    if newest.status == UNINSTALLING:
        why = f"an uninstall of revision {newest.number} was interrupted; what it left is deployed over"
        return held or _run(Operation.UPGRADE, why, unlock=unlock, changed_outside=handled, gone=True)
    wanted = newest.status == DEPLOYED and desired.digest.matches(newest.digest) and not observed.force_requested
    if wanted and observed.newest_is_ours:
        if newest.number == memory.revision and handled:
            return _in_sync()
        if newest.number == memory.revision:
            return held or _finish(observed, "the release is deployed, the run is not finished")
        return held or _finish(observed, f"revision {newest.number} was deployed before a restart")
    if observed.newest_may_fail:
        unlock = newest  # else it would count as the good one to go back to
    if held:
        return held
    if handled:
        became = f"is {newest.status}" if newest.number == memory.revision else f"({newest.status}) was made"
        why = f"revision {newest.number} {became} from outside"
        gone = newest.status == UNINSTALLED
        return _run(Operation.UPGRADE, why, unlock=unlock, changed_outside=True, gone=gone)
    return _run(Operation.UPGRADE, "the input has changed or the last attempt failed", unlock=unlock)


def _held(desired: Desired, observed: Observed) -> Decision | None:
    memory = observed.memory
    if memory.failures == 0 or not desired.digest.matches(memory.digest) or not memory.current:
        return None
    if observed.retry_requested or observed.force_requested or memory.interrupted:
        return None
    if memory.retry_at is not None and memory.retry_at <= observed.now:
        return None
    return Decision(Verdict.HOLD, wake_at=memory.retry_at, because="the same input failed before")


def _free_at(desired: Desired, observed: Observed) -> float:
    """When the release may be worked on: at once unless another Helm operation does; by force, or when that must have ended."""
    newest = observed.newest
    if newest is None or observed.force_requested or newest.modified_at is None:
        return 0.0
    if newest.status == UNINSTALLING:
        ours = observed.uninstall_is_ours(desired)
    else:
        ours = not newest.pending or observed.newest_is_ours
    return 0.0 if ours else newest.modified_at + max(FOREIGN_LOCK_SECONDS, desired.timeout)


def _finish(observed: Observed, because: str) -> Decision:
    decision = _run(Operation.FINISH, because)
    return replace(
        decision,
        wait=observed.newest_is_unproven,
        may_fail=observed.newest_may_fail,
        continues=observed.newest_may_fail or observed.newest_is_unfinished,
    )


def _in_sync() -> Decision:
    return Decision(Verdict.IN_SYNC, because="in sync")


def _run(
    operation: Operation,
    because: str,
    *,
    unlock: Revision | None = None,
    changed_outside: bool = False,
    gone: bool = False,
) -> Decision:
    return Decision(
        Verdict.RUN,
        operation=operation,
        because=because,
        unlock=unlock,
        changed_outside=changed_outside,
        gone=gone,
    )
