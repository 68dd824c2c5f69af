"""How many passes may be without a plan at once: each sends requests to the API server, and holds a spec."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

# At a start every resource has a pass. Each sends requests to the API server, so more at once are not faster.
MAX_CONCURRENT_PLANS = 64
# Values take up to forty times the memory of their text, so of large specs a few are read at once.
LARGE_SPEC_BYTES = 256 * 1024
MAX_CONCURRENT_LARGE_PLANS = 4


@dataclass(frozen=True, slots=True)
class PlanningPlaces:
    """The places for passes that have no plan yet."""

    _all: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, MAX_CONCURRENT_PLANS))
    _large: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, MAX_CONCURRENT_LARGE_PLANS))

    @contextlib.asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Hold a place while the block runs; `size` is that of the spec, in bytes."""
        # The large ones queue first, so that they take no place from others meanwhile.
        async with self._large if size > LARGE_SPEC_BYTES else contextlib.nullcontext(), self._all:
            yield
