"""Views of what watches have shown so far, shared by all runs that need them.

Many releases in one namespace cost one watch, not one each. This opens views, counts their users and wakes them; the users
decide what is watched and what is kept of it. A view with a broken watch gets no new users.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from managedchart_operator.kube.watch import Polling

# Views that are open at once. A run that waits has two or three, and at most 1,000 runs wait (waiting.until_ready); beyond
# this the collections are listed at an interval, so that no number of identities and namespaces costs more connections.
MOST_WATCHED = 3000
# Releases in quick succession share one watch; this is longer than the time between two helm processes.
LINGER_SECONDS = 2.0


@dataclass(slots=True)
class View:
    """Something that changes."""

    polling: Polling = field(default_factory=Polling)
    """Whether the watches list instead, because they were refused or there are too many."""
    _wakers: set[asyncio.Event] = field(default_factory=set)

    def notify(self) -> None:
        """Wake those who wait for a change."""
        for waker in self._wakers:
            waker.set()

    @contextmanager
    def wakes(self, waker: asyncio.Event) -> Iterator[None]:
        """Set an event at each change while the block runs."""
        self._wakers.add(waker)
        try:
            yield
        finally:
            self._wakers.discard(waker)


Key = TypeVar("Key", bound=Hashable)
AView = TypeVar("AView", bound=View)


@dataclass(slots=True, eq=False)
class _Open(Generic[AView]):
    """A view with its users and watches, and the timer that closes it after its last use."""

    view: AView
    watches: list[asyncio.Task[None]]
    users: int = 0
    end: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class Views(Generic[Key, AView]):
    """Opens a view for its first user and closes it some time after its last.

    `follow` returns the watches that run while a view is open; without a user it stays open for `linger` seconds. Of more than
    `most` views, those without users are closed, and a further one lists instead of watching.
    """

    follow: Callable[[Key, AView], Sequence[Coroutine[Any, Any, None]]]
    linger: float = LINGER_SECONDS
    most: int = MOST_WATCHED
    _open: dict[Key, _Open[AView]] = field(default_factory=dict)

    @asynccontextmanager
    async def use(self, key: Key, make: Callable[[], AView]) -> AsyncIterator[AView]:
        """Keep a view open while the block runs: the open one, or a new one if there is none or it is broken."""
        found = self._open.get(key)
        if found is None or any(watch.done() for watch in found.watches):
            view = make()
            self._evict()
            view.polling.watches = len(self._open) < self.most
            watches = [asyncio.create_task(work, name=f"watch of {key}") for work in self.follow(key, view)]
            found = self._open[key] = _Open(view, watches)
        if found.end is not None:
            found.end.cancel()
            found.end = None
        found.users += 1
        try:
            yield found.view
        finally:
            found.users -= 1
            if found.users == 0:
                found.end = asyncio.get_running_loop().call_later(self.linger, self._close, key, found)

    async def close(self) -> None:
        """Close the views without users."""
        unused = [(key, found) for key, found in self._open.items() if found.end is not None]
        for key, found in unused:
            self._close(key, found)
        await asyncio.gather(*(watch for _, found in unused for watch in found.watches), return_exceptions=True)

    def _evict(self) -> None:
        """Close views without users, the oldest first, until there is room for another one."""
        idle = [(key, found) for key, found in self._open.items() if found.end is not None]
        for key, found in idle[: max(len(self._open) - self.most + 1, 0)]:
            self._close(key, found)

    def _close(self, key: Key, found: _Open[AView]) -> None:
        if found.end is not None:
            found.end.cancel()
        if self._open.get(key) is found:
            del self._open[key]
        for watch in found.watches:
            watch.cancel()
