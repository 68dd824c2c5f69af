"""How the wait for a release ends, and what becomes of its revision."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.operations.resume import watched
from managedchart_operator.reconcile.release_run import ReleaseRun
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
