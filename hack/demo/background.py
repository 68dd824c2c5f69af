"""Runs programs that outlive `make demo`, and that the next one finds again.

A program is started once, kept while its command and inputs stay the same, and replaced when they change. After `ensure`
exactly one process of that name runs and answers on its port. It knows nothing of Kubernetes, and uses devcluster's processes.
"""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from places import ROOT

sys.path.append(str(ROOT / "hack" / "devcluster"))

from controlplane import files, processes

# The operator imports the Kubernetes client, which takes seconds; a busy machine needs many times that.
READY_SECONDS = 90.0
# What `deploy/` grants the operator as terminationGracePeriodSeconds.
GRACE_SECONDS = 40.0
# The variable by which the operator finds its own helm processes again (helm/runner.py).
HELM_OF = "MANAGEDCHART_HELM_OF"


class DemoError(Exception):
    """The demo cannot continue; the message is for the user."""


@dataclass(frozen=True)
class Program:
    """How to start a program. `health` is the path on its port that answers 200 when it is ready."""

    command: list[str]
    health: str
    environment: dict[str, str] = field(default_factory=dict)
    inputs: str = ""
    """Whatever else must not have changed for a running one to be kept."""

    @property
    def fingerprint(self) -> str:
        """Equal for two programs of which one can stand in for the other."""
        document = json.dumps([self.command, self.environment, self.inputs], sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()


def ensure(name: str, make: Callable[[int], Program], *, folder: Path) -> tuple[int, bool]:
    """Make sure that the program runs and is ready; return its port, and whether it had to be started.

    `make` gets the port: the one of the last time if it is still free. Raises DemoError with the end of the log.
    """
    state = folder / f"{name}.json"
    known = json.loads(state.read_text()) if state.exists() else {}
    port = int(known.get("port", 0))
    process = find(name, folder)
    if process is not None and known.get("fingerprint") == make(port).fingerprint and _answers(port, make(port).health):
        return port, False
    if process is not None:
        stop(process)
    if not _is_free(port):
        port = processes.free_ports(1)[0]
    program = make(port)
    process = processes.start(name, program.command, folder, program.environment)
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(port, program.health):
        if not process.alive or time.monotonic() > deadline:
            why = f"did not become ready within {READY_SECONDS:.0f} s" if process.alive else "ended at once"
            raise DemoError(f"{name} {why}; the end of {folder / f'{name}.log'}:\n{processes.end_of_log(folder, name)}")
        time.sleep(0.05)  # a port of another process cannot be waited on
    files.replace(state, json.dumps({"port": port, "fingerprint": program.fingerprint}))
    return port, True


def find(name: str, folder: Path) -> processes.Process | None:
    """Return the process of this name if it lives."""
    return next((found for found in processes.recorded(folder) if found.name == name and found.alive), None)


def stop(process: processes.Process) -> None:
    """End a process: SIGTERM, and SIGKILL for its group if that takes too long."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.02)  # it is not a child of this process, so there is nothing to wait on
    process.kill()


def end_children_of_the_operator(cache: Path) -> None:
    """End helm processes that outlived an operator which was killed. It names its cache in their environment."""
    mark = f"{HELM_OF}={cache.resolve()}".encode()
    deadline = time.monotonic() + GRACE_SECONDS
    sent = signal.SIGTERM
    while groups := _groups_with(mark):
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, sent)
        if time.monotonic() > deadline:
            sent = signal.SIGKILL
        time.sleep(0.05)  # they are not children of this process, so there is nothing to wait on


def _groups_with(mark: bytes) -> set[int]:
    """The process groups in which a process has this variable."""
    groups = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ProcessLookupError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                groups.add(os.getpgid(int(entry.name)))
    return groups - {os.getpgrp()}


def all_alive(folder: Path) -> bool:
    """Whether every process that was recorded in a folder lives."""
    found = processes.recorded(folder)
    return bool(found) and all(process.alive for process in found)


def _answers(port: int, path: str) -> bool:
    # Not urllib, which would send this to a proxy that the environment names.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_free(port: int) -> bool:
    if not port:
        return False
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
