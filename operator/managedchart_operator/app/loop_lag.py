"""How late the event loop is.

Purpose: one number that tells whether anything blocks the loop, and with it every resource. Boundary: measures; what blocks
is found with a profiler. Invariant: costs ten wake-ups a second and nothing else.
"""

import asyncio

# A blocked loop is seen in full but for at most this much; ten wake-ups a second cost below a thousandth of a core.
_INTERVAL_SECONDS = 0.1


class LoopLag:
    """Wakes up regularly and keeps how late it was at worst."""

    def __init__(self) -> None:
        self.max_seconds = 0.0
        """The longest delay since the start, in seconds."""

    async def measure(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL_SECONDS
            await asyncio.sleep(_INTERVAL_SECONDS)
            self.max_seconds = max(self.max_seconds, loop.time() - due)
