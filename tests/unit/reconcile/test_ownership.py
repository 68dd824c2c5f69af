"""Whose a release is: what is proven, and what only looks so."""

from dataclasses import dataclass, replace

import pytest

from managedchart_operator.api.status import ManagedChartStatus, Phase, RevisionRecord
from managedchart_operator.helm.storage import Revision
from managedchart_operator.reconcile.history import release_uninstalled
from managedchart_operator.reconcile.ownership import Ownership

UID = "uid-1"
NOW = 1_000_000.0
NOTHING_RECORDED = Ownership(UID)
RECORDED = Ownership(UID, recorded={1: NOW, 2: NOW}, recorded_good=frozenset({1, 2}))


def revision(
    number: int, status: str = "deployed", *, owner: str | None = UID, labelled_for: int | None = None
) -> Revision:
    """A revision that this resource made, unless told otherwise."""
    return Revision(
        number, status, f"v{number}", "digest", owner, "attempt", labelled_for or number, stored_at=NOW - 10
    )


def others(number: int, status: str = "deployed") -> Revision:
    """A revision that has none of our labels."""
    return replace(revision(number, status, owner=None), labelled_for=None, attempt=None)


def by_hand(number: int, status: str = "deployed") -> Revision:
    """A revision that somebody made with helm on top of ours: it carries our labels."""
    return revision(number, status, labelled_for=number - 1)


@dataclass(frozen=True)
class Case:
    """Revisions, newest first: whether the release is ours to uninstall, and whether we have deployed it."""

    promise: str
    revisions: tuple[Revision, ...]
    owns: bool
    deployed: bool
    ownership: Ownership = NOTHING_RECORDED


TABLE = [
    Case("nothing is nobody's", (), owns=False, deployed=False),
    Case("what we installed is ours", (revision(1),), owns=True, deployed=True),
    Case("a failed first install is ours, and never was deployed", (revision(1, "failed"),), owns=True, deployed=False),
    Case("a first install that is under way is ours", (revision(1, "pending-install"),), owns=True, deployed=False),
    Case("what others installed is theirs", (others(1),), owns=False, deployed=False),
    Case("also if our name is on it", (revision(1, owner="uid-2"),), owns=False, deployed=False),
    Case("what we took over is ours", (revision(2), others(1, "superseded")), owns=True, deployed=True),
    Case("what we only failed to take over is theirs", (revision(2, "failed"), others(1)), owns=False, deployed=False),
    Case(
        "an upgrade by hand of our release leaves it ours",
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
        "a release of others where ours was before is theirs",
        (others(1),),
        owns=False,
        deployed=False,
        ownership=RECORDED,
    ),
    Case("a release that is gone was deployed by us", (), owns=False, deployed=True, ownership=RECORDED),
    Case(
        "a release that we have uninstalled is over",
        (),
        owns=False,
        deployed=False,
        ownership=replace(RECORDED, destroyed=True),
    ),
    Case(
        "what we took over and then began to uninstall is ours",
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
        "what we took over and have seen ready is ours",
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
def test_a_release_is_ours_only_with_proof(case: Case) -> None:
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
    ids=["made", "by hand", "a rollback of ours", "the number was used before", "of others"],
)
def test_a_revision_is_made_by_us_by_label_or_record(found: Revision, ownership: Ownership, *, made: bool) -> None:
    assert ownership.made(found) == made


def test_an_uninstall_ends_what_the_records_prove() -> None:
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
