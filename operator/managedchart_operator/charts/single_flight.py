"""Runs a piece of work once for all callers that ask for it at the same time.

While work for a key runs, a further caller waits for it instead of starting it again. Cancelling one caller does not affect the
others; cancelling the last one cancels the work, and waits for its end. Nothing is remembered after the work has ended.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass(slots=True)
class _Flight(Generic[Result]):
    task: asyncio.Task[Result]
    waiting: int = 0


class SingleFlight(Generic[Key, Result]):
    """Running work, by key."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Result]] = {}

    async def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Join the work for this key, or start it. Raises what the work raises, to every caller."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(work(), name=f"single flight {key}"))
            self._flights[key] = flight
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.task.done():
                    flight.task.cancel()
                    await asyncio.wait([flight.task])
                if not flight.task.cancelled():
                    # Retrieved, or asyncio would log that nobody retrieved the error.
                    flight.task.exception()
