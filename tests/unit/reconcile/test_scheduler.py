"""One task a key: coalesced, interrupted, timed, drained, forgotten. Time is the loop's own, moved by hand."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable

import pytest

from managedchart_operator.api.resource import Key
from managedchart_operator.reconcile.scheduler import DEFECT_RETRY_SECONDS, Scheduler

WEB, DB = Key("apps", "web"), Key("apps", "db")


async def settle() -> None:
    """Let everything happen that can happen now."""
    for _ in range(10):
        await asyncio.sleep(0)


class Clock:
    """The clock of the running loop; nobody waits while it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        loop = asyncio.get_running_loop()
        real: Callable[[], float] = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead)

    async def advance(self, seconds: float) -> None:
        """Move time on and let its timers fire."""
        self._ahead += seconds
        await settle()


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Work:
    """A reconciler that records its runs, and ends when and how the test says."""

    def __init__(self) -> None:
        self.runs: Counter[Key] = Counter()
        self.timed: list[bool] = []
        self.now: Counter[Key] = Counter()
        self.most: Counter[Key] = Counter()
        self.cancelled: Counter[Key] = Counter()
        self.ended: Counter[Key] = Counter()
        self.delays: dict[Key, float | None] = {}
        self.errors: list[BaseException] = []
        self.open = asyncio.Event()
        self.open.set()
        self.cleaning = asyncio.Event()
        self.cleaning.set()

    async def __call__(self, key: Key, timed: bool) -> float | None:
        self.runs[key] += 1
        self.timed.append(timed)
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        try:
            await self.open.wait()
            if self.errors:
                raise self.errors.pop(0)
            self.ended[key] += 1
            return self.delays.get(key)
        except asyncio.CancelledError:
            self.cancelled[key] += 1
            await self.cleaning.wait()  # as ending helm takes its time
            raise
        finally:
            self.now[key] -= 1


@pytest.fixture
async def work() -> Work:
    return Work()


@pytest.fixture
async def scheduler(work: Work) -> Scheduler:
    return Scheduler(work)


# ---- requests


async def test_requests_before_the_run_begins_are_one_run(scheduler: Scheduler, work: Work) -> None:
    for _ in range(5):
        scheduler.request(WEB)
    await settle()
    assert work.runs[WEB] == 1


async def test_requests_during_a_run_are_one_run(scheduler: Scheduler, work: Work) -> None:
    """None of them is lost: what caused them may have come after the run had read the cluster."""
    work.open.clear()
    scheduler.request(WEB)
    await settle()
    for _ in range(5):
        scheduler.request(WEB)
    await settle()
    assert work.runs[WEB] == 1
    work.open.set()
    await settle()
    assert (work.runs[WEB], work.most[WEB]) == (2, 1)


async def test_a_request_at_the_end_is_kept(scheduler: Scheduler, work: Work) -> None:
    """Whatever step of the loop it falls into."""
    for steps in range(8):
        before = work.runs[WEB]
        scheduler.request(WEB)
        for _ in range(steps):
            await asyncio.sleep(0)
        begun = work.runs[WEB]
        scheduler.request(WEB)
        await settle()
        assert begun < work.runs[WEB] <= before + 2
    assert work.most[WEB] == 1


async def test_keys_do_not_wait_for_each_other(scheduler: Scheduler, work: Work) -> None:
    work.open.clear()
    scheduler.request(WEB)
    scheduler.request(DB)
    await settle()
    assert (work.now[WEB], work.now[DB]) == (1, 1)
    assert (scheduler.active, scheduler.running(WEB), scheduler.running(Key("apps", "other"))) == (2, True, False)
    scheduler.request(DB, interrupt=True)
    await settle()
    assert (work.cancelled[WEB], work.cancelled[DB]) == (0, 1)
    work.open.set()
    await settle()
    assert scheduler.active == 0


# ---- interrupts


async def test_an_interrupt_restarts_the_run(scheduler: Scheduler, work: Work) -> None:
    work.open.clear()
    scheduler.request(WEB)
    await settle()
    scheduler.request(WEB, interrupt=True)
    await settle()
    assert (work.cancelled[WEB], work.runs[WEB], work.now[WEB]) == (1, 2, 1)
    work.open.set()
    await settle()
    assert (work.ended[WEB], work.runs[WEB]) == (1, 2)


async def test_the_restart_waits_for_the_clean_up(scheduler: Scheduler, work: Work) -> None:
    """Two helms on one release is what must never be; also not by a second interrupt."""
    work.open.clear()
    work.cleaning.clear()
    scheduler.request(WEB)
    await settle()
    for _ in range(3):
        scheduler.request(WEB, interrupt=True)
        await settle()
        assert (work.runs[WEB], work.now[WEB]) == (1, 1)
    work.cleaning.set()
    work.open.set()
    await settle()
    assert (work.runs[WEB], work.most[WEB]) == (2, 1)


async def test_an_interrupt_of_nothing_is_a_request(scheduler: Scheduler, work: Work) -> None:
    scheduler.request(WEB, interrupt=True)
    await settle()
    assert (work.runs[WEB], work.cancelled[WEB]) == (1, 0)


async def test_an_interrupt_of_a_success_restarts_too(work: Work) -> None:
    """helm may be done in the moment it is cancelled; the request behind the interrupt still counts."""

    async def stubborn(key: Key, _: bool) -> float | None:
        work.runs[key] += 1
        try:
            await work.open.wait()
        except asyncio.CancelledError:
            return None
        return None

    scheduler = Scheduler(stubborn)
    work.open.clear()
    scheduler.request(WEB)
    await settle()
    work.open.set()
    scheduler.request(WEB, interrupt=True)
    await settle()
    assert work.runs[WEB] == 2


# ---- timers


async def test_a_delay_starts_another_run(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    work.delays[WEB] = 60.0
    scheduler.request(WEB)
    await settle()
    await clock.advance(59)
    assert work.runs[WEB] == 1
    work.delays[WEB] = None
    await clock.advance(2)
    assert work.runs[WEB] == 2
    await clock.advance(1000)
    assert work.runs[WEB] == 2


async def test_a_run_knows_that_only_its_time_has_come(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    """A request may be about a change, and is then never taken for the end of a delay."""
    work.delays[WEB] = 60.0
    scheduler.request(WEB)
    await settle()
    await clock.advance(61)
    scheduler.request(WEB)
    await settle()
    assert work.timed == [False, True, False]


async def test_a_request_together_with_the_timer_counts(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    work.delays[WEB] = 60.0
    scheduler.request(WEB)
    await settle()
    work.open.clear()
    await clock.advance(61)
    scheduler.request(WEB)
    work.open.set()
    await settle()
    assert work.timed == [False, True, False]


@pytest.mark.parametrize("delay", [0.0, -5.0])
async def test_a_negative_delay_runs_at_once(scheduler: Scheduler, work: Work, clock: Clock, delay: float) -> None:
    work.delays[WEB] = delay
    scheduler.request(WEB)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.delays[WEB] = None
    await clock.advance(0.01)
    assert work.runs[WEB] == 2


async def test_a_request_replaces_the_timer(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    """A fixed spec does not wait out the back-off of the broken one, and the old time brings no run of its own."""
    work.delays[WEB] = 60.0
    scheduler.request(WEB)
    await settle()
    await clock.advance(30)
    work.delays[WEB] = 100.0
    scheduler.request(WEB)
    await settle()
    assert work.runs[WEB] == 2
    await clock.advance(60)
    assert work.runs[WEB] == 2
    await clock.advance(50)
    assert work.runs[WEB] == 3


async def test_the_last_run_sets_the_timer(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    work.open.clear()
    work.delays[WEB] = 5.0
    scheduler.request(WEB)
    await settle()
    scheduler.request(WEB)
    work.open.set()
    await asyncio.sleep(0)
    work.delays[WEB] = None
    await settle()
    assert work.runs[WEB] == 2
    await clock.advance(10)
    assert work.runs[WEB] == 2


# ---- defects


async def test_an_unhandled_error_is_logged_and_retried(
    scheduler: Scheduler, work: Work, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at once, and not never."""
    work.errors.append(RuntimeError("a defect"))
    scheduler.request(WEB)
    await settle()
    assert (work.runs[WEB], scheduler.active) == (1, 0)
    assert "unhandled error while reconciling apps/web" in caplog.text
    assert "a defect" in caplog.text
    await clock.advance(DEFECT_RETRY_SECONDS - 1)
    assert work.runs[WEB] == 1
    await clock.advance(2)
    assert (work.runs[WEB], work.ended[WEB]) == (2, 1)


async def test_an_unexpected_cancellation_is_retried(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    """Something inside was cancelled by a defect; the resource must not be forgotten for it."""
    work.errors.append(asyncio.CancelledError())
    scheduler.request(WEB)
    await settle()
    assert (work.runs[WEB], scheduler.active) == (1, 0)
    await clock.advance(DEFECT_RETRY_SECONDS + 1)
    assert (work.runs[WEB], work.ended[WEB]) == (2, 1)


async def test_a_request_after_a_defect_does_not_wait(scheduler: Scheduler, work: Work) -> None:
    work.errors.append(RuntimeError("a defect"))
    scheduler.request(WEB)
    await settle()
    scheduler.request(WEB)
    await settle()
    assert work.ended[WEB] == 1


# ---- drain


async def test_drain_cancels_runs_and_refuses_requests(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    work.open.clear()
    for key in (WEB, DB):
        scheduler.request(key)
    await settle()
    scheduler.request(WEB)
    await scheduler.drain()
    assert (work.cancelled[WEB], work.cancelled[DB], scheduler.active) == (1, 1, 0)
    scheduler.request(WEB)
    scheduler.request(Key("apps", "new"), interrupt=True)
    await clock.advance(1000)
    assert (work.runs[WEB], work.runs[DB], work.runs[Key("apps", "new")]) == (1, 1, 0)


async def test_drain_waits_for_the_clean_up(scheduler: Scheduler, work: Work) -> None:
    """helm gets its time to mark its release failed."""
    work.open.clear()
    work.cleaning.clear()
    scheduler.request(WEB)
    await settle()
    draining = asyncio.create_task(scheduler.drain())
    await settle()
    assert not draining.done()
    work.cleaning.set()
    await draining
    assert work.now[WEB] == 0


async def test_drain_does_not_interrupt_the_clean_up(scheduler: Scheduler, work: Work) -> None:
    work.open.clear()
    work.cleaning.clear()
    scheduler.request(WEB)
    await settle()
    scheduler.request(WEB, interrupt=True)
    await settle()
    draining = asyncio.create_task(scheduler.drain())
    await settle()
    assert not draining.done()
    assert work.now[WEB] == 1
    work.cleaning.set()
    await draining
    assert (work.runs[WEB], work.now[WEB]) == (1, 0)


async def test_drain_ends_the_timers_too(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    work.delays[WEB] = 60.0
    scheduler.request(WEB)
    await settle()
    await scheduler.drain()
    await clock.advance(100)
    assert work.runs[WEB] == 1


async def test_drain_before_a_start_starts_nothing(scheduler: Scheduler, work: Work) -> None:
    scheduler.request(WEB)
    await scheduler.drain()
    assert work.runs[WEB] == 0
    await scheduler.drain()


# ---- memory


async def test_thousands_of_keys_leave_nothing_behind(scheduler: Scheduler, work: Work, clock: Clock) -> None:
    """Neither entries nor tasks, also after interrupts, defects and timers."""
    for round_ in range(3):
        keys = [Key("apps", f"{round_}-{number}") for number in range(1000)]
        for number, key in enumerate(keys):
            work.delays[key] = 5.0 if number % 2 else None
            scheduler.request(key)
            scheduler.request(key, interrupt=number % 3 == 0)
        work.errors = [RuntimeError("a defect") for _ in range(10)]
        await settle()
        work.delays.clear()
        await clock.advance(DEFECT_RETRY_SECONDS + 1)
        await settle()
        assert all(work.ended[key] for key in keys)
    assert scheduler.active == 0
    assert scheduler._entries == {}
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
