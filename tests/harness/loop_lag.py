"""Measures how long work holds up the event loop, so that the result does not depend on what else the machine does.

`app.loop_delays` leaves out the time without a core. Threads that work without Python's lock are not told from those that hold
it, so of several tries the best one counts: what blocks, blocks each time.
"""

import asyncio
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from managedchart_operator.app.loop_delays import Moment
from managedchart_operator.app.operator import give_way_to_the_loop

T = TypeVar("T")

MAX_SECONDS = 0.1
"""The promise of docs/security.md: no input holds up the event loop for longer."""
_TICK_SECONDS = 0.001
_TRIES = 3


async def longest_delay(work: Callable[[], Coroutine[Any, Any, T]]) -> float:
    """Return by how many seconds the work, or an exception that ends it, held up the loop of the caller, as in the operator."""
    best, interval = float("inf"), sys.getswitchinterval()
    give_way_to_the_loop()
    try:
        for _ in range(_TRIES):
            best = min(best, await _longest_delay(work()))
            if best <= MAX_SECONDS:
                break
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)
    return best


async def _longest_delay(work: Coroutine[Any, Any, Any]) -> float:
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        before = Moment.now()
        await asyncio.sleep(_TICK_SECONDS)
        longest = max(longest, before.held_up(asleep=_TICK_SECONDS))
    if not task.cancelled():
        task.exception()  # so that asyncio does not report it
    return longest


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    """Return by how many seconds a function holds up the loop while it runs in a thread."""
    return await longest_delay(lambda: asyncio.to_thread(function, *args, **kwargs))
