"""One piece of work for all callers at the same time; callers do not affect each other."""

import asyncio

import pytest

from managedchart_operator.charts.store import SingleFlight


class Work:
    """Counts how often it runs; ends on request, and records whether it was cancelled."""

    def __init__(self) -> None:
        self.runs = 0
        self.cancelled = 0
        self.finish = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # cleaning up takes a moment
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return self.runs


async def started(flights: SingleFlight[str, int], work: Work, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.run("key", work)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_callers_at_the_same_time_share_one_run() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    tasks = await started(flights, work, 5)
    work.finish.set()
    assert await asyncio.gather(*tasks) == [1] * 5
    assert await flights.run("key", work) == 2


async def test_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    slow, quick = Work(), Work()
    quick.finish.set()
    (task,) = await started(flights, slow, 1)
    assert await flights.run("other", quick) == 1
    slow.finish.set()
    assert await task == 1


async def test_cancelling_one_caller_does_not_affect_the_others() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    first, second, third = await started(flights, work, 3)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.finish.set()
    assert await asyncio.gather(second, third) == [1, 1]
    assert work.cancelled == 0


async def test_cancelling_the_last_caller_ends_the_work() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    tasks = await started(flights, work, 2)
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (work.runs, work.cancelled) == (1, 1)
    work.finish.set()
    assert await flights.run("key", work) == 2


async def test_an_error_reaches_every_caller_and_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    tasks = await started(flights, work, 3)
    work.error = ValueError("no")
    work.finish.set()
    assert [type(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)] == [ValueError] * 3
    work.error = None
    assert await flights.run("key", work) == 2
