"""Bounds the connections of the HTTP port, which anybody in the cluster can open.

aiohttp closes no connection on which nothing was ever sent, and counts none. Here a connection ends after a few seconds,
whatever it does, and one too many ends the oldest: so somebody who opens thousands and says nothing keeps neither the kubelet
nor Prometheus from being answered.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

# The kubelet opens one for each probe, and each Prometheus one for each scrape.
MOST_CONNECTIONS = 64
# A probe has 1 s by default, a scrape 10 s; an answer takes milliseconds.
CONNECTION_SECONDS = 10.0


@dataclass(slots=True)
class Connections:
    """Makes the protocols of a server; `serve` makes the one that does the work."""

    serve: Callable[[], asyncio.Protocol]
    most: int = MOST_CONNECTIONS
    seconds: float = CONNECTION_SECONDS
    _open: dict["_Bounded", asyncio.TimerHandle] = field(default_factory=dict)
    """The connections, the oldest first, and what ends each."""

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Bounded(self.serve(), self)

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, connection: "_Bounded") -> None:
        """Count a connection; the oldest is ended if it is one too many."""
        if len(self._open) >= self.most:
            oldest = next(iter(self._open))
            self.closed(oldest)
            oldest.end()
        self._open[connection] = asyncio.get_running_loop().call_later(self.seconds, connection.end)

    def closed(self, connection: "_Bounded") -> None:
        """Forget a connection."""
        if timer := self._open.pop(connection, None):
            timer.cancel()


class _Bounded(asyncio.Protocol):
    """A protocol that hands everything to another one, and can end its connection."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    def end(self) -> None:
        """End the connection, even if the other side reads nothing."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a socket's
        self._connections.opened(self)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self._inner.connection_lost(exc)
