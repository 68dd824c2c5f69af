"""Decides when a helm process may start: when there is memory for it, and not too many others use the CPU.

`runner` asks before each start. The namespaces of the ManagedCharts are served in turn, and none holds more than its share
(`fair_slots`); one process may always run, however little memory is left. A process that only waits for its objects holds no
apply slot.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from managedchart_operator.fair_slots import PAYER, FairSlots

MIB = 1024 * 1024

# What a helm process holds while it waits for its objects, and what one may grow to while it renders and applies: about 40 MiB
# of its own were measured with small charts (4.3.1; the 40 MiB of its program are shared), and a large chart takes more.
WAITING_BYTES = 48 * MIB
APPLYING_BYTES = 80 * MIB
# For the operator itself with thousands of resources, and helm's program.
RESERVED_BYTES = 350 * MIB

# Apart from a helm process that ends, nothing signals that memory has become free.
_POLL_SECONDS = 1.0


def processes_for(memory: int) -> int:
    """Return how many helm processes fit into so many bytes of memory: at least 4, at most 256."""
    return max(4, min(256, (memory - RESERVED_BYTES) // WAITING_BYTES))


def applies_for(cpus: float) -> int:
    """Return how many helm processes may use the CPU at once: two a core, since they wait for answers half of the time."""
    return max(2, round(2 * cpus))


class HelmSlots:
    """How many helm processes may exist (bounded by memory) and how many may apply at once (bounded by CPU).

    `free_memory` returns the bytes of memory that are free. `share` is that of a namespace; `lends` says whether one namespace
    may apply beyond it. Processes are never lent: one that waits for a hook may exist for hours, and its memory with it.
    """

    def __init__(
        self,
        *,
        processes: int,
        applies: int,
        free_memory: Callable[[], int],
        share: float = 1.0,
        lends: Callable[[], bool] = lambda: False,
    ) -> None:
        self.running = self.applying = 0
        self._free_memory = free_memory
        self._processes = FairSlots(processes, share=share)
        self._applies = FairSlots(applies, share=share, lends=lends)
        self._admission = asyncio.Lock()
        self._ended = asyncio.Event()

    @contextlib.asynccontextmanager
    async def process(self, *, applies: bool, namespace: str = "") -> AsyncIterator[Callable[[], None]]:
        """Wait until a helm process may start, and hold its slots. Yields a function that releases the apply slot earlier.

        It counts for the namespace, by default for the PAYER.
        """
        namespace = namespace or PAYER.get()
        with contextlib.ExitStack() as applying:
            if applies:
                await self._applies.acquire(namespace)
                self.applying += 1
                applying.callback(self._applied, namespace)
            async with self._processes.hold(namespace):
                await self._admit()
                self.running += 1
                try:
                    yield applying.close
                finally:
                    self.running -= 1
                    self._ended.set()

    async def _admit(self) -> None:
        """Wait until there is memory for one more process, and for those that may still grow."""
        async with self._admission:
            while self.running and self._free_memory() < max(self.applying, 1) * APPLYING_BYTES:
                self._ended.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), _POLL_SECONDS)

    def _applied(self, namespace: str) -> None:
        self.applying -= 1
        self._applies.release(namespace)
