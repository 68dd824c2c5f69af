"""What watches have shown so far, shared by all runs that want to know.

Purpose: many releases in one namespace cost one watch, not one each. Boundary: opens, counts users and wakes them; what is
watched and what is kept of it is told by those who use it. Invariants: a view has no watch any more when nobody has used it
for its `linger`; one whose watch has broken is handed to nobody new.
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


@dataclass(slots=True, eq=False)
class _Open(Generic[AView]):
    """A view with what runs for it, and what closes it once it has lingered."""

    view: AView
    watches: list[asyncio.Task[None]]
    end: asyncio.Task[None] | None = None

    @property
    def broken(self) -> bool:
        """Whether a watch has ended by itself, so that the view shows no more of what changes."""
        return any(watch.done() for watch in self.watches)


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
        self._open: dict[Key, _Open[AView]] = {}

    @asynccontextmanager
    async def use(self, key: Key, make: Callable[[], AView]) -> AsyncIterator[AView]:
        """Keep a view open for as long as the block runs: the one that is open and works, or a new one."""
        found = self._open.get(key)
        if found is None or found.broken:
            found = self._open[key] = self._make(key, make())
        if found.end is not None:
            found.end.cancel()
            found.end = None
        found.view.users += 1
        try:
            yield found.view
        finally:
            found.view.users -= 1
            if found.view.users == 0:
                found.end = asyncio.create_task(self._end(key, found), name=f"end of the watch of {key}")

    async def close(self) -> None:
        """Close what lingers."""
        for key, found in list(self._open.items()):
            if found.end is not None:
                found.end.cancel()
                await self._close(key, found)

    def _make(self, key: Key, view: AView) -> _Open[AView]:
        watches = [asyncio.create_task(work, name=f"watch of {key}") for work in self._follow(key, view)]
        return _Open(view, watches)

    async def _end(self, key: Key, found: _Open[AView]) -> None:
        await asyncio.sleep(self._linger)
        found.end = None  # from here on nobody may cancel it
        await self._close(key, found)

    async def _close(self, key: Key, found: _Open[AView]) -> None:
        if self._open.get(key) is found:
            del self._open[key]
        for watch in found.watches:
            watch.cancel()
        await asyncio.gather(*found.watches, return_exceptions=True)
