"""What watches have shown so far, shared by all runs that want to know.

Purpose: many releases in one namespace cost one watch, not one each. Boundary: opens, counts users and wakes them; what is
watched and what is kept of it is told by those who use it. Invariant: a view has no watch any more when nobody has used it
for its `linger`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar


@dataclass(slots=True)
class View:
    """Something that changes; `version` grows with each change."""

    users: int = 0
    version: int = 0
    _wakers: set[asyncio.Event] = field(default_factory=set)

    def tell(self) -> None:
        """Wake those who wait for a change."""
        self.version += 1
        for waker in self._wakers:
            waker.set()

    @contextmanager
    def waking(self, waker: asyncio.Event) -> Iterator[None]:
        """Set an event at each change, as long as the block runs."""
        self._wakers.add(waker)
        try:
            yield
        finally:
            self._wakers.discard(waker)

    async def wait_for_change(self, seen: int) -> int:
        """Return the version once it differs from `seen`."""
        waker = asyncio.Event()
        with self.waking(waker):
            while self.version == seen:
                waker.clear()
                await waker.wait()
        return self.version


# Releases that come one after another, as in a wave, share one watch; longer than from one helm to the next.
LINGER_SECONDS = 2.0

Key = TypeVar("Key", bound=Hashable)
AView = TypeVar("AView", bound=View)


class Views(Generic[Key, AView]):
    """Opens a view for its first user and closes it some time after its last.

    `follow` returns what has to run as long as a view is open, `linger` is for how many seconds it stays open without a user.
    """

    def __init__(
        self,
        follow: Callable[[Key, AView], Sequence[Coroutine[Any, Any, None]]],
        *,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self._follow = follow
        self._linger = linger
        self._open: dict[Key, tuple[AView, list[asyncio.Task[None]]]] = {}
        self._closing: dict[Key, asyncio.Task[None]] = {}
        """What lingers, with the end of that."""

    @asynccontextmanager
    async def use(self, key: Key, make: Callable[[], AView]) -> AsyncIterator[AView]:
        """Keep a view open for as long as the block runs: the one that is open, or a new one."""
        if end := self._closing.pop(key, None):
            end.cancel()
        if key not in self._open:
            view = make()
            tasks = [asyncio.create_task(work, name=f"watch of {key}") for work in self._follow(key, view)]
            self._open[key] = (view, tasks)
        view, _ = self._open[key]
        view.users += 1
        try:
            yield view
        finally:
            view.users -= 1
            if view.users == 0:
                self._closing[key] = asyncio.create_task(self._end(key), name=f"end of the watch of {key}")

    async def close(self) -> None:
        """Close what lingers."""
        while self._closing:
            key, end = self._closing.popitem()
            end.cancel()
            await self._close(key)

    async def _end(self, key: Key) -> None:
        await asyncio.sleep(self._linger)
        del self._closing[key]
        await self._close(key)

    async def _close(self, key: Key) -> None:
        _, tasks = self._open.pop(key)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
