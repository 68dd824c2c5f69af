"""The decision: what to do about one release, from what is wanted and what is there.

Purpose: every rule about releases in one pure function, held by a table test. Boundary: no I/O, no clock; `Observed`
carries the time. Invariants: in sync means that the newest revision is the one in our status, deployed, with our digest
(helm carries labels over to the next revision, so the digest alone proves nothing); input that failed is not tried again
before its time; a release is uninstalled only because the spec says so, or because a first install failed. One that is in the
middle of an uninstall is deployed over when it is wanted: its volume claims, above all, may still be there.
"""

from dataclasses import dataclass, field

from managedchart_operator.api.spec import Action
from managedchart_operator.helm.storage import DEPLOYED, UNINSTALLED, UNINSTALLING, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.last_run import LastRun
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.plan import Hold, InSync, Plan, Run, Wait
from managedchart_operator.waiting.proof import AwaitingReadiness

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
class Observed:
    """What there is: the revisions of the release, newest first, and what the status says of the last run."""

    ownership: Ownership
    now: float
    revisions: tuple[Revision, ...] = ()
    last: LastRun = field(default_factory=LastRun)
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
        newest, last = self.newest, self.last
        if newest is None or newest.owner != self.ownership.uid:
            return False
        if last.attempt is None:  # as an earlier operator has left it
            return last.interrupted or last.failures > 0
        if last.ended_at is not None:
            # Whole seconds. A run that ended well has left no such revision.
            return last.failures > 0 and (newest.modified_at or 0.0) <= last.ended_at + 1
        return last.operation == Operation.UNINSTALL or desired.reinstalls

    @property
    def newest_is_unproven(self) -> bool:
        """Whether helm calls the newest revision deployed, but nobody knows yet whether its objects became ready.

        Such a one is left by an operator that was killed while it waited for them.
        """
        newest, last = self.newest, self.last
        if newest is None or newest.status != DEPLOYED or not newest.operator_waits or not self.newest_is_ours:
            return False
        if newest.labelled_for != newest.number:
            return False  # a rollback, for which helm has waited
        return newest.number != last.revision or not last.proven

    @property
    def newest_may_fail(self) -> bool:
        """Whether it is a failed revision if its objects do not become ready.

        Only if the status says that its run was in exec: else it may have been good for long, by a status that was lost.
        """
        newest, last = self.newest, self.last
        return (
            self.newest_is_unproven and last.stopped_in_exec and newest is not None and newest.number != last.revision
        )

    @property
    def newest_is_unfinished(self) -> bool:
        """Whether the run that made the newest revision has not ended: what follows exec may be left to do."""
        newest, last = self.newest, self.last
        if newest is None or last.attempt is None or last.ended_at is not None:
            return False
        return newest.is_of(last.attempt)


def decide(desired: Desired, observed: Observed) -> Plan:
    """Return what to do now. The rules stand in their order of precedence."""
    last, newest = observed.last, observed.newest
    handled = desired.digest.matches(last.digest) and last.succeeded and not observed.force_requested
    held = _held(desired, observed)
    if desired.action is Action.SKIP:
        return InSync() if handled else held or Run(Operation.SKIP, "the spec says Skip")
    if desired.dry_run and desired.action is Action.DEPLOY:
        return InSync() if handled else held or Run(Operation.DRY_RUN, "the spec says dryRun")

    if desired.action is Action.DESTROY and not observed.ownership.owns(observed.revisions):
        # There is nothing, or what is there stays, so that nobody's lock matters.
        return InSync() if handled else held or Run(Operation.UNINSTALL, "the spec says Destroy")
    if wait := wait_for_lock(desired, observed):
        return wait
    if desired.action is Action.DESTROY:
        return held or Run(Operation.UNINSTALL, "the spec says Destroy")
    unlock = newest if newest is not None and (newest.pending or newest.status == UNINSTALLING) else None
    return _decide_deploy(desired, observed, handled=handled, held=held, unlock=unlock)


def wait_for_lock(desired: Desired, observed: Observed) -> Wait | None:
    """Return that another Helm operation is to be waited for, or None."""
    newest = observed.newest
    if newest is None or (free_at := _free_at(desired, observed)) <= observed.now:
        return None
    going = newest.status == UNINSTALLING
    doing = "uninstalls the release" if going else "works on the release"
    return Wait(
        free_at,
        because=f"Another Helm operation {doing} (revision {newest.number} is {newest.status})",
        gone=going,
    )


def _decide_deploy(
    desired: Desired, observed: Observed, *, handled: bool, held: Hold | None, unlock: Revision | None
) -> Plan:
    last, newest = observed.last, observed.newest
    if newest is None:
        was_there = handled and last.revision is not None
        why = "the release was removed from outside" if was_there else "the release does not exist"
        return held or Run(Operation.INSTALL, why, changed_outside=was_there, gone=was_there)
    if newest.status == UNINSTALLING:
        why = f"an uninstall of revision {newest.number} was interrupted; what it left is deployed over"
        return held or Run(Operation.UPGRADE, why, unlock=unlock, changed_outside=handled, gone=True)
    wanted = newest.status == DEPLOYED and desired.digest.matches(newest.digest) and not observed.force_requested
    if wanted and observed.newest_is_ours:
        if newest.number == last.revision and handled:
            return InSync()
        if newest.number == last.revision:
            return held or _resume(observed, "the release is deployed, the run is not finished")
        return held or _resume(observed, f"revision {newest.number} was deployed before a restart")
    if observed.newest_may_fail:
        unlock = newest  # else it would count as the good one to go back to
    if held:
        return held
    if handled:
        became = f"is {newest.status}" if newest.number == last.revision else f"({newest.status}) was made"
        why = f"revision {newest.number} {became} from outside"
        gone = newest.status == UNINSTALLED
        return Run(Operation.UPGRADE, why, unlock=unlock, changed_outside=True, gone=gone)
    return Run(
        Operation.UPGRADE, "The spec, the chart or the values changed, or the last attempt failed", unlock=unlock
    )


def _held(desired: Desired, observed: Observed) -> Hold | None:
    last = observed.last
    if last.failures == 0 or not desired.digest.matches(last.digest) or not last.current:
        return None
    if observed.retry_requested or observed.force_requested or last.interrupted or last.waited:
        return None
    if last.retry_at is not None and last.retry_at <= observed.now:
        return None
    return Hold(last.retry_at)


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


def _resume(observed: Observed, because: str) -> Run:
    awaiting = AwaitingReadiness(fail_on_timeout=observed.newest_may_fail) if observed.newest_is_unproven else None
    continues = observed.newest_may_fail or observed.newest_is_unfinished
    return Run(Operation.RESUME, because, awaiting=awaiting, continues=continues)
