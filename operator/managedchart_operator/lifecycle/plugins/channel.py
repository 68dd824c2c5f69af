"""The connection to the operator, in the process of a plug-in.

A thread reads the answers, so that a phase can ask with `await` and, for what is a plain function or a property in the
operator, without. Calls may be made in any thread.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.lifecycle.plugins import wire

_CHUNK = 1024 * 1024


class Channel:
    """Sends calls to the operator, and returns what it answers."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}

    def receive(self) -> dict[str, Any]:
        """Wait for the next message. Raises EOFError when the operator has closed the connection."""
        length = int.from_bytes(self._exactly(wire.LENGTH_BYTES), "big")
        return wire.read(self._exactly(length))

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises TypeError, ValueError or RecursionError for one that cannot be sent."""
        data = wire.framed(message)
        if len(data) > wire.MAX_MESSAGE_BYTES:
            raise ValueError(f"{len(data)} bytes are more than a plug-in can send at once ({wire.MAX_MESSAGE_BYTES})")
        with self._sending:
            self._connection.sendall(data)

    def listen(self) -> None:
        """Begin to read answers, in a thread."""
        threading.Thread(target=self._listen, name="answers", daemon=True).start()

    def tell(self, call: str, *args: Any) -> None:
        """Make a call without an answer."""
        self.send({"call": call, "args": args})

    def ask(self, call: str, *args: Any) -> Any:
        """Make a call and wait for its answer, without giving way to the event loop. Raises what the operator raises."""
        return self._begin(call, args, {})[1].result()

    async def call(self, call: str, *args: Any, **options: Any) -> Any:
        """Make a call. Raises what the operator raises. A call that is cancelled has ended in the operator too."""
        number, future = self._begin(call, args, options)
        answer = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if not future.done():
                self.send({"cancel": number})
                # The caller has gone: the answer only has to have arrived, whatever it says.
                with contextlib.suppress(Exception):
                    await finish_before_cancel(_result(answer))
            raise

    def _begin(self, call: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[int, "Future[Any]"]:
        number, future = next(self._ids), Future[Any]()
        self._waiting[number] = future
        self.send({"id": number, "call": call, "args": args, "options": options})
        return number, future

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = self.receive()
                future = self._waiting.pop(message["id"])
                if "error" in message:
                    error = wire.error_of_operator(message["error"])
                    error.__dict__["known_to_operator"] = message["error"]["known"]
                    future.set_exception(error)
                elif "defect" in message:
                    future.set_exception(RuntimeError(message["defect"]))
                else:
                    future.set_result(message.get("result"))
        os._exit(1)  # without the operator there is nothing to do

    def _exactly(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = self._connection.recv(min(length - len(parts), _CHUNK))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


async def _result(answer: "asyncio.Future[Any]") -> Any:
    return await answer
