"""How the wait for a release ends, and what becomes of its revision."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import lifecycle_runs
from managedchart_operator.reconcile.operations import install_or_upgrade, resume
from managedchart_operator.reconcile.operations.resume import watched
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.run_evidence import RunEvidence
from unit.reconcile.fakes import unavailable
from unit.reconcile.world import World

NOT_READY = HelmError("Deployment apps/web is not ready", reason=Reason.TIMEOUT, transient=True)


async def deployed(world: World) -> ReleaseRun:
    """A run whose revision helm calls deployed."""
    run = await world.release_run()
    labels = {"managedchart.dev/owner": "uid-web", "managedchart.dev/attempt": f"1.{run.attempt}"}
    world.secrets.add("deployed", labels)
    return run


async def fails() -> None:
    raise NOT_READY


@pytest.mark.parametrize("mark", [True, False])
async def test_the_operators_failed_wait_marks_the_revision(*, mark: bool) -> None:
    world = World()
    run = await deployed(world)
    with pytest.raises(OperatorError) as raised:
        await watched(run, fails, mark_failed=mark)
    assert raised.value is NOT_READY
    assert world.secrets.statuses == (["failed"] if mark else ["deployed"])


async def test_a_revision_of_others_is_never_marked() -> None:
    world = World()
    run = await world.release_run()
    world.secrets.add("deployed")
    with pytest.raises(OperatorError):
        await watched(run, fails, mark_failed=True)
    assert world.secrets.statuses == ["deployed"]


async def test_a_hopeless_wait_ends_with_its_cause() -> None:
    run = await deployed(World())
    cause = SimpleNamespace(reason=Reason.IMAGE_PULL, message="The image cannot be pulled", hint="Look at it.")
    ended = asyncio.Event()

    async def watch_over(work: Any, *, grace: float | None) -> Any:
        assert grace is not None
        work.close()
        ended.set()
        return cause

    ending = replace(
        run,
        evidence=cast("Any", SimpleNamespace(watch_over=watch_over)),
        spec=run.spec.model_copy(update={"wait": True, "fail_fast": True}),
    )
    with pytest.raises(HelmError) as raised:
        await watched(ending, fails, mark_failed=False)
    assert ended.is_set()
    assert (raised.value.reason, raised.value.message) == (Reason.IMAGE_PULL, "The image cannot be pulled")


async def test_a_cancelled_wait_marks_nothing() -> None:
    world = World()
    run = await deployed(world)
    waiting = asyncio.Event()

    async def waits() -> None:
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(watched(run, waits, mark_failed=True))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.secrets.statuses == ["deployed"]


@contextmanager
def nothing_is_marked(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The API server does not answer when a revision is written."""

    async def unanswered(*_: Any, **__: Any) -> None:
        raise unavailable()

    with monkeypatch.context() as outage:
        outage.setattr(world.secrets, "rewrite", unanswered)
        yield


@pytest.mark.parametrize("limit", [0, 5])
async def test_a_revision_that_could_not_be_marked_is_rolled_back_later(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """The API server did not answer when it failed: the next pass, or the retry, marks it. It never counts as a good one."""
    world = World()
    world.put({"values": {"a": 0}})
    await world.reconcile()
    never_ready(monkeypatch)
    with nothing_is_marked(world, monkeypatch):
        world.put({"values": {"a": 1}, "wait": True, "retry": {"limit": limit}})
        assert await world.reconcile() is not None, "it is decided later"
    assert world.secrets.statuses == ["superseded", "deployed"]
    assert [each["outcome"] for each in world.status["history"]] == ["failed", "deployed"]

    world.retry_now() if limit else world.put()
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]


async def test_a_revision_that_could_not_be_marked_is_marked_before_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the failure of a corrected spec would be rolled back to it."""
    world = World()
    world.put({"values": {"a": 0}})
    await world.reconcile()
    never_ready(monkeypatch)
    with nothing_is_marked(world, monkeypatch):
        world.put({"values": {"a": 1}, "wait": True})
        await world.reconcile()
    world.put({"values": {"a": 2}})
    await world.reconcile()

    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]


@pytest.mark.parametrize("limit", [0, 5])
async def test_a_failure_is_not_lost_in_an_outage(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """The release could not even be looked at when it failed: the next pass waits for it once more, and remedies it."""
    world = World()
    world.put({"values": {"a": 0}})
    await world.reconcile()
    never_ready(monkeypatch, then=lambda: setattr(world.secrets, "failure", unavailable()))
    world.put({"values": {"a": 1}, "wait": True, "retry": {"limit": limit}})
    assert await world.reconcile() is not None, "it is looked at again"

    never_ready(monkeypatch)
    world.secrets.failure = None
    world.put()
    await world.reconcile()
    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]
    assert world.status["lastFailure"]["reason"] == "Timeout"


@pytest.mark.parametrize("ends", [asyncio.CancelledError(), unavailable()], ids=["interrupted", "unanswered"])
async def test_two_changes_in_quick_succession_make_no_revision_a_good_one(
    monkeypatch: pytest.MonkeyPatch, ends: BaseException
) -> None:
    """The second run ends before it has marked the revision of the first, which was never seen ready."""
    world = World()
    world.put({"values": {"a": 0}})
    await world.reconcile()
    waited_for(monkeypatch, error=asyncio.CancelledError())
    world.put({"values": {"a": 1}, "wait": True})
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()

    async def unlock(*_: Any) -> None:
        raise ends

    with monkeypatch.context() as second:
        second.setattr(lifecycle_runs, "unlock", unlock)
        world.put({"values": {"a": 2}})
        with contextlib.suppress(asyncio.CancelledError):
            await world.reconcile()
    never_ready(monkeypatch)
    world.put({"values": {"a": 3}})
    await world.reconcile()

    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]


async def test_a_long_good_release_whose_status_was_lost_is_not_uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that looks at it again is interrupted by a changed spec, which fails: the release was good all the time."""
    world = World()
    world.put({"wait": True})
    waited_for(monkeypatch, error=None)
    await world.reconcile()
    world.api.status.clear()
    waited_for(monkeypatch, error=asyncio.CancelledError())
    world.put()
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    waited_for(monkeypatch, error=NOT_READY)
    world.put({"values": {"a": 1}})
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]


def never_ready(monkeypatch: pytest.MonkeyPatch, *, then: Callable[[], None] = lambda: None) -> None:
    """Let no release become ready from now on; `then` is called when one has failed."""
    waited_for(monkeypatch, error=NOT_READY, then=then)


def waited_for(
    monkeypatch: pytest.MonkeyPatch, *, error: BaseException | None, then: Callable[[], None] = lambda: None
) -> None:
    """Let the waits for releases end with this error from now on; `then` is called before."""

    async def until_ready(run: ReleaseRun) -> None:
        await run.storage.observe()
        then()
        if error is not None:
            raise error

    async def watch_over(_: RunEvidence, work: Any, *, grace: float | None) -> None:
        await work

    monkeypatch.setattr(install_or_upgrade, "until_ready", until_ready)
    monkeypatch.setattr(resume, "until_ready", until_ready)
    monkeypatch.setattr(RunEvidence, "watch_over", watch_over)
