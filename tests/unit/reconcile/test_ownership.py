"""Whose a release is: what is proven, and what only looks so."""

from dataclasses import dataclass, replace

import pytest

from managedchart_operator.api.status import ManagedChartStatus, Phase, RevisionRecord
from managedchart_operator.helm.storage import Revision
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.revision_history import release_uninstalled

UID = "uid-1"
NOW = 1_000_000.0
NOTHING_RECORDED = Ownership(UID)
RECORDED = Ownership(UID, recorded={1: NOW, 2: NOW}, recorded_good=frozenset({1, 2}))


def revision(
    number: int, status: str = "deployed", *, owner: str | None = UID, labelled_for: int | None = None
) -> Revision:
    """A revision that this resource made by default."""
    return Revision(
        number, status, f"v{number}", "digest", owner, "attempt", labelled_for or number, stored_at=NOW - 10
    )


def others(number: int, status: str = "deployed") -> Revision:
    """A revision without labels of this resource."""
    return replace(revision(number, status, owner=None), labelled_for=None, attempt=None)


def by_hand(number: int, status: str = "deployed") -> Revision:
    """A revision made by hand after one of this resource: helm carried the labels over."""
    return revision(number, status, labelled_for=number - 1)


@dataclass(frozen=True)
class Case:
    """Revisions, newest first: whether this resource may uninstall the release, and whether it deployed it."""

    promise: str
    revisions: tuple[Revision, ...]
    owns: bool
    deployed: bool
    ownership: Ownership = NOTHING_RECORDED


TABLE = [
    Case("nothing is nobody's", (), owns=False, deployed=False),
    Case("an installed release is own", (revision(1),), owns=True, deployed=True),
    Case("a failed first install is own, and never was deployed", (revision(1, "failed"),), owns=True, deployed=False),
    Case("a first install in progress is own", (revision(1, "pending-install"),), owns=True, deployed=False),
    Case("what others installed is theirs", (others(1),), owns=False, deployed=False),
    Case("also if our name is on it", (revision(1, owner="uid-2"),), owns=False, deployed=False),
    Case("a release that was taken over is own", (revision(2), others(1, "superseded")), owns=True, deployed=True),
    Case("what we only failed to take over is theirs", (revision(2, "failed"), others(1)), owns=False, deployed=False),
    Case(
        "an upgrade by hand leaves a release own",
        (by_hand(3), revision(2, "superseded")),
        owns=True,
        deployed=True,
    ),
    Case(
        "an upgrade by hand of what we failed to take over is theirs",
        (by_hand(3), revision(2, "failed"), others(1, "superseded")),
        owns=False,
        deployed=False,
    ),
    Case(
        "a later release of others is theirs",
        (others(1),),
        owns=False,
        deployed=False,
        ownership=RECORDED,
    ),
    Case("a deleted release was deployed here", (), owns=False, deployed=True, ownership=RECORDED),
    Case(
        "a release that we have uninstalled is over",
        (),
        owns=False,
        deployed=False,
        ownership=replace(RECORDED, destroyed=True),
    ),
    Case(
        "a taken over release in the middle of an uninstall is own",
        (revision(2, "uninstalling"), others(1, "superseded")),
        owns=True,
        deployed=True,
        ownership=RECORDED,
    ),
    Case(
        "what we took over and nobody has seen ready is theirs still",
        (replace(revision(2), operator_waits=True), others(1, "superseded")),
        owns=False,
        deployed=False,
    ),
    Case(
        "a taken over release that was seen ready is own",
        (replace(revision(2), operator_waits=True), others(1, "superseded")),
        owns=True,
        deployed=True,
        ownership=RECORDED,
    ),
    Case(
        "an uninstall by hand of what we failed to take over is theirs",
        (revision(2, "uninstalling"), others(1, "superseded")),
        owns=False,
        deployed=False,
    ),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.promise)
def test_a_release_is_own_only_with_proof(case: Case) -> None:
    assert case.ownership.owns(case.revisions) == case.owns
    assert case.ownership.deployed(case.revisions) == case.deployed


@pytest.mark.parametrize(
    ("found", "ownership", "made"),
    [
        (revision(2), NOTHING_RECORDED, True),
        (by_hand(2), NOTHING_RECORDED, False),
        (by_hand(2), RECORDED, True),
        (replace(by_hand(2), stored_at=NOW + 60), RECORDED, False),
        (others(2), RECORDED, False),
    ],
    ids=["made", "by hand", "an own rollback", "the number was used before", "of others"],
)
def test_label_or_record_proves_a_revision(found: Revision, ownership: Ownership, *, made: bool) -> None:
    assert ownership.made(found) == made


def test_records_prove_nothing_after_an_uninstall() -> None:
    """A release that was made again under the same name, by whomever, is another one, whatever the phase says by then."""
    record = RevisionRecord(revision=1, action="Install", outcome="deployed", time="1970-01-12T13:46:40Z")
    status = ManagedChartStatus(history=[record])
    assert Ownership.of(UID, status).deployed(())
    release_uninstalled(status)
    assert not Ownership.of(UID, status).deployed(())
    assert [found.outcome for found in status.history] == ["uninstalled"]


def test_the_records_come_from_the_status() -> None:
    """What a run ended with; a time that cannot be read proves nothing."""
    status = ManagedChartStatus(
        phase=Phase.DESTROYED,
        history=[
            RevisionRecord(revision=3, action="Rollback", outcome="deployed", time="1970-01-12T13:46:40Z"),
            RevisionRecord(revision=2, action="Upgrade", outcome="failed", time="1970-01-12T13:46:40Z"),
            RevisionRecord(revision=1, action="Install", outcome="deployed", time="yesterday"),
        ],
    )
    found = Ownership.of(UID, status)
    assert found.recorded == {3: NOW, 2: NOW, 1: 0.0}
    assert found.destroyed
    assert [found.was_good(by_hand(number)) for number in (1, 2, 3)] == [False, False, True]
    assert [found.failed(by_hand(number)) for number in (1, 2, 3)] == [False, True, False]


def test_rollbacks_of_earlier_operators_are_recognised() -> None:
    """Their descriptions are in helm's history."""
    ownership = Ownership("uid-1")
    assert ownership.marks_rollback(f"Rollback to 2{ownership.rollback_mark}")
    assert ownership.marks_rollback("Rollback to 2 by managedchart.dev/owner uid-1")
    assert not ownership.marks_rollback("Rollback to 2 by managedchart.dev/owner uid-2")
    assert not ownership.marks_rollback("Rollback to 2")
