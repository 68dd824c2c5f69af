"""Work that is done once for all who need it, and never waits in the queue of one of them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from managedchart_operator.charts.shared_work import SharedWork
from managedchart_operator.fair_slots import FairSlots


class Pulls:
    """Work that needs a slot of its namespace, and ends when it is told to."""

    def __init__(self) -> None:
        self.shared: SharedWork[str, str] = SharedWork()
        self.slots = FairSlots(2, share=0.5)
        self.begun: list[str] = []
        self.ends: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def start(self, namespace: str, key: str = "web") -> "asyncio.Task[str]":
        async def work(begin: Callable[[], Awaitable[None]]) -> str:
            async with self.slots.hold(namespace):
                await begin()
                self.begun.append(namespace)
                return await asyncio.shield(self.ends)

        return asyncio.create_task(self.shared.run(key, work))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_work_is_done_once() -> None:
    pulls = Pulls()
    tasks = [pulls.start(name) for name in "abcd"]
    await settle()
    assert pulls.begun == ["a"]
    assert pulls.slots.held == 1, "those that share it need no slot"
    pulls.ends.set_result("chart")
    assert await asyncio.gather(*tasks) == ["chart"] * 4
    assert await pulls.start("e") == "chart"
    assert pulls.begun == ["a", "e"], "nothing is remembered"


async def test_nobody_waits_in_the_queue_of_another_one() -> None:
    """S12b: a has asked for the chart first, but keeps its only slot busy."""
    pulls = Pulls()
    await pulls.slots.acquire("a")
    waits = pulls.start("a")
    await settle()
    task = pulls.start("b")
    await settle()
    assert pulls.begun == ["b"]
    pulls.ends.set_result("chart")
    assert await task == "chart"
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)


async def test_all_get_the_error() -> None:
    pulls = Pulls()
    tasks = [pulls.start(name) for name in "ab"]
    await settle()
    pulls.ends.set_exception(ValueError("no such chart"))
    for task in tasks:
        with pytest.raises(ValueError, match="no such chart"):
            await task


async def test_the_end_of_one_caller_is_not_that_of_the_others() -> None:
    pulls = Pulls()
    first, second, third = (pulls.start(name) for name in "abc")
    await settle()
    third.cancel()
    first.cancel()
    await settle()
    assert pulls.begun == ["a", "b"]
    pulls.ends.set_result("chart")
    assert await second == "chart"
    assert first.cancelled()
    assert third.cancelled()


async def test_other_work_is_not_shared() -> None:
    pulls = Pulls()
    tasks = [pulls.start("a", "web"), pulls.start("b", "db")]
    await settle()
    assert pulls.begun == ["a", "b"]
    pulls.ends.set_result("chart")
    await asyncio.gather(*tasks)
