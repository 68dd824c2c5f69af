"""Samples how much memory the operator and its children use together, as the kernel counts it for a pod."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

POD_BYTES = 3 * 1024**3
"""The memory limit of deploy/."""
_PAUSE_SECONDS = 0.02


@dataclass(slots=True)
class Peak:
    """The highest sum of resident memory that was seen, in bytes. Pages that processes share count for each of them."""

    bytes: int = 0


@contextmanager
def sampled_memory(pid: int) -> Iterator[Peak]:
    """Sample a process and everything below it while the context lasts."""
    peak, ended = Peak(), threading.Event()

    def sample() -> None:
        while not ended.is_set():
            peak.bytes = max(peak.bytes, sum(map(_resident, _tree(pid))))
            time.sleep(_PAUSE_SECONDS)

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0
