"""Does a piece of work once for several callers, each of which first waits for a turn of its own.

`SingleFlight` shares a task from its beginning, with the wait for a slot: whoever joins it waits in the queue of whoever began
it. That may be long if the other namespace keeps its slots busy. Here the callers share the work only once it has begun.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar, cast

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _BegunElsewhereError(Exception):
    """Another caller does the work already; `end` is its end."""

    def __init__(self, end: asyncio.Future[Any]) -> None:
        super().__init__()
        self.end = end


class SharedWork(Generic[Key, Value]):
    """The work that has begun and has not ended."""

    def __init__(self) -> None:
        self._begun: dict[Key, asyncio.Future[Value]] = {}

    async def run(self, key: Key, work: Callable[[Callable[[], Awaitable[None]]], Coroutine[Any, Any, Value]]) -> Value:
        """Do the work for this key, or return or raise what another caller's ends with.

        `work` gets a function that it awaits when it has its turn, and gives its turn back if that raises. If the other caller
        is cancelled, this one takes another turn.
        """
        while True:
            ended: asyncio.Future[Value] = asyncio.get_running_loop().create_future()

            async def begin(ended: asyncio.Future[Value] = ended) -> None:
                if (other := self._begun.setdefault(key, ended)) is not ended:
                    raise _BegunElsewhereError(other)

            try:
                value = await work(begin)
            except _BegunElsewhereError as begun:
                await asyncio.wait([begun.end])
                if not begun.end.cancelled():
                    return cast("Value", begun.end.result())
            except asyncio.CancelledError:
                ended.cancel()
                raise
            except Exception as error:
                ended.set_exception(error)
                ended.exception()  # retrieved, or asyncio would log that nobody did
                raise
            else:
                ended.set_result(value)
                return value
            finally:
                if self._begun.get(key) is ended:
                    del self._begun[key]
