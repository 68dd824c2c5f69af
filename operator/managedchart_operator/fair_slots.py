"""Slots that namespaces share: none holds more than its share of them, and none waits behind the queue of another one.

Whatever costs memory or CPU has a fixed number of slots. With one queue for all, the first namespace that fills them (with
templates that never end, with servers that never answer) stops every other one. Here each namespace has a queue of its own, the
queues are served in turn, and a namespace that holds its share waits even if slots are free: a slot that is lent to somebody
who never returns it would be missing when another namespace needs it.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

PAYER: ContextVar[str] = ContextVar("payer", default="")
"""The namespace of the ManagedChart for which the present task works; empty for the operator itself.

A context variable, since what takes slots (a parser, a request, a download) lies far below the pass that knows it. Tasks
inherit it: work that several namespaces share counts for the one that began it.
"""


def share_of(total: int, share: float) -> int:
    """Return how many of `total` slots one namespace may hold with a share between 0 and 1.

    At least one; and with a share below 1, never all of them if there are two or more.
    """
    most = math.ceil(round(share * total, 6))  # 0.1 * 30 is more than 3
    if share < 1:
        most = min(most, total - 1)
    return max(1, most)


class FairSlots:
    """`total` slots, of which each namespace holds at most its share.

    `lends` says whether a namespace may hold more than that now. If all are lent, the next namespace waits until one is given
    back, unless the slots are `elastic`: then a slot that is held beyond the share counts for nobody else, so for a while up to
    `total` minus one share more of them may be in use.
    """

    def __init__(
        self, total: int, *, share: float, lends: Callable[[], bool] = lambda: False, elastic: bool = False
    ) -> None:
        self._total = total
        self._elastic = elastic
        self._most = share_of(total, share)
        self._lends = lends
        self._held: Counter[str] = Counter()
        self._within = 0
        """How many of them are held within the shares of their holders; never more than `total`."""
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """Those who wait, by namespace; the namespace that was served last is the last one."""
        self.held = 0
        """How many are held now."""

    @asynccontextmanager
    async def hold(self, namespace: str | None = None) -> AsyncIterator[None]:
        """Wait for a slot and hold it, by default for the PAYER."""
        namespace = PAYER.get() if namespace is None else namespace
        await self.acquire(namespace)
        try:
            yield
        finally:
            self.release(namespace)

    async def acquire(self, namespace: str) -> None:
        """Wait for a slot: within the namespace in the order of the calls, the namespaces in turn."""
        place = asyncio.get_running_loop().create_future()
        self._queues.setdefault(namespace, deque()).append(place)
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(namespace, place)
            else:
                self.release(namespace)
            raise

    def release(self, namespace: str) -> None:
        """Give a slot back."""
        self._within -= self._held[namespace] <= self._most
        self.held -= 1
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]
        self._serve()

    def _serve(self) -> None:
        """Give free slots to those who wait and may have one, in turn."""
        served = True
        while served:
            served = False
            for namespace in list(self._queues) if self._taken < self._total else ():
                if self._may_have_one(namespace):
                    self._take_turn(namespace)
                    served = True

    def _may_have_one(self, namespace: str) -> bool:
        if self._held[namespace] < self._most:
            return self._taken < self._total
        return self.held < self._total and self._lends()

    @property
    def _taken(self) -> int:
        """How many of the slots are not there for others."""
        return self._within if self._elastic else self.held

    def _take_turn(self, namespace: str) -> None:
        queue = self._queues.pop(namespace)
        while queue:
            place = queue.popleft()
            if place.done():
                continue  # cancelled a moment ago
            place.set_result(None)
            self.held += 1
            self._held[namespace] += 1
            self._within += self._held[namespace] <= self._most
            break
        if queue:
            self._queues[namespace] = queue

    def _leave(self, namespace: str, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(namespace)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[namespace]
