"""Limits are read from cgroup v1, v2 and the mixture, at any level."""

import os
from pathlib import Path

import pytest

from managedchart_operator.helm.limits import Limits

GIB = 1024**3
MEMINFO = f"MemTotal: {16 * GIB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {10 * GIB // 1024} kB\n"
UNLIMITED_V1 = "9223372036854771712"


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return 8


def tree(root: Path, cgroup: str, files: dict[str, str]) -> Limits:
    """Make a root folder with a machine of 16 GiB, the process's groups, and files below sys/fs/cgroup."""
    for name, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return Limits(root)


def test_without_limits_the_machine_counts(tmp_path: Path, cores: int) -> None:
    limits = tree(tmp_path, "0::/\n", {"cpu.max": "max 100000", "memory.max": "max"})
    assert (limits.cpus(), limits.memory(), limits.free_memory()) == (cores, 16 * GIB, 10 * GIB)


def test_without_groups_the_machine_counts(tmp_path: Path, cores: int) -> None:
    assert tree(tmp_path, "", {}).cpus() == cores
    assert tree(tmp_path, "", {}).memory() == 16 * GIB


@pytest.mark.usefixtures("cores")
def test_limits_of_version_2(tmp_path: Path) -> None:
    """As a container sees them: its own group is the uppermost, and inactive page cache is not counted."""
    used = {"memory.current": str(GIB), "memory.stat": f"anon 5\ninactive_file {GIB // 4}\nactive_file 3"}
    limits = tree(tmp_path, "0::/\n", {"cpu.max": "50000 100000", "memory.max": str(2 * GIB), **used})
    assert (limits.cpus(), limits.memory(), limits.free_memory()) == (0.5, 2 * GIB, GIB + GIB // 4)


@pytest.mark.usefixtures("cores")
def test_limits_of_version_1(tmp_path: Path) -> None:
    """The path in /proc may be the one outside of the container, which is not to be seen inside."""
    files = {
        "cpu/cpu.cfs_quota_us": "150000",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(3 * GIB),
        "memory/memory.usage_in_bytes": str(2 * GIB),
        "memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}",
    }
    limits = tree(tmp_path, "4:memory:/kubepods/pod1/c\n2:cpu,cpuacct:/kubepods/pod1/c\n1:name=systemd:/x\n", files)
    assert (limits.cpus(), limits.memory(), limits.free_memory()) == (1.5, 3 * GIB, 2 * GIB)


def test_no_limit_of_version_1(tmp_path: Path, cores: int) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": UNLIMITED_V1,
    }
    limits = tree(tmp_path, "4:memory:/\n2:cpu:/\n", files)
    assert (limits.cpus(), limits.memory(), limits.free_memory()) == (cores, 16 * GIB, 10 * GIB)


@pytest.mark.usefixtures("cores")
def test_the_tightest_limit_of_all_parent_groups_counts(tmp_path: Path) -> None:
    files = {
        "pods/cpu.max": "400000 100000",
        "pods/mine/cpu.max": "max 100000",
        "pods/memory.max": str(GIB),
        "pods/memory.current": str(GIB - 5),
        "pods/mine/memory.max": str(2 * GIB),
        "pods/mine/memory.current": "7",
    }
    limits = tree(tmp_path, "0::/pods/mine\n", files)
    assert (limits.cpus(), limits.memory(), limits.free_memory()) == (4.0, GIB, 5)


def test_this_machine_can_be_read() -> None:
    limits = Limits()
    assert 0 < limits.cpus() <= len(os.sched_getaffinity(0))
    assert 0 < limits.free_memory() <= limits.memory()
