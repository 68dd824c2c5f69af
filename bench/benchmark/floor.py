"""The floor: what the same costs with plain helm, run by xargs, some at a time.

Boundary: helm as one would call it who wants it fast. Invariant: no program of ours runs beside it.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.processes import MemoryWatch
from benchmark.world import CHART, World

# Twice the cores of the machine that the goals were set for, as the operator's own default is.
PARALLEL = 4
TIMEOUT = "180s"


class FloorError(Exception):
    """A plain helm failed, so there is nothing to compare with."""


@dataclass(frozen=True)
class Cost:
    """What a wave of helm processes took, in seconds; `peak_mb` is the largest, in MiB, sampled as the operator's are."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def upgrade(world: World, namespace: str, names: Sequence[str], *values: str) -> Cost:
    """`helm upgrade --install` each release and wait until it is ready. Raises FloorError."""
    return _each(
        world,
        names,
        "upgrade", "--install", "{}", str(CHART), f"--namespace={namespace}", "--wait", f"--timeout={TIMEOUT}",
        "--disable-openapi-validation", *(f"--set={value}" for value in values),
    )  # fmt: skip


def look(world: World, namespace: str, names: Sequence[str]) -> Cost:
    """`helm status` of each release: the least that plain helm needs to tell that all is in order. Raises FloorError."""
    return _each(world, names, "status", "{}", f"--namespace={namespace}")


def uninstall(world: World, namespace: str, names: Sequence[str]) -> Cost:
    """`helm uninstall` each release and wait until its objects are gone. Raises FloorError."""
    return _each(world, names, "uninstall", "{}", f"--namespace={namespace}", "--wait", f"--timeout={TIMEOUT}")


def _each(world: World, names: Sequence[str], *arguments: str) -> Cost:
    home = world.folder / "floor"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KUBECONFIG": str(world.kubeconfig),
        "HELM_CACHE_HOME": str(home / "cache"),
        "HELM_CONFIG_HOME": str(home / "config"),
        "HELM_DATA_HOME": str(home / "data"),
    }
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as given:
        given.write("\n".join(names) + "\n")
        given.seek(0)
        started = time.monotonic()
        process = subprocess.Popen(
            ["xargs", f"--max-procs={PARALLEL}", "-I{}", str(world.helm), *arguments],
            env=environment,
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        # xargs has waited for all helms, so this is what all of them used. Not so its `ru_maxrss` (see `processes`).
        with MemoryWatch(process.pid) as memory:
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            raise FloorError(f"plain helm failed: {output.read()[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, memory.helm_peak_mb)
