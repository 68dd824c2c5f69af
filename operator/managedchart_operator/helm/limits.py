"""Reads how much CPU and memory this process may use: the machine's, or its container's where that is less.

`slots` derives from it how many helm processes fit. cgroup v1, v2 and the mixture of both are read from /proc and
/sys/fs/cgroup; limits of parent groups count as well, and a limit that cannot be read is ignored. Memory is counted as
Kubernetes counts the working set: without the page cache that the kernel would drop first (inactive_file).

Sources: the kernel's cgroup-v2.rst (cpu.max, memory.max, memory.current) and its cgroup-v1 documents (cpu.cfs_quota_us,
memory.limit_in_bytes).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Version 1 writes "no limit" as the number of all pages that a signed integer can count.
_UNLIMITED = 2**62
# The files with the limit and the use, and the field of memory.stat with the page cache that the kernel would drop first.
_MEMORY_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_MEMORY_V2 = ("memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True)
class Limits:
    """What the process may use. `root` is the folder that has proc/ and sys/.

    The groups are looked up once; their files are read each time, since a limit may be changed in place.
    """

    root: Path = Path("/")

    @cached_property
    def _memory_files(self) -> list[tuple[Path, tuple[str, str, str]]]:
        """The groups that may have a memory limit, with the names of their files; the kernel's root group has none."""
        groups = [(folder, _MEMORY_V2 if v2 else _MEMORY_V1) for folder, v2 in self._groups("memory")]
        return [(folder, names) for folder, names in groups if (folder / names[0]).exists()]

    def cpus(self) -> float:
        """Return how many CPUs the process may use: 0.5 for a limit of 500m; without a limit, those that it may run on."""
        cpus = float(len(os.sched_getaffinity(0)))
        for folder, v2 in self._groups("cpu"):
            if v2:
                quota, _, period = _read(folder / "cpu.max").partition(" ")
            else:
                quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            if quota.isdigit() and period.isdigit() and int(quota) and int(period):
                cpus = min(cpus, int(quota) / int(period))
        return cpus

    def memory(self) -> int:
        """Return how many bytes of memory the process and its children may use in all."""
        return min([self._machine("MemTotal"), *(limit for limit, _ in self._memory_groups())])

    def free_memory(self) -> int:
        """Return how many bytes of that memory are free now."""
        return min([self._machine("MemAvailable"), *(limit - used for limit, used in self._memory_groups())])

    def _memory_groups(self) -> Iterator[tuple[int, int]]:
        """Yield the limit and the working set, in bytes, of each group that has a limit."""
        for folder, (maximum, current, cache) in self._memory_files:
            limit = _read(folder / maximum)
            if limit.isdigit() and int(limit) < _UNLIMITED:
                yield int(limit), int(_read(folder / current) or 0) - _field(folder / "memory.stat", cache)

    def _machine(self, name: str) -> int:
        return _field(self.root / "proc/meminfo", f"{name}:") * 1024

    def _groups(self, controller: str) -> Iterator[tuple[Path, bool]]:
        """Yield the folder of the process's group, then its parents, each with whether it is of version 2.

        A container usually sees its own group as the topmost one, while /proc/self/cgroup may have the path outside:
        folders that do not exist are skipped.
        """
        base = self.root / "sys/fs/cgroup"
        for line in _read(self.root / "proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = base / controller if controllers else base
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_dir():
                    yield folder, not controllers
                if folder == top:
                    break


def _read(file: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _field(file: Path, name: str) -> int:
    found = re.search(rf"^{name}\s+(\d+)", _read(file), re.MULTILINE)
    return int(found[1]) if found else 0
