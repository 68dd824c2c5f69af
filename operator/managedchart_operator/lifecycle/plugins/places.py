"""Decides when a process of a plug-in may work: as many at once as fit into the pod's memory at their limits.

A phase holds its place while its process works. While the operator works on the release for it (a rollout may take hours, and
needs slots of helm) it gives the place back, and gets one again before the process gets the answer. So the release of one never
waits for another plug-in, and nobody waits in a circle. A process that waits like this is counted by the memory that it uses,
as helm processes that wait are (`helm.slots`).
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from managedchart_operator.fair_slots import PAYER, FairSlots

MIB = 1024 * 1024
# How many processes may exist, including those that wait. One costs some 10 MiB beyond what it shares with the others.
PROCESSES = 32
FEWEST_PLACES = 2
"""With one place, a phase that hangs would stop the plug-ins of all other namespaces until its deadline."""
SERVER_BYTES = 64 * MIB
"""What the process takes from which the others are forked (measured: 60 MiB)."""

# Apart from a process that gives its place back, nothing signals that memory has become free.
_POLL_SECONDS = 1.0


def bytes_for(places: int, *, each: int) -> int:
    """Return the bytes that so many processes at their limits may take together."""
    return SERVER_BYTES + places * each


def places_for(spare: int, *, each: int) -> int:
    """Return how many processes may work at once.

    `spare` are the bytes that are left if everything else is at its limit and FEWEST_PLACES processes too. Half of them are for
    further ones, as helm processes without an apply slot need some too.
    """
    return FEWEST_PLACES + max(0, min(PROCESSES - FEWEST_PLACES, spare // 2 // each))


class Places:
    """The places of all namespaces. `each` is the limit of a process in bytes, `share` what one namespace may have of them."""

    def __init__(self, total: int, *, each: int, share: float) -> None:
        self.free_memory: Callable[[], int] = lambda: sys.maxsize
        """Returns how many bytes are free for plug-ins; without a limit until the operator is put together."""
        self.phases = FairSlots(PROCESSES, share=share)
        """Those whose processes exist."""
        self._working = FairSlots(total, share=share)
        self._each, self._admitted = each, 0
        self._admission = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def growth(self) -> int:
        """Bytes to which the processes that work may grow."""
        return self._admitted * self._each

    @asynccontextmanager
    async def hold(self) -> AsyncIterator["Place"]:
        """Wait for a place and hold it, for the PAYER."""
        namespace = PAYER.get()
        async with self.phases.hold(namespace):
            place = Place(self, namespace)
            await place.come_back()
            try:
                yield place
            finally:
                place.leave()

    async def take(self, namespace: str) -> None:
        """Wait until there is a place, and memory for what its process may take; one process may always work."""
        await self._working.acquire(namespace)
        try:
            async with self._admission:
                while self._admitted and self.free_memory() < self.growth + self._each:
                    self._freed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._freed.wait(), _POLL_SECONDS)
                self._admitted += 1
        except BaseException:
            self._working.release(namespace)
            raise

    def give_back(self, namespace: str) -> None:
        """Give a place back."""
        self._admitted -= 1
        self._freed.set()
        self._working.release(namespace)


class Place:
    """The place of one phase."""

    def __init__(self, places: Places, namespace: str) -> None:
        self._places, self._namespace = places, namespace
        self._held = False
        self._coming_back = asyncio.Lock()

    @asynccontextmanager
    async def left(self) -> AsyncIterator[None]:
        """Give the place back during a block, and have one again after it, unless the block is cancelled."""
        self.leave()
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self.come_back()
            raise
        await self.come_back()

    async def come_back(self) -> None:
        """Wait for a place, if the phase holds none."""
        async with self._coming_back:
            if not self._held:
                await self._places.take(self._namespace)
                self._held = True

    def leave(self) -> None:
        """Give the place back, if the phase holds one."""
        if self._held:
            self._held = False
            self._places.give_back(self._namespace)
