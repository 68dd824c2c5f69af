"""One helm process: started, read within bounds, and ended together with everything that it has started.

It replaces `asyncio.subprocess`, whose Process.wait() also waits until the pipes are closed (Python 3.11, measured), so a
grandchild that holds a pipe hides that helm has ended. Here helm's own exit counts, whoever still holds its pipes. And asyncio
tells which process it has started only after five turns of the event loop, so that helm would have no limits while other
callbacks run (with turns of 20 ms it had used 24 ms of CPU by then, with 100 ms it had ended; measured). After `end` neither
helm nor anything of its process group runs, and the operator's ends of the pipes are closed.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self

from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.shortening import CUT_OUT

logger = logging.getLogger(__name__)

# helm ends within 0.02 s of a SIGTERM (measured), but its last step is one write to the API server, which takes a few seconds
# when that is slow. After that SIGKILL is better than a resource that is blocked.
TERM_GRACE_SECONDS = 10.0
# For a process that is stopped because it uses too much: a template's loop does not notice SIGTERM, and nothing was stored yet.
STOP_GRACE_SECONDS = 1.0
# What helm wrote before it ended is in the pipe, which holds 64 KiB and is read in one turn of the event loop; the rest of this
# time is for a loop that is late. helm's group has been killed by then: only a process with a session of its own holds the
# pipe.
DRAIN_SECONDS = 0.5
# An error text is a few KiB; --debug adds a line an object. The head shows what began, the tail why it ended. All of it is
# redacted, which takes 0.1 s at worst (measured).
STDERR_HEAD_BYTES = 16 * 1024
STDERR_TAIL_BYTES = 48 * 1024
# helm prints the document that it stores. The largest that fits into its Secret, 1 MiB compressed, is below this: that of
# kube-prometheus-stack has 9 MB.
STDOUT_BYTES = 16 * 1024 * 1024
# Lines of helm's log are shorter; of a longer one only the tail is searched.
STDERR_LINE_BYTES = 8 * 1024
_STDOUT, _STDERR = 1, 2


class HelmProcess:
    """A process in its own group. Make it with `start`; `finish` must follow, or `end`, whatever happens in between."""

    def __init__(self, *, keep_stdout: bool, on_line: Callable[[bytes], None] | None) -> None:
        self._on_line = on_line
        self._ended, self._stopped = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        self._read = asyncio.Event()
        self._open = {_STDOUT, _STDERR} if keep_stdout else {_STDERR}
        self._stdout, self._head, self._tail, self._line = bytearray(), bytearray(), bytearray(), b""
        self._dropped = False
        """Whether some of stderr is missing between head and tail."""
        self.too_much = False
        """Whether helm printed more than is kept, and was ended for it."""
        self._process: subprocess.Popen[bytes]
        self._pipes: list[asyncio.BaseTransport] = []

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        keep_stdout: bool = False,
        on_line: Callable[[bytes], None] | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> Self:
        """Start a program with these arguments and this environment only. Raises OSError.

        The program inherits only the descriptors `pass_fds`, under the same numbers; the caller may close them when this
        returns or raises. `on_start` is called with the id of the process before anything else in the operator's thread runs;
        if it raises, the process is killed. `on_line` is called with each complete line of stderr. When cancelled, it finishes
        the start and then ends helm with `end`.
        """
        process = cls(keep_stdout=keep_stdout, on_line=on_line)
        command, environment = list(command), dict(environment)
        starting = process._start(command, environment, pass_fds, keep_stdout=keep_stdout, on_start=on_start)
        _, cancelled = await finish_before_cancel(starting)
        if cancelled:
            await process.end()
            raise cancelled
        return process

    @property
    def stdout(self) -> bytes:
        """What was kept so far; empty without `keep_stdout`."""
        return bytes(self._stdout)

    @property
    def stderr(self) -> str:
        """Head and tail so far; complete where that fits, else with CUT_OUT between them."""
        head, tail = (part.decode(errors="replace") for part in (self._head, self._tail))
        return f"{head}{CUT_OUT}{tail}" if self._dropped else (self._head + self._tail).decode(errors="replace")

    @property
    def exit_code(self) -> int:
        """0 for success, negative for the signal that ended it. Only known after the end."""
        code = self._process.returncode
        assert code is not None  # noqa: S101 -- a caller's defect
        return code

    async def finish(self, deadline: float, *, grace: float | None = None) -> None:
        """Wait until helm itself has ended, and `end` it in any case.

        Raises TimeoutError after `deadline` seconds, and the error that `stop` is called with.
        """
        try:
            async with asyncio.timeout(deadline):
                await self._stopped.wait()
            if self._error:
                grace = STOP_GRACE_SECONDS
                raise self._error
        finally:
            await self.end(grace=grace)

    def stop(self, error: Exception) -> None:
        """Make `finish` end helm and raise an error, unless helm has ended."""
        if not self._stopped.is_set():
            self._error = error
            self._stopped.set()

    async def end(self, *, grace: float | None = None) -> None:
        """End helm and its group: SIGTERM, the grace, SIGKILL. Waits until they have ended even when cancelled again."""
        try:
            if not self._ended.is_set():
                terminating = self._terminate(TERM_GRACE_SECONDS if grace is None else grace)
                _, cancelled = await finish_before_cancel(terminating)
                if cancelled:
                    raise cancelled
        finally:
            # Processes that helm started and left behind (a plugin, a credential helper); nobody waits for them.
            signal_group(self._process.pid, signal.SIGKILL)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._read.wait(), DRAIN_SECONDS)
            finally:
                self._close_pipes()

    async def _terminate(self, grace: float) -> None:
        pid = self._process.pid
        signal_group(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._ended.wait()
        except TimeoutError:
            logger.warning("helm (pid %d) did not end within %.0f s of SIGTERM and is killed now", pid, grace)
            signal_group(pid, signal.SIGKILL)
            await self._ended.wait()

    # ---- the start

    async def _start(
        self,
        command: list[str],
        environment: dict[str, str],
        pass_fds: Sequence[int],
        *,
        keep_stdout: bool,
        on_start: Callable[[int], None] | None,
    ) -> None:
        self._process = process = _spawn(command, environment, pass_fds, keep_stdout=keep_stdout)
        try:
            if on_start:
                on_start(process.pid)
            _call_at_end(process, self._has_ended)
            loop = asyncio.get_running_loop()
            for number, pipe in ((_STDOUT, process.stdout), (_STDERR, process.stderr)):
                if pipe is not None:
                    made = partial(_Pipe, partial(self._received, number), partial(self._closed, number))
                    self._pipes.append((await loop.connect_read_pipe(made, pipe))[0])
        except BaseException:
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
            self._close_pipes()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
            raise

    def _close_pipes(self) -> None:
        for transport in self._pipes:
            transport.close()

    # ---- called by the event loop

    def _has_ended(self) -> None:
        """Handle that helm has ended; its pipes may still be open."""
        self._ended.set()
        self._stopped.set()

    def _closed(self, number: int) -> None:
        """Handle that a pipe was closed at the other end."""
        self._open.discard(number)
        if not self._open:
            self._read.set()

    def _received(self, number: int, data: bytes) -> None:
        """Handle output of helm. What exceeds the bounds is read and dropped, so a pipe is never full."""
        if number == _STDOUT:
            room = STDOUT_BYTES - len(self._stdout)
            self._stdout += data[:room]
            if len(data) > room and not self.too_much:
                self.too_much = True
                # Whoever keeps the output only reads: helm changes nothing in the cluster then.
                signal_group(self._process.pid, signal.SIGTERM)
            return
        *lines, self._line = (self._line + data).split(b"\n")
        if self._on_line:
            for line in lines:
                self._on_line(line)
        self._line = self._line[-STDERR_LINE_BYTES:]
        room = STDERR_HEAD_BYTES - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        self._dropped = self._dropped or len(self._tail) > STDERR_TAIL_BYTES
        del self._tail[:-STDERR_TAIL_BYTES]


def _spawn(
    command: list[str], environment: dict[str, str], pass_fds: Sequence[int], *, keep_stdout: bool
) -> subprocess.Popen[bytes]:
    """Start a program; blocks until it is executed, as asyncio does."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keep_stdout else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment,
        start_new_session=True,
        pass_fds=pass_fds,
    )


def _call_at_end(process: subprocess.Popen[bytes], ended: Callable[[], None]) -> None:
    """Call a function in the event loop once a process itself has ended."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        # A sandbox without this call, or too many open files.
        threading.Thread(target=_wait_in_thread, args=(process, loop, ended), name="end of helm", daemon=True).start()
        return

    def reap() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        process.wait()
        ended()

    loop.add_reader(descriptor, reap)


def _wait_in_thread(
    process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: Callable[[], None]
) -> None:
    process.wait()
    with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits
        loop.call_soon_threadsafe(ended)


class _Pipe(asyncio.Protocol):
    """What arrives in a pipe."""

    def __init__(self, received: Callable[[bytes], None], closed: Callable[[], None]) -> None:
        self._received, self._closed = received, closed

    def data_received(self, data: bytes) -> None:
        self._received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closed()


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; do nothing if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
