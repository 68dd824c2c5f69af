"""One watch for all users: opened for the first, closed after the last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from managedchart_operator.kube.shared_watch import View, Views


class Watched:
    """Counts what is open."""

    def __init__(self, *, linger: float) -> None:
        self.opened: list[str] = []
        self.open: set[str] = set()
        self.closed = asyncio.Event()
        self.views: Views[str, View] = Views(lambda key, _: [self._follow(key)], linger=linger)

    def use(self, key: str) -> AbstractAsyncContextManager[View]:
        return self.views.use(key, View)

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


async def test_users_at_the_same_time_share_one_watch(lingering: Watched) -> None:
    async with lingering.use("a") as first:
        async with lingering.use("a") as second, lingering.use("b"):
            await asyncio.sleep(0)
            assert second is first
            assert lingering.open == {"a", "b"}
        await lingering.closed.wait()
        assert lingering.open == {"a"}
        lingering.closed.clear()
    await lingering.closed.wait()
    assert lingering.open == set()
    assert sorted(lingering.opened) == ["a", "b"]


async def test_consecutive_users_share_a_lingering_watch(lingering: Watched) -> None:
    async with lingering.use("a") as first:
        await asyncio.sleep(0)
    async with lingering.use("a") as second:
        assert second is first
    await lingering.closed.wait()
    assert lingering.opened == ["a"]
    assert lingering.open == set()


async def test_a_watch_in_use_is_not_closed(lingering: Watched) -> None:
    async with lingering.use("a"):
        await asyncio.sleep(0)
    async with lingering.use("a"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lingering.closed.wait(), 0.15)
        assert lingering.open == {"a"}


async def test_each_use_restarts_the_linger_time() -> None:
    """It used to be closed when its first user had left for long enough."""
    watched = Watched(linger=60)
    async with watched.use("a"):
        pass
    first_end = watched.views._open["a"].end
    assert first_end is not None
    async with watched.use("a"):
        await asyncio.sleep(0)
    assert first_end.cancelled()
    assert watched.open == {"a"}
    await watched.views.close()
    assert watched.opened == ["a"]


async def test_a_broken_watch_gets_no_new_users() -> None:
    """Otherwise the users of a busy namespace would pass on a view that shows no more changes."""
    works = False

    async def follow() -> None:
        if works:
            await asyncio.Event().wait()

    views: Views[str, View] = Views(lambda *_: [follow()], linger=60)
    async with views.use("a", View) as broken:
        await asyncio.sleep(0)
        works = True
        async with views.use("a", View) as working:
            assert working is not broken
        async with views.use("a", View) as again:
            assert again is working
    async with views.use("a", View) as still:
        assert still is working, "the end of the broken one does not close it"
    await views.close()


async def test_close_closes_lingering_watches() -> None:
    watched = Watched(linger=60)
    async with watched.use("a"):
        await asyncio.sleep(0)
    await watched.views.close()
    assert watched.open == set()


async def test_a_change_wakes_those_who_wait() -> None:
    view, woken = View(), asyncio.Event()
    with view.wakes(woken):
        assert not woken.is_set()
        view.notify()
        assert woken.is_set()
        woken.clear()
    view.notify()
    assert not woken.is_set(), "nobody waits any more"


async def test_views_without_users_make_room() -> None:
    """The oldest first; with users only, a further view lists at an interval, so that no more connections are open."""
    watched = Watched(linger=60)
    watched.views.most = 2
    async with watched.use("a"):
        pass
    async with watched.use("b"):
        pass
    async with watched.use("c") as third, watched.use("b") as second:
        await asyncio.sleep(0)
        assert watched.open == {"b", "c"}
        assert third.polling.watches
        assert second.polling.watches
        async with watched.use("d") as fourth:
            assert not fourth.polling.watches
    async with watched.use("e") as fifth:
        assert fifth.polling.watches
    await watched.views.close()
