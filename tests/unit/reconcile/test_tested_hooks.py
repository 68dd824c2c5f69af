"""The hooks of a release survive a `helm test` that is ended in the middle."""

import asyncio
from typing import Any

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.stored_release import decode, packed
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import release_extras, tested_hooks
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.release_extras import RunExtras
from managedchart_operator.reconcile.tested_hooks import hooks_kept
from unit.reconcile.fakes import unavailable
from unit.reconcile.world import World

SAVE = {"path": "a.yaml", "kind": "Job", "name": "save", "events": ["pre-delete"], "manifest": "kind: Job"}
TEST = {"path": "b.yaml", "kind": "Pod", "name": "one", "events": ["test"], "manifest": "kind: Pod"}


class UnderTest:
    """A release with two hooks, and a helm that takes one of them out of it, and does not end."""

    def __init__(self) -> None:
        self.world = World()
        self.world.secrets.add("deployed", {"managedchart.dev/owner": "uid-web"})
        self.hooks = [SAVE, TEST]
        self.begun = asyncio.Event()
        self.world.helm.run = self._run  # type: ignore[method-assign, assignment]

    @property
    def hooks(self) -> list[dict[str, Any]]:
        hooks: list[dict[str, Any]] = decode(self.world.secrets.secrets[1]).document["hooks"]
        return hooks

    @hooks.setter
    def hooks(self, hooks: list[dict[str, Any]]) -> None:
        secret = self.world.secrets.secrets[1]
        secret["data"]["release"] = packed({**decode(secret).document, "hooks": hooks})

    async def extras(self) -> RunExtras:
        return RunExtras(LifecycleRelease(await self.world.release_run(), Run(Operation.UPGRADE, "because")))

    async def _run(self, *_: Any, **__: Any) -> Any:
        self.hooks = [{**TEST, "last_run": {"phase": "Running", "started_at": "2999-01-01T00:00:00Z"}}]
        self.begun.set()
        await asyncio.Event().wait()


async def test_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_extras, "_TOGETHER_SECONDS", 0.01)
    tested = UnderTest()

    found = await (await tested.extras()).test(only=("one",), exclude=(), seconds=0.01)

    assert found.failed == ("one",)
    assert [each["name"] for each in tested.hooks] == ["save", "one"]
    assert tested.hooks[0] == SAVE


async def test_the_run_is_cancelled() -> None:
    """By a change of the spec, or a deletion: that needs the pre-delete hook."""
    tested = UnderTest()
    task = asyncio.create_task((await tested.extras()).test(only=(), exclude=("two",), seconds=60.0))
    await tested.begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each["name"] for each in tested.hooks] == ["save", "one"]


@pytest.mark.parametrize("conflicts", [2, 3])
async def test_the_secret_is_changed_meanwhile(monkeypatch: pytest.MonkeyPatch, conflicts: int) -> None:
    """Then it is read again, but not for ever."""
    tested = UnderTest()
    run, rewrite, left = await tested.world.release_run(), tested.world.secrets.rewrite, [conflicts]

    async def conflicting(*arguments: Any, **options: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise KubeError("changed", reason=Reason.API_UNAVAILABLE, transient=True, status=409)
        await rewrite(*arguments, **options)

    monkeypatch.setattr(tested.world.secrets, "rewrite", conflicting)
    async with hooks_kept(run.storage, run.journal):
        tested.hooks = [TEST]

    assert (tested.hooks == [SAVE, TEST]) is (conflicts == 2)
    assert bool(run.journal.take_warnings()) is (conflicts == 3)


async def test_an_outage_has_ended_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some seconds; without the hook that saves data, the next uninstall would lose it."""
    monkeypatch.setattr(tested_hooks, "_PAUSE_SECONDS", 0.0)
    tested = UnderTest()
    run, read, left = await tested.world.release_run(), tested.world.secrets.read, [3]
    async with hooks_kept(run.storage, run.journal):
        tested.hooks = [TEST]

        async def unanswered(**options: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0:
                raise unavailable()
            return await read(**options)

        monkeypatch.setattr(tested.world.secrets, "read", unanswered)

    assert tested.hooks == [SAVE, TEST]
    assert run.journal.take_warnings() == []


async def test_they_cannot_be_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and what has ended the tests is still what counts."""
    tested = UnderTest()
    extras = await tested.extras()

    async def refused(*_: Any, **__: Any) -> None:
        raise KubeError("no room", reason=Reason.OBJECT_INVALID, transient=False, status=422)

    monkeypatch.setattr(tested.world.secrets, "rewrite", refused)
    task = asyncio.create_task(extras.test(only=("one",), exclude=(), seconds=60.0))
    await tested.begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert extras.release.run.journal.take_warnings() == [
        (Reason.OBJECT_INVALID.value, "Hooks that helm test has left out of revision 1 are lost: no room")
    ]
