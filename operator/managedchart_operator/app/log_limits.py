"""Bounds how many lines are logged about one resource.

The author of one resource decides how often it is tried, and each try logs some lines. A burst passes, as a run writes it;
after that there is one line each two seconds, and what was left out is counted in the next one. Lines about no resource
are bounded by their text, more generously.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

# A run logs some ten lines, an interrupted or failing one some thirty.
BURST = 100
REFILL_SECONDS = 2.0
# Of lines without a resource, such as those about requests that fail while the API server is down.
_SHARED_FACTOR = 10
# Forgetting one only lets it log again.
_REMEMBERED = 4096


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    left_out: int = 0


class NotTooMany(logging.Filter):
    """Drops lines about a resource that has logged too many. A traceback always passes: each defect has one a day."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._buckets: OrderedDict[tuple[object, ...], _Bucket] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged; note in it what was left out before."""
        name = getattr(record, "name_", None)
        key, factor = ((record.namespace, name), 1) if name else ((record.name, record.msg), _SHARED_FACTOR)  # type: ignore[attr-defined]
        now, most = self._clock(), BURST * factor
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _REMEMBERED:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = _Bucket(most, now)
        self._buckets.move_to_end(key)
        bucket.tokens = min(bucket.tokens + (now - bucket.at) * factor / REFILL_SECONDS, most)
        bucket.at = now
        if bucket.tokens < 1 and not record.exc_info:
            bucket.left_out += 1
            return False
        bucket.tokens = max(bucket.tokens - 1, 0)
        if bucket.left_out:
            record.msg, record.args = f"{record.getMessage()} ({bucket.left_out} lines were left out before)", ()
            bucket.left_out = 0
        return True
