"""What processes cost, read from outside.

Boundary: Linux. CPU time is read from the process's own clock (nanoseconds; /proc/PID/stat counts in steps of 10 ms), and
memory from /proc. Invariant: a helm's memory is never taken from `getrusage`: there a child's maximum includes what its
parent had when it was spawned.
"""

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

# Often enough to meet a helm that lives for 0.3 s; each look costs well below a millisecond.
_SAMPLE_SECONDS = 0.1
_CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used itself, all its threads, without children."""
    # clock_getcpuclockid(3) in Linux: the complement of the pid, and the kind of clock in the last three bits.
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def processes_of(mark: str) -> list[int]:
    """Return the processes that have a word in their command lines, like the control plane's have their cluster's folder."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Return VmRSS (now) or VmHWM (the peak) of a process in MiB; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and not yet waited for."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


class MemoryWatch:
    """Samples the memory of an operator and of its helm processes while it is entered."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self.operator_peak_mb = 0.0
        self.helm_peak_mb = 0.0
        """The largest single helm process."""
        self.total_peak_mb = 0.0
        """Operator and helm processes together."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self.operator_peak_mb = max(self.operator_peak_mb, memory_mb(self._pid, "VmHWM"))

    def _sample(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            total = memory_mb(self._pid)
            self.operator_peak_mb = max(self.operator_peak_mb, memory_mb(self._pid, "VmHWM"))
            for child in children(self._pid):
                # Between fork and exec a child is still a copy of the operator.
                if _is_helm(child):
                    total += memory_mb(child)
                    self.helm_peak_mb = max(self.helm_peak_mb, memory_mb(child, "VmHWM"))
            self.total_peak_mb = max(self.total_peak_mb, total)


def _is_helm(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "helm"
    return False
