"""Runs helm: one process a call, in its own process group, ended cleanly whatever happens.

It starts helm without a shell, waits for a slot, bounds its time and its output, and passes values in memory files. `command`
makes the arguments, `errors` reads what helm reports. When `run` returns or raises, the process and everything that it started
have ended. A cancelled `run` ends helm by SIGTERM, after which the release is marked failed (measured), and by SIGKILL only
after the grace.
"""

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self, TypeAlias

from managedchart_operator.errors import HelmError
from managedchart_operator.helm import process as processes
from managedchart_operator.helm.child_limits import ChildLimits, memory_environment
from managedchart_operator.helm.memory_files import Argument, memory_files
from managedchart_operator.helm.process import HelmProcess, signal_group
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason

logger = logging.getLogger(__name__)

# With --debug helm 4 logs one of these for each hook, and once when everything is applied and only the wait is left (measured
# with 4.3.1).
_WAITING_MARKS = (b"waiting for resources", b"beginning wait for")
_MARKER = "MANAGEDCHART_HELM_OF"
# helm reads it for --kube-as-user; the API server adds the groups of a ServiceAccount (measured with 4.3.1 and 1.37).
_KUBE_AS_USER = "HELM_KUBEASUSER"


Watch: TypeAlias = Callable[[], Awaitable[Exception]]
"""Runs beside helm: when it returns an error, helm is stopped and the error is raised. It is cancelled when helm has ended."""


@dataclass(frozen=True, slots=True)
class HelmOutput:
    """The output and exit code of a helm process."""

    stdout: bytes
    stderr: str
    exit_code: int
    """0 for success, negative for the signal that ended it."""


@dataclass(slots=True)
class _Count:
    started: int = 0


@dataclass(frozen=True, slots=True)
class HelmRunner:
    """Runs one helm binary with one environment.

    helm sees `environment` and nothing of the operator's own environment. `identity` marks the processes as this operator's,
    so that its successor can find those that outlived it.
    """

    binary: str
    environment: Mapping[str, str]
    slots: HelmSlots
    identity: str
    namespace: str = ""
    """The namespace of the ManagedChart on whose behalf helm runs; empty for none."""
    user: str | None = None
    """Whom helm impersonates in all its requests, those of `lookup` and of hooks included; None for the operator itself."""
    limits: ChildLimits = field(default_factory=ChildLimits)
    """What a process may use."""
    _count: _Count = field(default_factory=_Count)

    def on_behalf_of(self, namespace: str, *, user: str | None) -> Self:
        """Return a runner with the same slots and counters, for a ManagedChart in this namespace, that impersonates a user."""
        return replace(self, namespace=namespace, user=user)

    @property
    def started(self) -> int:
        """How many processes were started, on behalf of all."""
        return self._count.started

    async def run(
        self,
        arguments: Sequence[Argument],
        *,
        deadline: float,
        keep_stdout: bool = False,
        applies: bool = True,
        on_waiting: Callable[[], None] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        environment: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
        watch: Watch | None = None,
    ) -> HelmOutput:
        """Run helm and return its output, whatever its exit code; in its stderr, origins replace the paths of memory files.

        `deadline` in seconds counts from the start of the process, not from the wait for a slot. `applies` says that the
        call loads the CPU and needs an apply slot until its objects are applied; `on_waiting` is called each time that
        helm begins to wait, for a hook or for the release's objects. `before` is awaited once helm has its slot; if it raises,
        helm is not started. `environment` is added for this call; `through` is a program that becomes helm, with its
        arguments. `watch` runs beside helm, until helm has ended. Raises HelmError when helm cannot be started, the deadline
        passes (TIMEOUT) or the process exceeds its limits (CHART_TOO_LARGE), the error of `watch`, and CancelledError after
        helm has ended.
        """
        memory = self.limits.memory_of(applies=applies)
        async with self.slots.process(applies=applies, namespace=self.namespace) as applied:

            def on_line(line: bytes) -> None:
                if any(mark in line for mark in _WAITING_MARKS):
                    applied()
                    if on_waiting:
                        on_waiting()

            if before:
                await before()
            self._count.started += 1
            cpu_before = _cpu_seconds()
            try:
                with memory_files(arguments) as files:
                    process = await HelmProcess.start(
                        [*through, self.binary, *files.arguments],
                        environment={
                            **memory_environment(memory),
                            **self.environment,
                            **self._impersonation,
                            **(environment or {}),
                            _MARKER: self.identity,
                        },
                        pass_fds=tuple(files.origins),
                        keep_stdout=keep_stdout,
                        on_line=on_line,
                        on_start=partial(self.limits.apply_to, memory=memory),
                    )
            except OSError as error:
                self._count.started -= 1
                # Transient: too many processes, or too little memory. That helm exists was checked at the start.
                raise HelmError(
                    f"Helm cannot be started: {error.strerror}", reason=Reason.HELM_FAILED, transient=True
                ) from error
            try:
                async with _watching(process, watch):
                    await process.finish(deadline)
            except TimeoutError as error:
                raise HelmError(
                    f"Helm {arguments[0]} did not finish within {deadline:.0f} s and was stopped",
                    reason=Reason.TIMEOUT,
                    transient=True,
                ) from error
            if process.too_much:
                raise HelmError(
                    f"The chart renders more than {processes.STDOUT_BYTES >> 20} MiB, which no release Secret can hold",
                    reason=Reason.RELEASE_TOO_LARGE,
                    transient=False,
                    hint="Leave files out of the chart (.helmignore), split it, or make the values smaller.",
                )
            stderr = files.with_origins(process.stderr)
            self.limits.check(
                stderr,
                exit_code=process.exit_code,
                command=str(arguments[0]),
                memory=memory,
                cpu_seconds=_cpu_seconds() - cpu_before,
            )
            return HelmOutput(process.stdout, stderr, process.exit_code)

    @property
    def _impersonation(self) -> dict[str, str]:
        # By the environment and not by --kube-as-user: no command can be built without it.
        return {_KUBE_AS_USER: self.user} if self.user else {}

    def clear_discovery_cache(self) -> None:
        """Make the next helm process ask the API server which kinds it serves; blocks for some milliseconds.

        helm caches the answer for six hours, and only installs and upgrades ask again (4.3.1). With an old answer a rollback
        stops halfway, at the first object of a kind that is no longer served.
        """
        if folder := self.environment.get("KUBECACHEDIR"):
            shutil.rmtree(folder, ignore_errors=True)


def _cpu_seconds() -> float:
    """Return the CPU time of all processes of the operator that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.asynccontextmanager
async def _watching(process: HelmProcess, watch: Watch | None) -> AsyncIterator[None]:
    """Stop a process with the error that a watch returns."""
    if watch is None:
        yield
        return

    async def stop() -> None:
        process.stop(await watch())

    task = asyncio.create_task(stop(), name="watch of helm")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            logger.error("the watch of helm failed", exc_info=error)


def _orphans(identity: str) -> dict[int, int]:
    """Find processes of this identity that were not started by this operator: process group by process id."""
    wanted = f"{_MARKER}={identity}".encode()
    found, own_groups = {}, {os.getpgrp()}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            parent, group = map(int, (folder / "stat").read_text().rpartition(")")[2].split()[1:3])
            found[int(folder.name)] = group
            if parent == os.getpid():
                own_groups.add(group)
    return {pid: group for pid, group in found.items() if group not in own_groups}


async def end_orphans(identity: str) -> int:
    """End the helm processes that outlived a killed operator of the same identity, and what they started; return how many.

    In a pod there are none, since they die with the container; on a host a `kill -9` of the operator leaves them running,
    and two helm processes must never work on one release.
    """
    first = left = await asyncio.to_thread(_orphans, identity)
    for group in set(first.values()):
        logger.warning("ending helm (process group %d) that outlived an earlier operator", group)
        signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + processes.TERM_GRACE_SECONDS
    while left := {pid: group for pid, group in left.items() if pid in first}:
        if time.monotonic() > deadline:
            for group in set(left.values()):
                signal_group(group, signal.SIGKILL)
        # They are not children of this process, so /proc is all that can be watched.
        await asyncio.sleep(0.05)
        left = await asyncio.to_thread(_orphans, identity)
    return len(first)
