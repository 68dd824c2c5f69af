"""One helm process: started, read within bounds, and ended together with everything that it has started.

It replaces `asyncio.subprocess`, whose Process.wait() also waits until the pipes are closed (Python 3.11, measured), so a
grandchild that holds a pipe hides that helm has ended. Here helm's own exit counts, whoever still holds its pipes. After `end`
neither helm nor anything of its process group runs, and the operator's ends of the pipes are closed.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

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


class HelmProcess(asyncio.SubprocessProtocol):
    """A process in its own group. Make it with `start`; `finish` must follow, or `end`, whatever happens in between."""

    def __init__(
        self, *, keep_stdout: bool, on_line: Callable[[bytes], None] | None, on_start: Callable[[int], None] | None
    ) -> None:
        self._on_line = on_line
        self._on_start = on_start
        self._ended, self._stopped = asyncio.Event(), asyncio.Event()
        self._error: Exception | None = None
        self._read = asyncio.Event()
        self._open = {_STDOUT, _STDERR} if keep_stdout else {_STDERR}
        self._stdout, self._head, self._tail, self._line = bytearray(), bytearray(), bytearray(), b""
        self._dropped = False
        """Whether some of stderr is missing between head and tail."""
        self.too_much = False
        """Whether helm printed more than is kept, and was ended for it."""
        self._transport: asyncio.SubprocessTransport

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
        returns or raises. `on_start` is called with the id of the process as soon as it runs, `on_line` with each complete line
        of stderr. When cancelled, it finishes the start and then
        ends helm with `end`: asyncio would kill helm immediately, and leave its children.
        """
        starting = asyncio.get_running_loop().subprocess_exec(
            lambda: cls(keep_stdout=keep_stdout, on_line=on_line, on_start=on_start),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if keep_stdout else asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            pass_fds=pass_fds,
        )
        (_, process), cancelled = await finish_before_cancel(starting)
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
        code = self._transport.get_returncode()
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
            signal_group(self._transport.get_pid(), signal.SIGKILL)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._read.wait(), DRAIN_SECONDS)
            finally:
                self._transport.close()

    async def _terminate(self, grace: float) -> None:
        pid = self._transport.get_pid()
        signal_group(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._ended.wait()
        except TimeoutError:
            logger.warning("helm (pid %d) did not end within %.0f s of SIGTERM and is killed now", pid, grace)
            signal_group(pid, signal.SIGKILL)
            await self._ended.wait()

    # ---- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle that helm runs."""
        # asyncio promises this type, though event loops have their own classes.
        self._transport = cast("asyncio.SubprocessTransport", transport)
        if self._on_start:
            self._on_start(self._transport.get_pid())

    def process_exited(self) -> None:
        """Handle that helm has ended; its pipes may still be open."""
        self._ended.set()
        self._stopped.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """Handle that a pipe was closed at the other end."""
        self._open.discard(fd)
        if not self._open:
            self._read.set()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Handle output of helm. What exceeds the bounds is read and dropped, so a pipe is never full."""
        if fd == _STDOUT:
            room = STDOUT_BYTES - len(self._stdout)
            self._stdout += data[:room]
            if len(data) > room and not self.too_much:
                self.too_much = True
                # Whoever keeps the output only reads: helm changes nothing in the cluster then.
                signal_group(self._transport.get_pid(), signal.SIGTERM)
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


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; do nothing if it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
