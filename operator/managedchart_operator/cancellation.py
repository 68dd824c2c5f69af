"""Work that a cancel must not break off: the last step of something that was begun.

Boundary: knows nothing of what it waits for. Invariant: a cancel that comes meanwhile is neither obeyed too soon nor forgotten.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish_before_cancel(work: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """Return what a coroutine returns, and the cancel that came meanwhile, which the caller has to raise.

    Raises what the coroutine raises, or the cancel where there are both.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled and task.exception():
        raise cancelled
    return task.result(), cancelled
