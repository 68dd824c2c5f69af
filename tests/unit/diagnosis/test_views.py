"""One watch for all who want to know: opened for the first, closed after the last."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from managedchart_operator.diagnosis.views import View, Views


class Watched:
    """Counts what is open."""

    def __init__(self, *, linger: float = 0.0) -> None:
        self.opened: list[str] = []
        self.open: set[str] = set()
        self.closed = asyncio.Event()
        self.views: Views[str, View] = Views(lambda _: View(), lambda key, _: [self._follow(key)], linger=linger)

    async def _follow(self, key: str) -> None:
        self.opened.append(key)
        self.open.add(key)
        try:
            await asyncio.Event().wait()
        finally:
            self.open.discard(key)
            self.closed.set()


@pytest.fixture
async def lingering() -> AsyncIterator[Watched]:
    watched = Watched(linger=0.05)
    yield watched
    await watched.views.close()


async def test_users_at_the_same_time_share_one_watch() -> None:
    watched = Watched()
    async with watched.views.use("a") as first:
        async with watched.views.use("a") as second, watched.views.use("b"):
            await asyncio.sleep(0)
            assert second is first
            assert watched.open == {"a", "b"}
        assert watched.open == {"a"}
    assert watched.open == set()
    assert sorted(watched.opened) == ["a", "b"]


async def test_users_one_after_another_share_a_watch_that_lingers(lingering: Watched) -> None:
    async with lingering.views.use("a") as first:
        await asyncio.sleep(0)
    async with lingering.views.use("a") as second:
        assert second is first
    await lingering.closed.wait()
    assert lingering.opened == ["a"]
    assert lingering.open == set()


async def test_a_watch_in_use_outlives_the_linger_of_its_first_user(lingering: Watched) -> None:
    async with lingering.views.use("a"):
        await asyncio.sleep(0)
    async with lingering.views.use("a"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lingering.closed.wait(), 0.15)
        assert lingering.open == {"a"}


async def test_what_lingers_is_closed_at_the_end() -> None:
    watched = Watched(linger=60)
    async with watched.views.use("a"):
        await asyncio.sleep(0)
    await watched.views.close()
    assert watched.open == set()


async def test_who_waits_for_a_change_is_woken_by_it() -> None:
    view = View()
    waiting = asyncio.create_task(view.wait_for_change(0))
    await asyncio.sleep(0)
    assert not waiting.done()
    view.tell()
    assert await waiting == 1
    assert await view.wait_for_change(0) == 1, "what has changed already is not waited for"
