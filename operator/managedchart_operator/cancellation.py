"""Finishes a piece of work before a cancellation takes effect, such as the last step of something that was begun."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish_before_cancel(work: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """Return the result of a coroutine, and the cancellation that arrived meanwhile, which the caller must raise.

    Raises what the coroutine raises, or the cancellation if both happen.
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
