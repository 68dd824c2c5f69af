"""Starts detached processes that can be found again: each has a log, and a pid file with its start time.

A pid alone is not an identity: after a crash or a reboot the same number may be another user's editor. So a process is
signalled only if its start time is the recorded one.
"""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import files
from .errors import ComponentError

LOG_LINES = 20
"""How much of a dead component's log is shown: enough for a Go program's last error and the flags in it."""

NOTHING = "(it wrote nothing)"
"""Stands for a log without a line."""

KILL_SECONDS = 10.0
"""SIGKILL takes effect at once, except in an uninterruptible disk wait; longer than this is worth an error."""

_PORTS = range(10_000, 32_000)
"""Below Linux' range for outgoing connections, so that no client socket takes a port between choice and use."""


@dataclass(frozen=True)
class Process:
    """A process that was started once: its pid and its start time as the operating system reports it."""

    name: str
    pid: int
    birth: str

    @property
    def alive(self) -> bool:
        """Whether any thread of this very process still runs (a zombie does not)."""
        return bool(self.birth) and _birth(self.pid) == self.birth

    def kill(self) -> None:
        """Kill the process and its group, and return when they have ended. Nothing in them is worth saving."""
        deadline = time.monotonic() + KILL_SECONDS
        while self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                # Where we are the parent, the zombie has to be collected; elsewhere this says that we are not.
                os.waitpid(self.pid, os.WNOHANG)
            if time.monotonic() > deadline:
                raise ComponentError(
                    f"{self.name} (pid {self.pid}) did not end within {KILL_SECONDS:.0f} s of SIGKILL."
                )
            time.sleep(0.005)


def start(name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start `command` in a session of its own, with its log and pid file in `folder`."""
    with (folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=None if environment is None else {**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # The process outlives this one, and `alive` collects it until then; Popen must not warn about either.
    child.returncode = 0
    return record(name, child.pid, folder)


def record(name: str, pid: int, folder: Path) -> Process:
    """Write the pid file of a running process."""
    process = Process(name, pid, _birth(pid))
    files.replace(folder / f"{name}.pid", json.dumps({"pid": process.pid, "birth": process.birth}))
    return process


def recorded(folder: Path) -> list[Process]:
    """Every process that has a pid file in `folder`, alive or not. A file that is none of ours counts as no process."""
    found = []
    for file in sorted(folder.glob("*.pid")):
        with contextlib.suppress(ValueError, KeyError, FileNotFoundError):
            content = json.loads(file.read_text())
            found.append(Process(file.stem, int(content["pid"]), str(content["birth"])))
    return found


def end_of_log(folder: Path, name: str) -> str:
    """The last lines that the process wrote, or a sentence saying that there are none."""
    try:
        lines = (folder / f"{name}.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(lines[-LOG_LINES:]) or NOTHING


def free_ports(count: int) -> list[int]:
    """`count` different ports of 127.0.0.1 that nobody listens on at this moment."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in random.sample(_PORTS, k=len(_PORTS)):
            if len(ports) == count:
                break
            candidate = held.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    if len(ports) < count:
        raise ComponentError(f"Fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1.")
    return ports


def _birth(pid: int) -> str:
    """When the process was born, in a form that no other process of this machine shares; "" when it is not running."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    if not Path("/proc/self/stat").exists():
        answer = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        found = re.fullmatch(r"([^Z\s]\S*)\s+(.+)", answer.stdout.strip())
        return found[2] if found else ""
    try:
        # The second field is the program's name in parentheses and may contain anything, so count from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # Its first thread may be a zombie while others still end, and hold its ports and files: the threads are counted, too.
    if fields[0] in "ZX" and fields[17] in {"0", "1"}:
        return ""
    # Ticks since boot repeat after a reboot, hence the boot's own id.
    return f"{fields[19]}@{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
