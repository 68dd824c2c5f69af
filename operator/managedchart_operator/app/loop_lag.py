"""Measures how late the event loop is: one number that shows whether something blocks it, and so every resource.

It only measures; use a profiler to find what blocks.
"""

import asyncio

# The largest measuring error. Ten wake-ups a second cost less than a thousandth of a core.
_INTERVAL_SECONDS = 0.1


class LoopLag:
    """Wakes up regularly and keeps the longest delay."""

    def __init__(self) -> None:
        self.max_seconds = 0.0
        """The longest delay since the start, in seconds."""

    async def measure(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _INTERVAL_SECONDS
            await asyncio.sleep(_INTERVAL_SECONDS)
            self.max_seconds = max(self.max_seconds, loop.time() - due)
