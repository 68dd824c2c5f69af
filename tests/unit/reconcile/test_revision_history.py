"""`status.history` has the revisions that this resource made, however their runs ended."""

import asyncio
from dataclasses import replace

import pytest

from managedchart_operator.api.status import ManagedChartStatus, RevisionRecord
from managedchart_operator.errors import LifecycleError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.lifecycle import lifecycles
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.reconcile.revision_history import complete, remember
from unit.reconcile.world import World

BROKEN = "Error: UPGRADE FAILED: something else\n"


def history(world: World) -> list[tuple[int, str, str]]:
    """Number, action and outcome of each revision, the newest first."""
    return [(each["revision"], each["action"], each["outcome"]) for each in world.status.get("history", [])]


class Validating(Lifecycle):
    """Validates by failing, or by never ending."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
        self.reached = asyncio.Event()

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        self.reached.set()
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        return payload


def lifecycle(patch: pytest.MonkeyPatch, error: BaseException | None = None) -> Validating:
    found = Validating(error)
    patch.setattr(lifecycles, "find_lifecycle", lambda _: found)
    return found


@pytest.mark.parametrize(("atomic", "outcome"), [(False, "deployed"), (True, "uninstalled")])
async def test_a_first_install_that_is_not_validated_is_recorded(
    monkeypatch: pytest.MonkeyPatch, *, atomic: bool, outcome: str
) -> None:
    world = World()
    lifecycle(monkeypatch, LifecycleError("no answer", transient=False))
    world.put({"atomic": atomic})
    await world.reconcile()
    assert history(world) == [(1, "Install", outcome)]
    assert world.status["history"][0]["chartVersion"] == "1.0.0"


async def test_a_revision_is_recorded_before_the_phases_after_its_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may hang, or end with the operator; the next operator keeps what made it."""
    world = World()
    world.put()
    hanging = lifecycle(monkeypatch)
    run = asyncio.create_task(world.reconcile())
    await hanging.reached.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert history(world) == [(1, "Install", "deployed")]
    assert world.status["history"][0]["chartVersion"] == "1.0.0"

    monkeypatch.undo()
    await world.reconcile()
    assert history(world) == [(1, "Install", "deployed")]


async def test_a_revision_of_an_interrupted_run_is_recorded_at_the_end_of_the_next() -> None:
    world = World()
    world.put()
    await world.reconcile()
    world.put({"values": {"a": 1}})
    world.helm.killed_in = "upgrade"
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    assert history(world) == [(1, "Install", "deployed")]

    world.helm.killed_in = None
    world.put({"values": {"a": 2}})
    await world.reconcile()
    assert history(world) == [(3, "Upgrade", "deployed"), (2, "Upgrade", "failed"), (1, "Install", "deployed")]


async def test_revisions_of_others_are_not_recorded() -> None:
    world = World()
    world.secrets.add("superseded")
    world.secrets.add("deployed")
    world.put()
    await world.reconcile()
    assert history(world) == [(3, "Upgrade", "deployed")]


def revision(number: int, status: str) -> Revision:
    return Revision(
        number, status, f"v{number}", owner="uid", attempt="a", labelled_for=number, stored_at=1767225600.0 + number
    )


def record(number: int, *, time: str = "2026-01-01T01:00:00Z") -> RevisionRecord:
    return RevisionRecord(revision=number, action="Upgrade", outcome="deployed", time=time)


def test_the_last_five_are_kept_without_gaps() -> None:
    status = ManagedChartStatus(history=[record(9), record(8), record(6), record(5), record(1)])
    complete(status, [revision(n, "deployed" if n == 9 else "superseded") for n in range(9, 0, -1)], uid="uid")
    assert [each.revision for each in status.history] == [9, 8, 7, 6, 5]


def test_records_of_a_former_release_come_last() -> None:
    """They may have the numbers of new revisions."""
    former = [record(n, time="2025-01-01T00:00:00Z") for n in (7, 2, 1)]
    status = ManagedChartStatus(history=former)
    remember(status, revision(3, "deployed"), action="Upgrade", chart_version="2.0.0")
    complete(status, [revision(3, "deployed"), revision(2, "failed"), revision(1, "superseded")], uid="uid")
    assert [(each.revision, each.outcome) for each in status.history] == [
        (3, "deployed"), (2, "failed"), (1, "superseded"), (7, "deployed"),
    ]  # fmt: skip


def test_what_is_deployed_or_pending_is_not_called_ended() -> None:
    status = ManagedChartStatus()
    complete(status, [revision(3, "pending-upgrade"), revision(2, "deployed"), revision(1, "superseded")], uid="uid")
    assert [each.revision for each in status.history] == [1]


def test_what_was_only_stored_for_a_rollback_is_left_out() -> None:
    """The rollback has its labels."""
    made = RevisionRecord(revision=3, action="Rollback", outcome="deployed", digest="d1", time="2026-01-01T01:00:00Z")
    status = ManagedChartStatus(history=[made])
    prepared = replace(revision(2, "superseded"), digest="d1")
    complete(status, [revision(3, "deployed"), prepared, revision(1, "superseded")], uid="uid")
    assert [each.revision for each in status.history] == [3, 1]
