"""Decides when a helm process may start: when there is memory for it, and not too many others use the CPU.

`runner` asks before each start. The namespaces of the ManagedCharts are served in turn, and none holds more than its share
(`fair_slots`); one process may always run, however little memory is left. A process that only waits for its objects holds no
apply slot.

Each process may grow to its limit (`child_limits`) until it has applied its objects. So there are only as many slots as such
processes fit into the pod's memory together, beside the operator, its workers and, where there are any, the processes of
plug-ins (`beside`); and while others take memory, because they wait for hooks, fewer start.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from managedchart_operator.fair_slots import PAYER, FairSlots
from managedchart_operator.helm.child_limits import DEFAULT_MEMORY_BYTES, LIGHT_MEMORY_BYTES, MIB
from managedchart_operator.worker import WORKERS
from managedchart_operator.worker_process import MEMORY_BYTES as WORKER_BYTES

# What a helm process holds while it waits for its objects: about 40 MiB of its own were measured with small charts (4.3.1; the
# 40 MiB of its program are shared).
WAITING_BYTES = 48 * MIB
# For the operator itself with thousands of resources, and helm's program.
RESERVED_BYTES = 350 * MIB
# Pulls, and the listing of CRDs, at once; they mostly wait for a repository. With one, a repository that never answers would
# hold up all others.
_FEWEST_LIGHT, _MOST_LIGHT = 2, 16

# Apart from a helm process that ends, nothing signals that memory has become free.
_POLL_SECONDS = 1.0


def processes_for(memory: int) -> int:
    """Return how many helm processes fit into so many bytes of memory: at least 4, at most 256."""
    return max(4, min(256, (memory - RESERVED_BYTES) // WAITING_BYTES))


def applies_for(cpus: float, memory: int, *, each: int = DEFAULT_MEMORY_BYTES, beside: int = 0) -> int:
    """Return how many helm processes may render and apply at once.

    Two a core, since they wait for answers half of the time, but only as many as fit into so many bytes of memory if each takes
    `each` bytes, and plug-ins `beside`; at least 1.
    """
    fit = (memory - memory_needed(applies=0, each=each, beside=beside)) // each
    return max(1, min(max(2, round(2 * cpus)), fit))


def light_for(memory: int, *, applies: int, each: int, beside: int = 0) -> int:
    """Return how many processes without an apply slot may run at once, as far as the others leave memory for them."""
    spare = memory - memory_needed(applies=applies, each=each, beside=beside)
    return max(_FEWEST_LIGHT, min(_MOST_LIGHT, _FEWEST_LIGHT + spare // LIGHT_MEMORY_BYTES))


def memory_needed(*, applies: int, each: int, beside: int = 0) -> int:
    """Return the bytes that all may take together, at their limits: the operator, its workers, helm, and plug-ins `beside`."""
    return RESERVED_BYTES + WORKERS * WORKER_BYTES + applies * each + _FEWEST_LIGHT * LIGHT_MEMORY_BYTES + beside


class HelmSlots:
    """How many helm processes may exist (bounded by memory) and how many may apply at once (bounded by CPU).

    `free_memory` returns the bytes of memory that are free. `light` processes at once have no apply slot. `growth` is what a
    process with one may grow to, in bytes. `share` is that of a namespace; `lends` says whether one namespace may apply beyond
    it. Processes are never lent: one that waits for a hook may exist for hours, and its memory with it.
    """

    def __init__(
        self,
        *,
        processes: int,
        applies: int,
        free_memory: Callable[[], int],
        light: int = _MOST_LIGHT,
        growth: int = DEFAULT_MEMORY_BYTES,
        share: float = 1.0,
        lends: Callable[[], bool] = lambda: False,
    ) -> None:
        self.running = self.applying = 0
        self._free_memory, self._growth = free_memory, growth
        self._lights = FairSlots(light, share=share)
        self._processes = FairSlots(processes, share=share)
        self._applies = FairSlots(applies, share=share, lends=lends)
        self._admission = asyncio.Lock()
        self._ended = asyncio.Event()

    @property
    def growth(self) -> int:
        """Bytes to which the processes that render and apply may grow."""
        return self.applying * self._growth

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
            light = contextlib.nullcontext() if applies else self._lights.hold(namespace)
            async with light, self._processes.hold(namespace):
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
            while self.running and self._free_memory() < max(self.applying, 1) * self._growth:
                self._ended.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), _POLL_SECONDS)

    def _applied(self, namespace: str) -> None:
        self.applying -= 1
        self._applies.release(namespace)
