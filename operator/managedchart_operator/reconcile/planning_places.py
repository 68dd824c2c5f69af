"""How many passes may be without a plan at once: each sends requests to the API server, and holds a spec."""

import contextlib
from collections.abc import AsyncIterator

from managedchart_operator.fair_slots import FairSlots

# At a start every resource has a pass. Each sends requests to the API server, so more at once are not faster.
MAX_CONCURRENT_PLANS = 64
# Values take up to forty times the memory of their text, so of large specs a few are read at once.
LARGE_SPEC_BYTES = 256 * 1024
MAX_CONCURRENT_LARGE_PLANS = 4


class PlanningPlaces:
    """The places for passes that have no plan yet; `share` is that of a namespace."""

    def __init__(self, *, share: float = 1.0) -> None:
        self._all = FairSlots(MAX_CONCURRENT_PLANS, share=share)
        self._large = FairSlots(MAX_CONCURRENT_LARGE_PLANS, share=share)

    @contextlib.asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Hold a place while the block runs; `size` is that of the spec, in bytes."""
        # The large ones queue first, so that they take no place from others meanwhile.
        large = self._large.hold() if size > LARGE_SPEC_BYTES else contextlib.nullcontext()
        async with large, self._all.hold():
            yield
