"""One helm process: started, read within bounds, and ended with all that it has started.

Purpose: what `asyncio.subprocess` leaves open. Its Process.wait() of Python 3.11 also waits until the pipes are closed
(measured), so a grandchild that holds one hides that helm has ended. Boundary: knows no slots, deadlines or errors; those are
`runner`'s and `binary`'s. Invariants: helm's own exit is the end, whoever still holds its pipes; after `end` neither helm
nor anything of its process group runs, and its pipes are closed on our side.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Self, cast

from managedchart_operator.cancellation import finish_before_cancel

logger = logging.getLogger(__name__)

# helm ends within 0.02 s of a SIGTERM (measured); its last act is one write to the API server, which may take a few
# seconds when that is slow. Beyond that SIGKILL is better than a resource that cannot move.
TERM_GRACE_SECONDS = 10.0
# What helm wrote before it ended is in the pipe, which holds 64 KiB and is read in one turn of the event loop. The rest is for
# a loop that is late. Nobody of helm's group can write any more then, so a pipe that stays open has left with its own session.
LAST_WORDS_SECONDS = 0.5
# An error text is a few KiB; --debug adds a line an object. The head tells what began, the tail why it ended.
STDERR_HEAD_BYTES = 64 * 1024
STDERR_TAIL_BYTES = 128 * 1024
# The largest release that fits into a Secret is 1 MiB compressed; rendered manifests of that are below this.
STDOUT_BYTES = 32 * 1024 * 1024
# A line of helm's log is shorter; of one without an end only its tail is searched.
STDERR_LINE_BYTES = 8 * 1024
_STDOUT, _STDERR = 1, 2


class HelmProcess(asyncio.SubprocessProtocol):
    """A process in its own group. Make it with `start`; `end` must follow, whatever comes in between."""

    def __init__(self, *, keep_stdout: bool, on_line: Callable[[bytes], None] | None) -> None:
        self._on_line = on_line
        self._ended = asyncio.Event()
        self._read = asyncio.Event()
        self._open = {_STDOUT, _STDERR} if keep_stdout else {_STDERR}
        self._stdout, self._head, self._tail, self._line = bytearray(), bytearray(), bytearray(), b""
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
    ) -> Self:
        """Start a program with these arguments and this environment only. Raises OSError.

        The program inherits the descriptors `pass_fds` under the same numbers, and no others; the caller may close them when
        this returns or raises. `on_line` is called with each complete line of stderr. A cancel lets the start come to its end
        and then ends helm as always: asyncio would kill it at once, and it alone.
        """
        starting = asyncio.get_running_loop().subprocess_exec(
            lambda: cls(keep_stdout=keep_stdout, on_line=on_line),
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
        """What was kept of it so far; empty where nobody wanted it."""
        return bytes(self._stdout)

    @property
    def stderr(self) -> str:
        """Its head and its tail so far; whole where it fits."""
        return (self._head + self._tail).decode(errors="replace")

    @property
    def exit_code(self) -> int:
        """0 for success, negative for the signal that ended it. To be asked after the end only."""
        code = self._transport.get_returncode()
        assert code is not None  # noqa: S101 -- a caller's defect
        return code

    async def wait(self) -> None:
        """Return when helm itself has ended; `end` reads what is left."""
        await self._ended.wait()

    async def end(self, *, grace: float | None = None) -> None:
        """Make sure that helm and its group are gone: SIGTERM, the grace, SIGKILL. Waits even when cancelled again."""
        try:
            if not self._ended.is_set():
                terminating = self._terminate(TERM_GRACE_SECONDS if grace is None else grace)
                _, cancelled = await finish_before_cancel(terminating)
                if cancelled:
                    raise cancelled
        finally:
            # What helm started and left behind (a plugin, a credential helper); nobody waits for it any more.
            signal_group(self._transport.get_pid(), signal.SIGKILL)
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._read.wait(), LAST_WORDS_SECONDS)
            finally:
                self._transport.close()

    async def _terminate(self, grace: float) -> None:
        pid = self._transport.get_pid()
        signal_group(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._ended.wait()
        except TimeoutError:
            logger.warning("helm (pid %d) did not end within %.0f s of SIGTERM and is killed", pid, grace)
            signal_group(pid, signal.SIGKILL)
            await self._ended.wait()

    # ---- what the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """helm runs."""
        # What it is by asyncio's promise; other event loops have classes of their own.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def process_exited(self) -> None:
        """helm has ended; its pipes may be open still."""
        self._ended.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """A pipe was closed at the other side."""
        self._open.discard(fd)
        if not self._open:
            self._read.set()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """helm has written something. What is beyond the bounds is read all the same, so that no pipe is ever full."""
        if fd == _STDOUT:
            self._stdout += data[: STDOUT_BYTES - len(self._stdout)]
            return
        *lines, self._line = (self._line + data).split(b"\n")
        if self._on_line:
            for line in lines:
                self._on_line(line)
        self._line = self._line[-STDERR_LINE_BYTES:]
        room = STDERR_HEAD_BYTES - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[max(room, 0) :]
        del self._tail[:-STDERR_TAIL_BYTES]


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
