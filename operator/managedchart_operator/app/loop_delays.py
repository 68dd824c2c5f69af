"""Measures how long the operator itself blocked its event loop, without the time in which a busy machine had no core for it.

A loop is late because something blocks it, or because the machine has no core for it. The kernel knows how long the loop's
thread was ready to run but had no core; that is no defect of the operator. What blocks the loop, in its own thread or by
Python's lock in another one, is at work meanwhile, so the process spends CPU time.
"""

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Moment:
    """What was spent up to a moment, in seconds."""

    wall: float
    cpu: float
    """CPU time of all threads of the process."""
    queued: float
    """For how long this thread waited for a core; 0 where the kernel does not say."""

    @classmethod
    def now(cls) -> Self:
        """Return this moment of the calling thread. Takes 20 µs."""
        return cls(time.perf_counter(), time.process_time(), _queued())

    def held_up(self, *, asleep: float) -> float:
        """Return how many seconds the process blocked the calling thread since then, except the seconds that it slept."""
        now = Moment.now()
        late = now.wall - self.wall - asleep - (now.queued - self.queued)
        return max(0.0, min(late, now.cpu - self.cpu))


def _queued() -> float:
    # Source: the kernel's Documentation/scheduler/sched-stats.rst.
    with contextlib.suppress(OSError, ValueError, IndexError):
        file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(file, 256).split()[1]) / 1e9
        finally:
            os.close(file)
    return 0.0
