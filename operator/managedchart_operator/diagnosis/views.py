"""What watches have shown so far, shared by all runs that want to know.

Purpose: many releases in one namespace cost one watch, not one each. Boundary: opens, counts users and wakes them; what is
watched and what is kept of it is told by those who use it. Invariant: a view that nobody has used for its
`linger` has no watch.
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


Key = TypeVar("Key", bound=Hashable)
AView = TypeVar("AView", bound=View)


class Views(Generic[Key, AView]):
    """Opens a view for its first user and closes it after its last.

    `make` makes a view, `follow` returns what has to run as long as it is open, `linger` is for how many seconds it stays
    open without a user: users that come one after another then share it.
    """

    def __init__(
        self,
        make: Callable[[Key], AView],
        follow: Callable[[Key, AView], Sequence[Coroutine[Any, Any, None]]],
        *,
        linger: float = 0.0,
    ) -> None:
        self._make = make
        self._follow = follow
        self._linger = linger
        self._open: dict[Key, tuple[AView, list[asyncio.Task[None]]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self, key: Key) -> AsyncIterator[AView]:
        """Keep a view open for as long as the block runs."""
        if key not in self._open:
            view = self._make(key)
            tasks = [asyncio.create_task(work, name=f"watch of {key}") for work in self._follow(key, view)]
            self._open[key] = (view, tasks)
        view, _ = self._open[key]
        view.users += 1
        try:
            yield view
        finally:
            view.users -= 1
            if view.users == 0:
                if self._linger:
                    self._close_later(key, view)
                else:
                    await self._close(key, view)

    async def close(self) -> None:
        """Close what lingers."""
        for task in list(self._closing):
            task.cancel()
        for key, (view, _) in list(self._open.items()):
            await self._close(key, view)

    def _close_later(self, key: Key, view: AView) -> None:
        async def close() -> None:
            await asyncio.sleep(self._linger)
            await self._close(key, view)

        task = asyncio.create_task(close(), name=f"end of the watch of {key}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, key: Key, view: AView) -> None:
        if view.users or self._open.get(key, (None,))[0] is not view:
            return
        _, tasks = self._open.pop(key)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
