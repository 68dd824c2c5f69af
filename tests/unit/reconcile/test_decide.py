"""Every state of a release against every action of the spec: what is decided, and why."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.helm.storage import PENDING, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.decide import (
    FOREIGN_LOCK_SECONDS,
    AwaitingReadiness,
    Desired,
    Hold,
    InSync,
    Observed,
    Plan,
    Run,
    Wait,
    decide,
)
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.last_run import LastRun
from managedchart_operator.reconcile.ownership import Ownership

NOW = 1_000_000.0
UID = "uid-1"
OWNERSHIP = Ownership(UID)
RECORDED_3 = Ownership(UID, recorded={3: NOW}, recorded_good=frozenset({3}))
"""The status records that a run of this resource ended with revision 3: a rollback carries other labels than its own."""
DEPLOY = Desired(Action.DEPLOY, Digest("wanted"))
DESTROY = Desired(Action.DESTROY, Digest("wanted"))
SKIP = Desired(Action.SKIP, Digest("wanted"))
DRY_RUN = Desired(Action.DEPLOY, Digest("wanted"), dry_run=True)

NEVER = LastRun()
DONE = LastRun(digest="wanted", ended_at=NOW - 60, revision=2)
LEFT_2 = replace(DONE, attempt="attempt-3", operation="Upgrade")
"""The last run was an upgrade by a plug-in that has left revision 2 as it was."""
OTHER_DONE = LastRun(digest="before", ended_at=NOW - 60, revision=2)
FAILED_LATER = LastRun(digest="wanted", failures=2, retry_at=NOW + 40, revision=2)
FAILED_DUE = replace(FAILED_LATER, retry_at=NOW)
STALLED = replace(FAILED_LATER, retry_at=None)
UNMARKED = replace(FAILED_DUE, phase=Phase.EXEC, ended_at=NOW - 5)
"""Revision 2 did not become ready, and could not be marked failed."""
KILLED_IN_EXEC = LastRun(digest="wanted", revision=1, proven=True, interrupted=True, phase=Phase.EXEC)
"""Revision 1 was good; then a run began, and the operator was killed while it deployed or waited."""


def revision(
    number: int,
    status: str = "deployed",
    *,
    digest: str | None = "wanted",
    owner: str | None = UID,
    attempt: str = "",
    operator_waits: bool = False,
) -> Revision:
    """A revision that this resource made by default; `attempt` is a label that another helm process carried over."""
    made = attempt or f"attempt-{number}"
    labelled_for = int(made.removeprefix("attempt-"))
    secret = f"sh.helm.release.v1.web.v{number}"
    return Revision(number, status, secret, digest, owner, made, labelled_for, operator_waits, modified_at=NOW - 10)


OWN = (revision(2), revision(1, "superseded", digest="before"))
OWN_BEFORE = (revision(2, digest="before"), revision(1, "superseded", digest="older"))
FAILED_2 = (revision(2, "failed"), revision(1, digest="before"))
WAITED_FOR = (revision(2, operator_waits=True), revision(1, "superseded", digest="before", operator_waits=True))
"""helm calls them deployed once they are applied; only the status says whether they became ready."""
CARRIED_OVER = (revision(3, attempt="attempt-2"), revision(2, "superseded"))
"""`helm upgrade` by hand: this resource's labels, the digest included, on a revision that it did not make."""
ROLLED_BACK = (
    revision(3, digest="before", attempt="attempt-1"),
    revision(2, "superseded"),
    revision(1, "superseded", digest="before"),
)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    promise: str
    desired: Desired
    revisions: tuple[Revision, ...]
    last: LastRun
    verdict: type[Plan]
    operation: Operation | None = None
    unlock: int | None = None
    wake_at: float | None = None
    deleted: bool = False
    changed_outside: bool = False
    rollback_is_own: bool = False
    retry: bool = False
    force: bool = False
    because: str = ""
    ownership: Ownership = OWNERSHIP

    def decide(self) -> Plan:
        return decide(
            self.desired,
            Observed(
                self.ownership,
                NOW,
                self.revisions,
                self.last,
                rollback_is_own=self.rollback_is_own,
                retry_requested=self.retry,
                force_requested=self.force,
            ),
        )


IN_SYNC, RUN, HOLD, WAIT = InSync, Run, Hold, Wait
INSTALL, UPGRADE, RESUME = Operation.INSTALL, Operation.UPGRADE, Operation.RESUME


def pending(status: str, *, owner: str | None = UID, age: float = 10, attempt: str = "") -> tuple[Revision, ...]:
    newest = replace(revision(2, status, owner=owner, attempt=attempt), modified_at=NOW - age)
    return (newest, revision(1, digest="before"))


FREE_AT = NOW - 10 + FOREIGN_LOCK_SECONDS
UNINSTALLING_2 = (revision(2, "uninstalling"),)
ENDED = replace(DONE, attempt="a")
"""The last run ended well, before somebody began an uninstall."""
OWN_UNINSTALLS = {
    "an own uninstall that was killed": replace(NEVER, attempt="a", operation="Uninstall"),
    "an own uninstall that failed": replace(FAILED_DUE, attempt="a", ended_at=NOW - 5),
    "an uninstall of an older operator that was killed": KILLED_IN_EXEC,
    "an uninstall of an older operator that failed": FAILED_DUE,
}

TABLE = [
    # ---- Deploy: there is nothing yet
    Case("a new resource is installed", DEPLOY, (), NEVER, RUN, INSTALL, because="does not exist"),
    Case("a spec that changed while nothing was there is installed", DEPLOY, (), OTHER_DONE, RUN, INSTALL),
    Case(
        "a release deleted by hand is reinstalled",
        DEPLOY,
        (),
        DONE,
        RUN,
        INSTALL,
        changed_outside=True,
        deleted=True,
    ),
    Case("after Destroy or Skip nothing was deleted by hand", DEPLOY, (), replace(DONE, revision=None), RUN, INSTALL),
    Case("a failed first install waits for its time", DEPLOY, (), FAILED_LATER, HOLD, wake_at=NOW + 40),
    Case("a failed first install is retried at its time", DEPLOY, (), FAILED_DUE, RUN, INSTALL),
    # ---- Deploy: it is deployed
    Case("what matches the spec is left alone", DEPLOY, OWN, DONE, IN_SYNC),
    Case("changed input is deployed", DEPLOY, OWN_BEFORE, OTHER_DONE, RUN, UPGRADE, because="values changed"),
    Case("a release that the run of a plug-in has left as it was is left alone", DEPLOY, OWN_BEFORE, LEFT_2, IN_SYNC),
    Case("and upgraded by force", DEPLOY, OWN_BEFORE, LEFT_2, RUN, UPGRADE, force=True),
    Case("and upgraded for another spec", DEPLOY, OWN_BEFORE, replace(LEFT_2, digest="older"), RUN, UPGRADE),
    *(
        Case(f"but not {what}", DEPLOY, revisions, last, RUN, UPGRADE, changed_outside=True)
        for what, revisions, last in (
            (
                "if the run made the revision, whose digest was changed",
                OWN_BEFORE,
                replace(LEFT_2, attempt="attempt-2"),
            ),
            ("if it was marked failed", (revision(2, "failed", digest="before"),), LEFT_2),
            ("if there is a later revision", ROLLED_BACK, LEFT_2),
            ("if the run deployed nothing", OWN_BEFORE, replace(LEFT_2, operation="DryRun")),
        )
    ),
    Case("an upgrade by hand is undone", DEPLOY, CARRIED_OVER, DONE, RUN, UPGRADE, changed_outside=True),
    Case("a rollback by hand is undone", DEPLOY, ROLLED_BACK, DONE, RUN, UPGRADE, changed_outside=True),
    Case(
        "a release that helm uninstalled with its history is reinstalled",
        DEPLOY,
        (revision(2, "uninstalled"),),
        DONE,
        RUN,
        UPGRADE,
        changed_outside=True,
        deleted=True,
        because="Revision 2 was marked uninstalled",
    ),
    Case("what was deployed before a restart is only resumed", DEPLOY, OWN, NEVER, RUN, RESUME, because="restart"),
    Case(
        "an upgrade that was deployed before a restart is only resumed",
        DEPLOY,
        OWN,
        replace(OTHER_DONE, revision=1),
        RUN,
        RESUME,
    ),
    Case(
        "an upgrade by hand is not own after a restart",
        DEPLOY,
        CARRIED_OVER,
        replace(OTHER_DONE, revision=1),
        RUN,
        UPGRADE,
    ),
    Case("deployed, but its run not ended, is only resumed", DEPLOY, OWN, replace(DONE, ended_at=None), RUN, RESUME),
    Case("the release of others is taken over", DEPLOY, (revision(1, owner=None, digest=None),), NEVER, RUN, UPGRADE),
    Case("force deploys even what is in sync", DEPLOY, OWN, DONE, RUN, UPGRADE, force=True),
    Case("retry does nothing about what is in sync", DEPLOY, OWN, DONE, IN_SYNC, retry=True),
    # ---- Deploy: it is deployed, and it is not known whether it became ready
    Case("a wait that a kill ended is restarted", DEPLOY, WAITED_FOR, KILLED_IN_EXEC, RUN, RESUME),
    Case(
        "what was never seen ready is not a good revision",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        KILLED_IN_EXEC,
        RUN,
        UPGRADE,
        unlock=2,
    ),
    Case(
        "what was never seen ready is not good by force either",
        DEPLOY,
        WAITED_FOR,
        KILLED_IN_EXEC,
        RUN,
        UPGRADE,
        unlock=2,
        force=True,
    ),
    Case(
        "what may have been ready for long stays a good revision",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        replace(KILLED_IN_EXEC, phase=Phase.PRE_EXEC),
        RUN,
        UPGRADE,
    ),
    Case(
        "what was ready once stays a good revision, also if a run that continues with it is stopped in exec",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        KILLED_IN_EXEC,
        RUN,
        UPGRADE,
        ownership=Ownership(UID, recorded={2: NOW}, recorded_good=frozenset({2})),
    ),
    Case(
        "one that a run after a lost status only waits for is not marked",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        replace(KILLED_IN_EXEC, attempt="other", revision=None, proven=False),
        RUN,
        UPGRADE,
    ),
    Case(
        "one that the run has made which was stopped in exec is marked",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        replace(KILLED_IN_EXEC, attempt="attempt-2"),
        RUN,
        UPGRADE,
        unlock=2,
    ),
    Case(
        "a failed revision that could not be marked is marked before the next one",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        UNMARKED,
        RUN,
        UPGRADE,
        unlock=2,
        ownership=Ownership(UID, recorded={2: NOW}),
    ),
    Case(
        "one that is not ready after a lost status is not taken for a failed one",
        replace(DEPLOY, digest=Digest("newer")),
        WAITED_FOR,
        UNMARKED,
        RUN,
        UPGRADE,
    ),
    # ---- Deploy: it failed
    Case("failed input waits for its time", DEPLOY, FAILED_2, FAILED_LATER, HOLD, wake_at=NOW + 40),
    Case("failed input is retried at its time", DEPLOY, FAILED_2, FAILED_DUE, RUN, UPGRADE),
    Case("stalled input waits for a change", DEPLOY, FAILED_2, STALLED, HOLD),
    Case("a retry request ends the wait", DEPLOY, FAILED_2, FAILED_LATER, RUN, UPGRADE, retry=True),
    Case("a retry request ends a stall", DEPLOY, FAILED_2, STALLED, RUN, UPGRADE, retry=True),
    Case("a force request ends a stall", DEPLOY, FAILED_2, STALLED, RUN, UPGRADE, force=True),
    Case(
        "another Helm operation on the release ends the wait",
        DEPLOY,
        FAILED_2,
        replace(FAILED_LATER, waited=True),
        RUN,
        UPGRADE,
    ),
    Case("a new generation ends a stall", DEPLOY, FAILED_2, replace(STALLED, current=False), RUN, UPGRADE),
    Case("new input does not wait for the old", DEPLOY, FAILED_2, replace(STALLED, digest="before"), RUN, UPGRADE),
    Case(
        "a retry that a kill interrupted is restarted",
        DEPLOY,
        FAILED_2,
        replace(STALLED, interrupted=True),
        RUN,
        UPGRADE,
    ),
    Case(
        "a retry that a kill interrupted in helm is taken over",
        DEPLOY,
        pending("pending-upgrade"),
        replace(STALLED, interrupted=True),
        RUN,
        UPGRADE,
        unlock=2,
    ),
    Case("a failed validation of what is deployed waits", DEPLOY, OWN, FAILED_LATER, HOLD, wake_at=NOW + 40),
    Case("a failed validation is retried without helm", DEPLOY, OWN, FAILED_DUE, RUN, RESUME),
    Case(
        "an own rollback does not shorten the wait",
        DEPLOY,
        ROLLED_BACK,
        replace(FAILED_LATER, revision=3),
        HOLD,
        wake_at=NOW + 40,
    ),
    Case(
        "the spec that an own rollback returned to needs no helm",
        replace(DEPLOY, digest=Digest("before")),
        ROLLED_BACK,
        replace(STALLED, revision=3, current=False),
        RUN,
        RESUME,
        ownership=RECORDED_3,
    ),
    Case(
        "what an own rollback deployed is in sync",
        replace(DEPLOY, digest=Digest("before")),
        ROLLED_BACK,
        replace(DONE, digest="before", revision=3),
        IN_SYNC,
        ownership=RECORDED_3,
    ),
    Case(
        "a revision by hand during a failed run is not own",
        DEPLOY,
        CARRIED_OVER,
        replace(FAILED_DUE, revision=3),
        RUN,
        UPGRADE,
    ),
    Case(
        "a record of an earlier release proves nothing about a revision of the same number",
        DEPLOY,
        (replace(CARRIED_OVER[0], stored_at=NOW + 100), CARRIED_OVER[1]),
        replace(DONE, revision=3),
        RUN,
        UPGRADE,
        changed_outside=True,
        ownership=RECORDED_3,
    ),
    # ---- Deploy: a Helm operation is in progress, or was killed
    *(
        Case(f"an own {status} is taken over at once", DEPLOY, pending(status), OTHER_DONE, RUN, UPGRADE, unlock=2)
        for status in ("pending-install", "pending-upgrade")
    ),
    *(
        Case(f"a foreign {status} is waited for", DEPLOY, pending(status, owner=None), DONE, WAIT, wake_at=FREE_AT)
        for status in sorted(PENDING)
    ),
    Case(
        "a revision by hand with this resource's labels is not own although the own one was deleted",
        DEPLOY,
        CARRIED_OVER[:1],
        DONE,
        RUN,
        UPGRADE,
        changed_outside=True,
    ),
    Case(
        "a rollback by hand to a deleted revision is waited for",
        DEPLOY,
        (revision(3, "pending-rollback", attempt="attempt-1"), revision(2, "superseded", digest="before")),
        DONE,
        WAIT,
        wake_at=FREE_AT,
    ),
    Case(
        "an upgrade by hand with this resource's labels is waited for",
        DEPLOY,
        (revision(3, "pending-upgrade", attempt="attempt-2"), *OWN),
        DONE,
        WAIT,
        wake_at=FREE_AT,
    ),
    Case(
        "a foreign lock is taken over after its timeout",
        DEPLOY,
        pending("pending-upgrade", owner=None, age=FOREIGN_LOCK_SECONDS),
        OTHER_DONE,
        RUN,
        UPGRADE,
        unlock=2,
    ),
    Case(
        "a lock of unknown age is taken over at once",
        DEPLOY,
        (replace(revision(1, "pending-install", owner=None), modified_at=None),),
        NEVER,
        RUN,
        UPGRADE,
        unlock=1,
    ),
    Case(
        "an own killed rollback is taken over at once",
        DEPLOY,
        pending("pending-rollback", attempt="attempt-1"),
        FAILED_DUE,
        RUN,
        UPGRADE,
        unlock=2,
        rollback_is_own=True,
    ),
    Case(
        "a rollback by hand is waited for",
        DEPLOY,
        (revision(3, "pending-rollback", attempt="attempt-1"), *OWN),
        DONE,
        WAIT,
        wake_at=FREE_AT,
    ),
    Case(
        "a lock does not shorten the wait of failed input",
        DEPLOY,
        pending("pending-upgrade"),
        FAILED_LATER,
        HOLD,
        wake_at=NOW + 40,
    ),
    Case(
        "force takes a foreign lock over at once",
        DEPLOY,
        pending("pending-upgrade", owner=None),
        DONE,
        RUN,
        UPGRADE,
        unlock=2,
        force=True,
        changed_outside=False,
    ),
    # ---- Deploy: an uninstall has begun
    *(
        Case(
            f"what is left of {whose} is deployed over",
            DEPLOY,
            UNINSTALLING_2,
            last,
            RUN,
            UPGRADE,
            unlock=2,
            deleted=True,
            because="The operator's uninstall of revision",
        )
        for whose, last in OWN_UNINSTALLS.items()
    ),
    Case(
        "an uninstall by hand that still runs is waited for",
        DEPLOY,
        UNINSTALLING_2,
        ENDED,
        WAIT,
        wake_at=FREE_AT,
        deleted=True,
    ),
    Case(
        "an uninstall by hand right after a successful run is waited for",
        DEPLOY,
        UNINSTALLING_2,
        replace(ENDED, ended_at=NOW - 10),
        WAIT,
        wake_at=FREE_AT,
        deleted=True,
    ),
    Case(
        "an uninstall by hand after a failed run is waited for",
        DEPLOY,
        UNINSTALLING_2,
        replace(FAILED_DUE, attempt="a", ended_at=NOW - 60),
        WAIT,
        wake_at=FREE_AT,
        deleted=True,
    ),
    Case(
        "an uninstall by hand during a killed upgrade is waited for",
        DEPLOY,
        UNINSTALLING_2,
        replace(KILLED_IN_EXEC, attempt="a", operation="Upgrade"),
        WAIT,
        wake_at=FREE_AT,
        deleted=True,
    ),
    Case(
        "an uninstall before a breaking version that was killed needs no wait",
        replace(DEPLOY, reinstalls=True),
        UNINSTALLING_2,
        replace(KILLED_IN_EXEC, attempt="a", operation="Upgrade"),
        RUN,
        UPGRADE,
        unlock=2,
        deleted=True,
    ),
    Case(
        "force takes over from an uninstall by hand",
        DEPLOY,
        UNINSTALLING_2,
        ENDED,
        RUN,
        UPGRADE,
        unlock=2,
        deleted=True,
        force=True,
    ),
    Case(
        "an uninstall by hand that must have ended is deployed over",
        DEPLOY,
        (replace(revision(2, "uninstalling"), modified_at=NOW - FOREIGN_LOCK_SECONDS),),
        ENDED,
        RUN,
        UPGRADE,
        unlock=2,
        deleted=True,
        changed_outside=True,
    ),
    Case(
        "a foreign uninstall is waited for",
        DEPLOY,
        (revision(2, "uninstalling", owner=None),),
        NEVER,
        WAIT,
        wake_at=FREE_AT,
        deleted=True,
    ),
    # ---- Destroy
    Case("Destroy uninstalls what is deployed", DESTROY, OWN, OTHER_DONE, RUN, Operation.UNINSTALL),
    Case("Destroy runs its phases even where nothing is", DESTROY, (), NEVER, RUN, Operation.UNINSTALL),
    Case("what was destroyed is left alone", DESTROY, (), DONE, IN_SYNC),
    Case("what came back after Destroy is uninstalled again", DESTROY, OWN, DONE, RUN, Operation.UNINSTALL),
    Case("Destroy uninstalls what failed", DESTROY, FAILED_2, NEVER, RUN, Operation.UNINSTALL),
    Case(
        "Destroy continues its own uninstall",
        DESTROY,
        (revision(2, "uninstalling"),),
        replace(NEVER, attempt="a", operation="Uninstall"),
        RUN,
        Operation.UNINSTALL,
    ),
    Case("a failed Destroy waits for its time", DESTROY, OWN, FAILED_LATER, HOLD, wake_at=NOW + 40),
    Case("a failed Destroy is retried at its time", DESTROY, OWN, FAILED_DUE, RUN, Operation.UNINSTALL),
    Case("a retry request ends the wait of Destroy", DESTROY, OWN, STALLED, RUN, Operation.UNINSTALL, retry=True),
    Case(
        "Destroy waits for an upgrade of its release by hand",
        DESTROY,
        (revision(3, "pending-upgrade", attempt="attempt-2"), *OWN),
        NEVER,
        WAIT,
        wake_at=FREE_AT,
    ),
    Case(
        "Destroy leaves a foreign release, whoever works on it",
        DESTROY,
        pending("pending-upgrade", owner=None)[:1],
        NEVER,
        RUN,
        Operation.UNINSTALL,
    ),
    Case("what Destroy has left is left alone", DESTROY, (revision(1, owner=None),), DONE, IN_SYNC),
    Case(
        "Destroy leaves a release that it only failed to take over",
        DESTROY,
        (revision(2, "failed"), revision(1, owner=None)),
        DONE,
        IN_SYNC,
    ),
    Case("Destroy takes an own lock over", DESTROY, pending("pending-upgrade"), NEVER, RUN, Operation.UNINSTALL),
    # ---- Skip
    Case("Skip runs its phases once", SKIP, OWN, OTHER_DONE, RUN, Operation.SKIP),
    Case("what was skipped is left alone", SKIP, OWN, DONE, IN_SYNC),
    Case("Skip ignores changes of the release", SKIP, CARRIED_OVER, DONE, IN_SYNC),
    Case("Skip ignores a deleted release", SKIP, (), DONE, IN_SYNC),
    Case("Skip waits for no lock", SKIP, pending("pending-upgrade", owner=None), NEVER, RUN, Operation.SKIP),
    Case("a failed Skip waits for its time", SKIP, OWN, FAILED_LATER, HOLD, wake_at=NOW + 40),
    Case("a failed Skip is retried at its time", SKIP, OWN, FAILED_DUE, RUN, Operation.SKIP),
    Case("a force request runs Skip again", SKIP, OWN, DONE, RUN, Operation.SKIP, force=True),
    # ---- dryRun
    Case("a dry run is done once", DRY_RUN, OWN, OTHER_DONE, RUN, Operation.DRY_RUN),
    Case("what was tried is left alone", DRY_RUN, OWN, DONE, IN_SYNC),
    Case("a dry run ignores changes of the release", DRY_RUN, (), DONE, IN_SYNC),
    Case("a dry run breaks no lock", DRY_RUN, pending("pending-upgrade"), NEVER, RUN, Operation.DRY_RUN),
    Case("a failed dry run waits for its time", DRY_RUN, OWN, FAILED_LATER, HOLD, wake_at=NOW + 40),
    Case("a failed dry run is retried at its time", DRY_RUN, OWN, FAILED_DUE, RUN, Operation.DRY_RUN),
    Case("dryRun changes nothing about Destroy", replace(DESTROY, dry_run=True), OWN, NEVER, RUN, Operation.UNINSTALL),
    Case("dryRun changes nothing about Skip", replace(SKIP, dry_run=True), OWN, NEVER, RUN, Operation.SKIP),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.promise)
def test_each_state_has_its_plan(case: Case) -> None:
    match case.decide():
        case Run() as run:
            assert case.verdict is RUN
            assert run.operation is case.operation
            assert (run.unlock.number if run.unlock else None) == case.unlock
            assert (run.deleted, run.changed_outside) == (case.deleted, case.changed_outside)
            assert run.because
            assert case.because in run.because
        case Wait(until, because, deleted):
            assert (case.verdict, until, deleted) == (WAIT, case.wake_at, case.deleted)
            assert because
        case Hold(until):
            assert (case.verdict, until) == (HOLD, case.wake_at)
        case plan:
            assert isinstance(plan, case.verdict)


@pytest.mark.parametrize(
    ("revisions", "last", "awaiting"),
    [
        (WAITED_FOR, KILLED_IN_EXEC, AwaitingReadiness(fail_on_timeout=True)),
        (WAITED_FOR, replace(KILLED_IN_EXEC, phase=Phase.PRE_EXEC), AwaitingReadiness(fail_on_timeout=False)),
        (WAITED_FOR, NEVER, AwaitingReadiness(fail_on_timeout=False)),
        (WAITED_FOR, replace(FAILED_DUE, proven=False), AwaitingReadiness(fail_on_timeout=False)),
        (WAITED_FOR, replace(FAILED_DUE, proven=True), None),
        (OWN, KILLED_IN_EXEC, None),
    ],
    ids=[
        "killed while it waited",
        "killed, and the status does not say when",
        "the status was lost",
        "failed before without being marked",
        "ready once, what follows exec failed",
        "helm has waited",
    ],
)
def test_an_unproven_wait_is_resumed(
    revisions: tuple[Revision, ...], last: LastRun, awaiting: AwaitingReadiness | None
) -> None:
    """And only what a killed run has just made may fail: anything else may have long been good."""
    plan = decide(DEPLOY, Observed(OWNERSHIP, NOW, revisions, last))
    assert isinstance(plan, Run)
    assert (plan.operation, plan.awaiting) == (RESUME, awaiting)
    assert plan.released is (awaiting is None)


def test_the_table_names_each_promise_once() -> None:
    promises = [case.promise for case in TABLE]
    assert len(promises) == len(set(promises))


def test_a_foreign_lock_lasts_the_specs_timeout() -> None:
    """A long timeout in the spec means that this chart takes long, whoever deploys it."""
    observed = Observed(OWNERSHIP, NOW, pending("pending-upgrade", owner=None))
    slow = decide(replace(DEPLOY, timeout=900.0), observed)
    assert isinstance(slow, Wait)
    assert slow.until == NOW - 10 + 900
    quick = decide(replace(DEPLOY, timeout=1.0), observed)
    assert isinstance(quick, Wait)
    assert quick.until == FREE_AT


# ---- whatever the state

STATUSES = ["deployed", "failed", "superseded", "uninstalling", "uninstalled", "unknown", *sorted(PENDING)]
optional_times = st.none() | st.floats(NOW - 2000, NOW + 2000)
last_runs = st.builds(
    LastRun,
    digest=st.sampled_from([None, "wanted", "before"]),
    current=st.booleans(),
    revision=st.none() | st.integers(1, 5),
    failures=st.integers(0, 3),
    retry_at=optional_times,
    interrupted=st.booleans(),
    waited=st.booleans(),
    proven=st.booleans(),
    phase=st.sampled_from([None, *Phase]),
    attempt=st.sampled_from([None, "a"]),
    operation=st.sampled_from([None, *Operation]),
    ended_at=optional_times,
)
revisions = st.lists(
    st.builds(
        Revision,
        number=st.integers(1, 5),
        status=st.sampled_from(STATUSES),
        secret=st.just("s"),
        digest=st.sampled_from([None, "wanted", "before"]),
        owner=st.sampled_from([None, UID, "uid-2"]),
        attempt=st.sampled_from([None, "a", "b"]),
        labelled_for=st.one_of(st.none(), st.integers(1, 5)),
        operator_waits=st.booleans(),
        modified_at=optional_times,
        stored_at=optional_times,
    ),
    max_size=3,
    unique_by=lambda item: item.number,
).map(lambda items: tuple(sorted(items, key=lambda item: -item.number)))
ownerships = st.builds(
    Ownership,
    st.just(UID),
    recorded=st.dictionaries(st.integers(1, 5), st.just(NOW)),
    recorded_good=st.frozensets(st.integers(1, 5)),
    destroyed=st.booleans(),
)
states = st.builds(
    Observed,
    ownership=ownerships,
    now=st.just(NOW),
    revisions=revisions,
    last=last_runs,
    rollback_is_own=st.booleans(),
    retry_requested=st.booleans(),
    force_requested=st.booleans(),
)
wishes = st.builds(
    Desired,
    action=st.sampled_from(Action),
    digest=st.just(Digest("wanted")),
    dry_run=st.booleans(),
    timeout=st.floats(1, 1000),
)


@given(desired=wishes, observed=states)
def test_there_is_always_a_plan(desired: Desired, observed: Observed) -> None:
    """A time, or a change of what failed."""
    match decide(desired, observed):
        case Wait(until, because):
            assert until > NOW
            assert because
        case Hold(until):
            assert observed.last.failures > 0
            assert until == observed.last.retry_at
            assert not observed.retry_requested
            assert not observed.force_requested
        case Run() as run:
            assert run.because


def operation_of(plan: Plan) -> Operation | None:
    """What a plan does with the release."""
    return plan.operation if isinstance(plan, Run) else None


@given(desired=wishes, observed=states)
def test_nothing_is_uninstalled_unless_the_spec_says_so(desired: Desired, observed: Observed) -> None:
    if operation_of(decide(desired, observed)) is Operation.UNINSTALL:
        assert desired.action is Action.DESTROY


@given(desired=wishes, observed=states)
def test_only_what_the_spec_asks_for_is_done(desired: Desired, observed: Observed) -> None:
    """Skip touches nothing, a dry run changes nothing, Destroy deploys nothing."""
    operation = operation_of(decide(desired, observed))
    if operation is None:
        return
    allowed = {
        Action.SKIP: {Operation.SKIP},
        Action.DESTROY: {Operation.UNINSTALL},
        Action.DEPLOY: {Operation.DRY_RUN} if desired.dry_run else {INSTALL, UPGRADE, RESUME},
    }
    assert operation in allowed[desired.action]


@given(desired=wishes, observed=states)
def test_only_free_locks_are_broken(desired: Desired, observed: Observed) -> None:
    plan = decide(desired, observed)
    if isinstance(plan, Run) and plan.unlock is not None:
        assert plan.unlock is observed.newest
        going = plan.unlock.status == "uninstalling"
        assert plan.unlock.pending or going or observed.newest_may_fail
        ours = observed.uninstall_is_own(desired) if going else observed.newest_is_own
        ended = (plan.unlock.modified_at or 0.0) + FOREIGN_LOCK_SECONDS <= NOW
        assert ours or ended or observed.force_requested


@given(observed=states)
def test_in_sync_means_deployed_and_recorded(observed: Observed) -> None:
    if isinstance(decide(DEPLOY, observed), InSync):
        newest = observed.newest
        assert newest is not None
        assert (newest.status, newest.digest, newest.number) == ("deployed", "wanted", observed.last.revision)
        assert observed.newest_is_own
        assert observed.last.succeeded


def test_a_digest_of_an_earlier_operator_counts() -> None:
    """Otherwise a new operator would deploy every release again, and retry what was given up."""
    desired = replace(DEPLOY, digest=Digest("2-new", lambda: "wanted"))
    assert decide(desired, Observed(OWNERSHIP, NOW, OWN, DONE)) == InSync()
    assert isinstance(decide(desired, Observed(OWNERSHIP, NOW, FAILED_2, STALLED)), Hold)
    assert operation_of(decide(desired, Observed(OWNERSHIP, NOW, OWN_BEFORE, OTHER_DONE))) is UPGRADE
