"""Runs one task per object: coalesces requests, interrupts runs, and owns the timers.

kopf cannot do this, since it runs the handlers of one object one after another and cancels none. The scheduler knows only keys
and a reconcile function. At most one reconcile of a key runs at any time, a request made while it runs is never lost, and
nothing runs after `drain`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from managedchart_operator.api.resource import Key

logger = logging.getLogger(__name__)

# After a defect that the reconciler did not record in the status: often enough to recover, too seldom to cost CPU.
DEFECT_RETRY_SECONDS = 30.0


@dataclass(slots=True)
class _Entry:
    wanted: bool = False
    timed: bool = False
    """Whether only the timer wants it: nothing is known to have changed."""
    worker: asyncio.Task[None] | None = None
    run: asyncio.Task[float | None] | None = None
    timer: asyncio.TimerHandle | None = None

    def cancel_run(self) -> None:
        """Cancel the run, once: a second cancel would interrupt its clean-up, and its helm process would meet the next one."""
        if self.run is not None and not self.run.cancelling():
            self.run.cancel()


class Scheduler:
    """Runs `reconcile(key, timed)` for each requested key; its result is the delay in seconds until the next run, or None.

    `timed` says that the delay of the last run is over, and that nobody has requested a run since.
    """

    def __init__(self, reconcile: Callable[[Key, bool], Coroutine[Any, Any, float | None]]) -> None:
        self._reconcile = reconcile
        self._entries: dict[Key, _Entry] = {}
        self._closing = False
        self._idle: Callable[[Key], None] = lambda _: None

    def when_idle(self, call: Callable[[Key], None]) -> None:
        """Set what is called with each key whose runs have all ended; it may request the key again."""
        self._idle = call

    def request(self, key: Key, *, interrupt: bool = False) -> None:
        """Reconcile this key soon; with `interrupt` a running reconcile is cancelled and restarted."""
        if self._closing:
            return
        entry = self._entries.setdefault(key, _Entry())
        entry.wanted, entry.timed = True, False
        if entry.timer:
            entry.timer.cancel()
            entry.timer = None
        if entry.worker is None:
            entry.worker = asyncio.create_task(self._work(key, entry), name=f"worker {key}")
        elif interrupt:
            entry.cancel_run()

    def _time_is_over(self, key: Key) -> None:
        self.request(key)
        if (entry := self._entries.get(key)) is not None:
            entry.timed = True

    def running(self, key: Key) -> bool:
        """Whether a reconcile of this key is running."""
        entry = self._entries.get(key)
        return entry is not None and entry.worker is not None

    @property
    def active(self) -> int:
        """How many keys are being reconciled now."""
        return sum(entry.worker is not None for entry in self._entries.values())

    async def drain(self) -> None:
        """Refuse further requests, cancel all runs, and return when they have ended."""
        self._closing = True
        workers = []
        for entry in self._entries.values():
            if entry.timer:
                entry.timer.cancel()
            entry.cancel_run()
            if entry.worker:
                workers.append(entry.worker)
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, key: Key, entry: _Entry) -> None:
        delay: float | None = None
        try:
            while entry.wanted and not self._closing:
                timed, entry.wanted, entry.timed = entry.timed, False, False
                entry.run = asyncio.create_task(self._reconcile(key, timed), name=f"reconcile {key}")
                delay = await self._outcome(key, entry.run)
        finally:
            entry.run = None
            entry.worker = None
            if self._closing or delay is None:
                if not entry.wanted:
                    self._entries.pop(key, None)
            else:
                entry.timer = asyncio.get_running_loop().call_later(max(delay, 0.0), self._time_is_over, key)
            self._idle(key)

    async def _outcome(self, key: Key, run: asyncio.Task[float | None]) -> float | None:
        await asyncio.wait([run])
        if run.cancelled():
            # By an interrupt, and the next run follows at once; or by a defect, and nothing else requests a run.
            return DEFECT_RETRY_SECONDS
        if error := run.exception():
            logger.error("unhandled error while reconciling %s", key, exc_info=error)
            return DEFECT_RETRY_SECONDS
        return run.result()
