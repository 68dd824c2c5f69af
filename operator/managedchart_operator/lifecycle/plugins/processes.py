"""Starts and ends the processes of plug-ins.

They are forked from one process (`fork_server`), which is started at the first use and again after it has ended. A process has
a memory limit, a low priority, and nothing of the operator's environment but what is listed here. It is ended together with
all that it has started, whatever it does.

This keeps the operator running when a plug-in has a defect. It is not a defence against a hostile plug-in: the processes have
the user of the operator.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from managedchart_operator import python_child
from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.errors import WorkerError
from managedchart_operator.lifecycle.plugins import wire
from managedchart_operator.lifecycle.plugins.places import FEWEST_PLACES, Places

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
# Two processes take as much of the pod as one of helm.
DEFAULT_MEMORY_BYTES = 256 * MIB
# What the operator's API takes, with as much again for the plug-in.
SMALLEST_MEMORY_BYTES = 128 * MIB
_SERVER = "managedchart_operator.lifecycle.plugins.fork_server"
# Beside what Python needs: what finds certificates, and what an administrator sets for plug-ins.
_PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_ON_PREFIXES = ("PLUGIN_",)
_PACKET_BYTES = 4096
# Its imports take 0.7 s, on a busy machine with little CPU for it much longer.
_START_SECONDS = 60.0
# A plug-in that floods the operator with messages or output is read slowly: so many at once, then one in so many seconds.
_FREELY = 2000
_PAUSE_SECONDS = 0.01
_OUTPUT_CHUNK = 64 * 1024


class Connection:
    """The operator's end of the connection to a process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._received = 0

    async def send(self, data: bytes) -> None:
        """Send a framed message. A process that has ended is noticed by `receive`."""
        with contextlib.suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message; None if the process has ended. Raises ValueError for a message that is none."""
        self._received += 1
        if self._received > _FREELY:
            await asyncio.sleep(_PAUSE_SECONDS)
        try:
            length = int.from_bytes(await self._reader.readexactly(wire.LENGTH_BYTES), "big")
            if length > wire.MAX_MESSAGE_BYTES:
                raise ValueError(f"it has {length} bytes")
            return wire.read(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            return None

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class PluginProcess:
    """A process that runs, or has ended with `exit_code`."""

    def __init__(self, connection: Connection, pid: int) -> None:
        self.connection = connection
        self.pid = pid
        self.exit_code: int | None = None
        """Negative for a signal; None while it runs."""


class PluginProcesses:
    """The processes of all plug-ins of the operator."""

    def __init__(self, *, memory: int = DEFAULT_MEMORY_BYTES, places: int = FEWEST_PLACES, share: float = 0.5) -> None:
        self.memory = memory
        self.places = Places(places, each=memory, share=share)
        self._ids = itertools.count()
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket

    @asynccontextmanager
    async def started(self, log: Callable[[str], None]) -> AsyncIterator[PluginProcess]:
        """Start a process; at the end of the block it is ended. `log` gets the lines that it prints.

        The caller holds one of `places`. Raises WorkerError if it cannot be started.
        """
        own, other = socket.socketpair()
        own.setblocking(False)
        output, written = os.pipe()
        try:
            with other:
                pid = await self._request({"memory": self.memory}, other.fileno(), written)
        except BaseException:
            own.close()
            os.close(output)
            raise
        finally:
            os.close(written)
        if not pid:
            own.close()
            os.close(output)
            raise WorkerError(
                "A process of a plug-in cannot be started: too many processes or too little memory", why="died"
            )
        reading = asyncio.create_task(_log_output(output, log))
        process = PluginProcess(Connection(*await asyncio.open_connection(sock=own)), pid)
        try:
            yield process
        finally:
            _, cancelled = await finish_before_cancel(self._end(process, reading))
            if cancelled:
                raise cancelled

    async def _end(self, process: PluginProcess, reading: "asyncio.Task[None]") -> None:
        await self.end(process)
        process.connection.close()
        # What it has printed before its end is in the pipe.
        done, _ = await asyncio.wait([reading], timeout=1.0)
        if not done:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def end(self, process: PluginProcess) -> int:
        """End a process and return its exit code."""
        if process.exit_code is None:
            try:
                process.exit_code = await self._request({"end": process.pid})
            except WorkerError:
                process.exit_code = -signal.SIGKILL  # the kernel has ended it together with the server
        return process.exit_code

    async def close(self) -> None:
        """End all processes."""
        server, self._server = self._server, None
        if server is not None:
            self._lost()
            await asyncio.to_thread(_kill, server)

    async def _request(self, request: Mapping[str, Any], *descriptors: int) -> int:
        """Make a request to the server and return its answer. Raises WorkerError."""
        if self._server is None:
            self._start()
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            packet = json.dumps({**request, "id": number}).encode()
            socket.send_fds(self._control, [packet], descriptors)
            return await asyncio.wait_for(answer, _START_SECONDS)
        except (OSError, TimeoutError) as error:
            raise WorkerError(f"The process of plug-ins does not answer: {error!r}", why="died") from error
        finally:
            if answer.cancelled() and "memory" in request:
                # Nobody will know the process, so it is ended as soon as it is known.
                answer = self._answers[number] = asyncio.get_running_loop().create_future()
                answer.add_done_callback(self._end_unknown)
            else:
                self._answers.pop(number, None)

    def _end_unknown(self, answer: "asyncio.Future[int]") -> None:
        if not answer.cancelled() and not answer.exception():
            with contextlib.suppress(OSError):
                socket.send_fds(self._control, [json.dumps({"id": -1, "end": answer.result()}).encode()], ())

    def _start(self) -> None:
        """Start the server. Raises WorkerError."""
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own.setblocking(False)
        try:
            with other:
                # The kernel ends the server with the thread that has started it: that of the event loop ends last.
                self._server = python_child.start(_SERVER, other, names=_PASSED_ON, prefixes=_PASSED_ON_PREFIXES)
        except OSError as error:
            own.close()
            raise WorkerError(f"The process of plug-ins cannot be started: {error.strerror}", why="died") from error
        self._control = own
        asyncio.get_running_loop().add_reader(own, self._read_answer)

    def _read_answer(self) -> None:
        try:
            data = self._control.recv(_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            logger.warning("the process of plug-ins has ended; the next phase of a plug-in starts another one")
            server, self._server = self._server, None
            self._lost()
            if server is not None:
                server.kill()
                server.wait()  # it has closed its socket, so it has ended, or ends at once
            return
        message = json.loads(data)  # from code of the operator only
        answer = self._answers.pop(message["id"], None)
        if answer is not None and not answer.done():
            answer.set_result(message["answer"])

    def _lost(self) -> None:
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(WorkerError("The process of plug-ins has ended", why="died"))


def _kill(server: "subprocess.Popen[bytes]") -> None:
    server.kill()
    server.wait()


async def _log_output(descriptor: int, log: Callable[[str], None]) -> None:
    """Log what a process prints, line by line, and read slowly what is too much."""
    reader = asyncio.StreamReader(limit=_OUTPUT_CHUNK)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    begun, lines = b"", 0
    try:
        while data := await reader.read(_OUTPUT_CHUNK):
            *whole, begun = (begun + data).split(b"\n")
            for line in [*whole, begun] if len(begun) > _OUTPUT_CHUNK else whole:
                lines += 1
                if lines <= _FREELY and line.strip():
                    log(line.decode(errors="replace"))
            if len(begun) > _OUTPUT_CHUNK:
                begun = b""
            if lines > _FREELY:
                await asyncio.sleep(_PAUSE_SECONDS)
        if begun.strip():
            log(begun.decode(errors="replace"))
    finally:
        transport.close()
