"""Bounds how many Events are written about one object.

An Event is an object in etcd that all watches of Events receive, and a failing resource with a short back-off would write one
with each attempt. The numbers are those of client-go's correlator (`tools/record/events_cache.go`), but an Event that it would
merge into an earlier one is left out here: the status says it anyway, and no permission to change Events is needed. What is
left out is counted, and the next Event of the same reason says how many there were.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

# One resource may write so many in quick succession, and then one each five minutes (client-go's spam filter).
BURST = 25
REFILL_SECONDS = 300.0
# So many of one reason within so much time; the texts may differ (client-go's aggregator).
SIMILAR = 10
WINDOW_SECONDS = 600.0
# The objects and reasons that are remembered; forgetting one only lets it write again.
OBJECTS = 4096
REASONS = 64

T = TypeVar("T")


@dataclass(slots=True)
class _Reason:
    since: float
    written: int = 0
    left_out: int = 0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    reasons: OrderedDict[str, _Reason] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class EventLimits:
    """Decides which Events are written; one for the whole operator."""

    clock: Callable[[], float] = time.monotonic
    _objects: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def admit(self, uid: str, reason: str, *, keep: bool = False) -> int | None:
        """Return how many similar Events were left out before this one; None if it is left out too.

        The first Event of a reason within ten minutes is always written, and so is one to `keep`: reasons are a closed list, so
        these are few, and what has never been said is news.
        """
        now = self.clock()
        bucket = _remembered(self._objects, uid, OBJECTS, lambda: _Bucket(BURST, now))
        bucket.tokens = min(bucket.tokens + (now - bucket.at) / REFILL_SECONDS, BURST)
        bucket.at = now
        known = _remembered(bucket.reasons, reason, REASONS, lambda: _Reason(now))
        if now - known.since >= WINDOW_SECONDS:
            known.since, known.written = now, 0
        if not keep and known.written and (known.written >= SIMILAR or bucket.tokens < 1):
            known.left_out += 1
            return None
        bucket.tokens = max(bucket.tokens - 1, 0)
        known.written += 1
        left_out, known.left_out = known.left_out, 0
        return left_out


def _remembered(known: OrderedDict[str, T], key: str, most: int, make: Callable[[], T]) -> T:
    """Return what is known of a key, or something new; forget what was not used for longest."""
    if key not in known:
        if len(known) >= most:
            known.popitem(last=False)
        known[key] = make()
    known.move_to_end(key)
    return known[key]
