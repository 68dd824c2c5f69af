"""Decides what to do about one release, from what the spec wants and what is in the cluster.

Every rule about releases is in this pure function, and a table test holds them; `Observed` carries the time. In sync means
that the newest revision is the one in the status, deployed, with the digest of the spec; the digest alone proves nothing, since
helm carries labels over to the next revision. Input that failed is not retried before its time. A release is uninstalled only
because the spec says so, or because a first install failed. One in the middle of an uninstall is deployed over when the spec
wants it, because its volume claims may still exist.
"""

from dataclasses import dataclass, field
from functools import partial

from managedchart_operator.api.spec import Action
from managedchart_operator.helm.storage import DEPLOYED, UNINSTALLED, UNINSTALLING, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.causes_of_runs import Input, Requests, cause_of
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.last_run import LastRun
from managedchart_operator.reconcile.ownership import Ownership

# How long another client's Helm operation may lock a release at least: helm's own default of --timeout.
FOREIGN_LOCK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class InSync:
    """Do nothing: the release matches the spec."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing yet, since the same input has failed. `until` is when to retry, None for not without a change."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for another Helm operation; its lock is taken over at `until`. `because` begins a sentence."""

    until: float
    because: str
    deleted: bool = False
    """Whether that operation uninstalls the release."""


@dataclass(frozen=True, slots=True)
class AwaitingReadiness:
    """The newest revision is applied, and its objects have not been seen ready yet."""

    fail_on_timeout: bool
    """Whether the revision counts as failed if they do not become ready in time."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run the lifecycle. `because` is a sentence for Events and logs."""

    operation: Operation
    because: str
    unlock: Revision | None = None
    """A revision to mark failed first: no Helm operation works on it any more, and it is pending or was never seen ready."""
    awaiting: AwaitingReadiness | None = None
    """For `RESUME`: the wait for the release's objects, if it is not over."""
    continues: bool = False
    """For `RESUME`: whether the run continues the one that made the revision, so that its failure is the revision's."""
    changed_outside: bool = False
    deleted: bool = False
    """Whether the release is known to be deleted or being deleted."""

    @property
    def released(self) -> bool:
        """Whether the release matches the spec already."""
        return self.operation is Operation.RESUME and self.awaiting is None


Plan = InSync | Hold | Wait | Run


@dataclass(frozen=True, slots=True)
class Desired:
    """What the spec wants. `timeout` in seconds."""

    action: Action
    digest: Digest
    dry_run: bool = False
    timeout: float = 180.0
    reinstalls: bool = False
    """Whether an upgrade may uninstall first, since the spec names a breaking version."""
    chart_version: str | None = None
    retry_limit: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed: the revisions of the release, newest first, and what the status says about the last run."""

    ownership: Ownership
    now: float
    revisions: tuple[Revision, ...] = ()
    last: LastRun = field(default_factory=LastRun)
    rollback_is_own: bool = False
    """Whether the newest revision is a rollback by this operator that the status does not record."""
    retry_requested: bool = False
    force_requested: bool = False
    granted: bool = False
    """Whether the operator now has the permission without which the last run failed."""
    changed_cause: str = ""
    """What made the last run fail and has changed since: a LifecycleProfile, or a plug-in."""

    @property
    def newest(self) -> Revision | None:
        """The newest revision."""
        return self.revisions[0] if self.revisions else None

    @property
    def newest_is_own(self) -> bool:
        """Whether this resource's operator made the newest revision."""
        return self.newest is not None and (self.rollback_is_own or self.ownership.made(self.newest))

    def uninstall_is_own(self, desired: Desired) -> bool:
        """Whether a run of this operator, which is over, began the uninstall that the newest revision is in the middle of.

        An uninstall by another client began after the last run had ended, or while that run did something else.
        """
        newest, last = self.newest, self.last
        if newest is None or newest.owner != self.ownership.uid:
            return False
        if last.attempt is None:  # written by an earlier operator
            return last.interrupted or last.failures > 0
        if last.ended_at is not None:
            # Times are in whole seconds. A run that succeeded leaves no such revision.
            return last.failures > 0 and (newest.modified_at or 0.0) <= last.ended_at + 1
        return last.operation == Operation.UNINSTALL or desired.reinstalls

    @property
    def newest_is_unproven(self) -> bool:
        """Whether helm calls the newest revision deployed, but it is not known yet whether its objects became ready.

        An operator that is killed while it waits for them leaves such a revision.
        """
        newest, last = self.newest, self.last
        if newest is None or newest.status != DEPLOYED or not newest.operator_waits or not self.newest_is_own:
            return False
        if newest.labelled_for != newest.number:
            return False  # a rollback, for which helm has waited
        return newest.number != last.revision or not last.proven

    @property
    def newest_may_fail(self) -> bool:
        """Whether the newest revision fails if its objects do not become ready.

        Only if the status says that its run was in exec, otherwise a lost status would fail a revision that has long been good
        (that run is the one that made it, not one that only waited for it once more after the status was lost);
        or that it did fail, and helm still calls it deployed, since it could not be marked. And not if they were ready before,
        when a run that continues this one waits for them once more.
        """
        newest, last = self.newest, self.last
        if newest is None or self.ownership.was_good(newest) or not self.newest_is_unproven:
            return False
        if self.ownership.failed(newest):
            return True
        made_it = last.attempt is None or newest.is_of(last.attempt)  # an earlier operator has noted no attempt
        return newest.number != last.revision and last.stopped_in_exec and made_it

    @property
    def newest_is_unfinished(self) -> bool:
        """Whether the run that made the newest revision has not ended, so that the phases after exec may be missing.

        Nor has one whose phases after exec the API server did not answer.
        """
        newest, last = self.newest, self.last
        if newest is None or last.attempt is None or (last.ended_at is not None and not last.was_not_answered):
            return False
        return newest.is_of(last.attempt)

    @property
    def left_as_it_was(self) -> bool:
        """Whether the last run, which has succeeded, left the release as it was, as the lifecycle of a plug-in may do.

        The newest revision has the digest of an earlier spec then. Nobody has changed it since.
        """
        newest, last = self.newest, self.last
        if newest is None or newest.status != DEPLOYED or newest.number != last.revision or not self.newest_is_own:
            return False
        made_none = last.attempt is not None and not newest.is_of(last.attempt)
        return last.operation == Operation.UPGRADE and made_none


def decide(desired: Desired, observed: Observed) -> Plan:
    """Return what to do now. The rules are in order of precedence."""
    last = observed.last
    handled = desired.digest.matches(last.digest) and last.succeeded and not observed.force_requested
    held = _held(desired, observed)  # never where it is handled: only failures are held
    because = partial(_because, desired, observed)
    if desired.action is Action.SKIP:
        return InSync() if handled else held or Run(Operation.SKIP, because("spec.action is Skip"))
    if desired.dry_run and desired.action is Action.DEPLOY:
        return InSync() if handled else held or Run(Operation.DRY_RUN, because("spec.dryRun is true"))

    if desired.action is Action.DESTROY and not observed.ownership.owns(observed.revisions):
        # There is nothing to uninstall, or it stays: locks do not matter.
        return InSync() if handled else held or Run(Operation.UNINSTALL, because("spec.action is Destroy"))
    if waits_or_holds := wait_for_lock(desired, observed) or held:
        return waits_or_holds
    if desired.action is Action.DESTROY:
        return Run(Operation.UNINSTALL, because("spec.action is Destroy"))
    return _decide_deploy(desired, observed, handled=handled)


def wait_for_lock(desired: Desired, observed: Observed) -> Wait | None:
    """Return the wait for another Helm operation; None where there is none, or it must have ended, or by force."""
    newest = observed.newest
    if newest is None or newest.modified_at is None or observed.force_requested:
        return None
    uninstalling = newest.status == UNINSTALLING
    is_own = observed.uninstall_is_own(desired) if uninstalling else observed.newest_is_own
    free_at = newest.modified_at + max(FOREIGN_LOCK_SECONDS, desired.timeout)
    if is_own or not (newest.pending or uninstalling) or free_at <= observed.now:
        return None
    doing = "is uninstalling the release" if uninstalling else "is in progress"
    because = f"Another Helm operation {doing} (revision {newest.number} is {newest.status})"
    return Wait(free_at, because, deleted=uninstalling)


def _decide_deploy(desired: Desired, observed: Observed, *, handled: bool) -> Run | InSync:
    last, newest = observed.last, observed.newest
    if newest is None:
        was_there = handled and last.revision is not None
        absent = _because(desired, observed, "The release does not exist")
        why = "The release was deleted outside the operator" if was_there else absent
        return Run(Operation.INSTALL, why, changed_outside=was_there, deleted=was_there)
    if newest.status == UNINSTALLING:
        whose = "The operator's uninstall" if observed.uninstall_is_own(desired) else "Another client's uninstall"
        why = f"{whose} of revision {newest.number} did not finish"
        return Run(Operation.UPGRADE, why, unlock=newest, changed_outside=handled, deleted=True)
    wanted = newest.status == DEPLOYED and desired.digest.matches(newest.digest) and not observed.force_requested
    if wanted and observed.newest_is_own:
        if newest.number != last.revision:
            return _resume(observed, f"Revision {newest.number} was deployed before the operator restarted")
        return InSync() if handled else _resume(observed, "The release is deployed, but the run did not end")
    if handled and observed.left_as_it_was:
        return InSync()
    # One that may fail would otherwise count as the good one to roll back to.
    unlock = newest if newest.pending or observed.newest_may_fail else None
    if handled:
        change = f"was marked {newest.status}" if newest.number == last.revision else f"({newest.status}) was created"
        why = f"Revision {newest.number} {change} outside the operator"
        deleted = newest.status == UNINSTALLED
        return Run(Operation.UPGRADE, why, unlock=unlock, changed_outside=True, deleted=deleted)
    if newest.owner != observed.ownership.uid and newest.status != UNINSTALLED:
        why = _because(desired, observed, f"Taking over revision {newest.number}, which was not made by this resource")
    else:
        why = _because(desired, observed) or f"Revision {newest.number} does not match the spec"
    return Run(Operation.UPGRADE, why, unlock=unlock)


def _because(desired: Desired, observed: Observed, what: str = "") -> str:
    """Return a sentence about why a run begins: `what`, and what has happened since the last attempt."""
    last = observed.last
    now = Input(desired.digest.parts(), desired.digest.matches(last.digest), desired.chart_version)
    requests = Requests(
        retry=observed.retry_requested,
        force=observed.force_requested,
        granted=observed.granted,
        changed=observed.changed_cause,
    )
    cause = cause_of(now, last, requests, retry_limit=desired.retry_limit)
    sentence = "; ".join(filter(None, (what, cause)))
    return sentence[:1].upper() + sentence[1:] if not what else sentence


def _held(desired: Desired, observed: Observed) -> Hold | None:
    last = observed.last
    if last.failures == 0 or not desired.digest.matches(last.digest) or not last.current:
        return None
    if observed.retry_requested or observed.force_requested or observed.granted or observed.changed_cause:
        return None
    if last.interrupted or last.waited:
        return None
    if last.retry_at is not None and last.retry_at <= observed.now:
        return None
    return Hold(last.retry_at)


def _resume(observed: Observed, because: str) -> Run:
    awaiting = AwaitingReadiness(fail_on_timeout=observed.newest_may_fail) if observed.newest_is_unproven else None
    continues = observed.newest_may_fail or observed.newest_is_unfinished
    return Run(Operation.RESUME, because, awaiting=awaiting, continues=continues)
