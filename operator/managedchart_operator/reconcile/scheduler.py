"""One task an object: coalesces requests, interrupts, and owns the timers.

Purpose: what kopf cannot do (it runs handlers of one object one after another and cancels none). Boundary: knows keys and a
reconcile function, nothing of charts. Invariants: at most one reconcile of a key runs at any time; a request made while it
runs is never lost; after `drain` nothing runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from managedchart_operator.api.resource import Key

logger = logging.getLogger(__name__)

# After a defect of our own that the reconciler did not turn into a status: often enough to heal, too seldom to burn CPU.
DEFECT_RETRY_SECONDS = 30.0


@dataclass(slots=True)
class _Entry:
    wanted: bool = False
    worker: asyncio.Task[None] | None = None
    run: asyncio.Task[float | None] | None = None
    timer: asyncio.TimerHandle | None = None

    def cancel_run(self) -> None:
        """Cancel the run, once: a second cancel would break off its cleaning up, and its helm would meet that of the next."""
        if self.run is not None and not self.run.cancelling():
            self.run.cancel()


class Scheduler:
    """Runs `reconcile(key)` for each requested key; its result is the delay in seconds until the next run, or None."""

    def __init__(self, reconcile: Callable[[Key], Awaitable[float | None]]) -> None:
        self._reconcile = reconcile
        self._entries: dict[Key, _Entry] = {}
        self._closing = False
        self._idle: Callable[[Key], None] = lambda _: None

    def when_idle(self, call: Callable[[Key], None]) -> None:
        """Call this with each key whose runs have all ended; it may request the key again."""
        self._idle = call

    def request(self, key: Key, *, interrupt: bool = False) -> None:
        """Reconcile this key soon; with `interrupt`, a run under way is cancelled and begun anew."""
        if self._closing:
            return
        entry = self._entries.setdefault(key, _Entry())
        entry.wanted = True
        if entry.timer:
            entry.timer.cancel()
            entry.timer = None
        if entry.worker is None:
            entry.worker = asyncio.create_task(self._work(key, entry), name=f"worker {key}")
        elif interrupt:
            entry.cancel_run()

    def running(self, key: Key) -> bool:
        """Whether a reconcile of this key is under way."""
        entry = self._entries.get(key)
        return entry is not None and entry.worker is not None

    @property
    def active(self) -> int:
        """How many keys are being reconciled now."""
        return sum(entry.worker is not None for entry in self._entries.values())

    async def drain(self) -> None:
        """Take no more requests, cancel what runs, and return when all of it has ended."""
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
                entry.wanted = False
                entry.run = asyncio.create_task(_as_coroutine(self._reconcile(key)), name=f"reconcile {key}")
                delay = await self._outcome(key, entry.run)
        finally:
            entry.run = None
            entry.worker = None
            if self._closing or delay is None:
                if not entry.wanted:
                    self._entries.pop(key, None)
            else:
                entry.timer = asyncio.get_running_loop().call_later(max(delay, 0.0), self.request, key)
            self._idle(key)

    async def _outcome(self, key: Key, run: asyncio.Task[float | None]) -> float | None:
        await asyncio.wait([run])
        if run.cancelled():
            # By an interrupt, and then the next run follows at once; or by a defect inside, and then nobody else asks again.
            return DEFECT_RETRY_SECONDS
        if error := run.exception():
            logger.error("reconciling %s broke", key, exc_info=error)
            return DEFECT_RETRY_SECONDS
        return run.result()


async def _as_coroutine(awaitable: Awaitable[float | None]) -> float | None:
    return await awaitable
