"""A forward proxy inside the operator: the only way out that a `helm pull` is given.

It knows CONNECT for TLS, which it passes on unread, and requests for http:// addresses, one a connection, each of which is
checked. It listens on 127.0.0.1 on a free port. A caller needs the login of a session, which lasts for one pull and is known to
that helm process only; so nothing else in the pod, and no redirect to this port, can use it. Within a session the bytes, the
connections and the time are bounded. What was refused or not reached is kept in the session, since helm's words do not name it.
"""

import asyncio
import base64
import hmac
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, TypeAlias

from managedchart_operator.egress.dialing import Dialer, RefusedError, Streams, UnreachableError, close
from managedchart_operator.egress.messages import (
    HEAD_BYTES,
    Head,
    MessageError,
    Target,
    answer,
    body_length,
    length_of,
    status_of,
)

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
# A chart has at most 20 MiB, the largest public index.yaml some 30 MiB; helm reads the index twice at most.
SESSION_BYTES = 128 * 1024 * 1024
# A pull makes two to six requests, one after another, and as many again for redirects and logins.
SESSION_CONNECTIONS = 64
AT_ONCE = 8
# Of all sessions together: each connection costs two sockets and some buffers. There are fewer helm processes than that.
CONNECTIONS = 512
# helm sends its request at once.
_REQUEST_SECONDS = 10.0
# Servers that compute an answer need seconds; the whole pull has a deadline of two minutes.
_SILENCE_SECONDS = 60.0
# A login at a registry posts a form of some hundred bytes.
_BODY_BYTES = 64 * 1024
_CHUNK = 64 * 1024
_METHODS = frozenset({"GET", "HEAD", "POST"})
_INFORMATIONAL = range(100, 200)
# Go's client refuses more (net/http, max1xxResponses). Each costs some 20 µs, and thousands arrive at once.
_MOST_INFORMATIONAL = 5
_NOT_HTTP = "its answer is not valid HTTP"
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


Documents: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Returns what is at an http:// address. Raises NoDocumentError."""


class NoDocumentError(Exception):
    """There is nothing at this address; who serves the documents knows why."""


class _ExhaustedError(Exception):
    """The session has used up its bytes or connections."""


class Budget(Enum):
    """What a session has a limited amount of."""

    BYTES = "bytes"
    CONNECTIONS = "connections"


@dataclass(slots=True, eq=False)
class Session:
    """What one caller may do, and what has happened. `environment` makes a Go program use the proxy."""

    user: str
    password: str
    port: int
    problem: RefusedError | UnreachableError | None = None
    """The last connection that was refused or failed."""
    documents: Documents | None = None
    """Answers all requests of the session, of which none leaves the operator then."""
    dialer: Dialer | None = None
    """Opens the connections of the session, within other rules than those for charts."""
    exhausted: Budget | None = None
    """What it wanted more of than it has."""
    _bytes: int = SESSION_BYTES
    _connections: int = SESSION_CONNECTIONS
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The proxy's address, with the login."""
        return f"http://{self.user}:{self.password}@{HOST}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables for a program that uses the proxy for everything except this machine itself, as Go always does."""
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        return {**dict.fromkeys(names, self.url), "NO_PROXY": "", "no_proxy": ""}

    def count_connection(self) -> None:
        """Count a connection. Raises _ExhaustedError."""
        self._connections -= 1
        if self._connections < 0 or len(self.tasks) > AT_ONCE:
            self.exhausted = Budget.CONNECTIONS
            raise _ExhaustedError

    def count_bytes(self, number: int) -> None:
        """Count bytes that were received. Raises _ExhaustedError."""
        self._bytes -= number
        if self._bytes < 0:
            self.exhausted = Budget.BYTES
            raise _ExhaustedError


class EgressProxy:
    """The proxy. Use `serving` once; `session` for each caller."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self._sessions: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen for as long as the context lasts; all connections are closed at its end."""
        server = await asyncio.start_server(self._accept, HOST, 0, limit=HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await _end(self._tasks)

    @contextmanager
    def session(
        self, documents: Documents | None = None, *, dialer: Dialer | None = None, most_bytes: int = SESSION_BYTES
    ) -> Iterator[Session]:
        """Let one caller use the proxy for as long as the context lasts; its connections are closed at the end.

        With `documents`, the caller gets these and can call nobody. With a `dialer`, its rules hold instead of the proxy's.
        """
        login = secrets.token_urlsafe(12), secrets.token_urlsafe(24)
        session = Session(*login, self.port, documents=documents, dialer=dialer, _bytes=most_bytes)
        self._sessions[session.user] = session
        try:
            yield session
        finally:
            del self._sessions[session.user]
            for task in session.tasks:
                task.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve((reader, writer)), name="egress")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: Streams) -> None:
        reader, writer = client
        session: Session | None = None
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = Head.parse(await reader.readuntil(b"\r\n\r\n"))
                session = self._session_of(head)
                if session is None:
                    login = ("Proxy-Authenticate", 'Basic realm="managedchart-operator"')
                    await _reply(writer, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, "login required", login)
                    return
            if task is not None:
                session.tasks.add(task)
            await self._handle(session, head, client)
        except _ExhaustedError:
            writer.transport.abort()
        except RefusedError as error:
            assert session is not None  # noqa: S101 -- it is raised after the login
            session.problem = error
            await _reply(writer, HTTPStatus.FORBIDDEN, "refused by the operator")
        except UnreachableError as error:
            assert session is not None  # noqa: S101 -- as above
            session.problem = error
            await _reply(writer, HTTPStatus.BAD_GATEWAY, error.why)
        except MessageError:
            await _reply(writer, HTTPStatus.BAD_REQUEST, "not a request that this proxy knows")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # One of the two sides hung up or is silent, and the other one sees the end of the connection.
            writer.transport.abort()
        finally:
            if session is not None and task is not None:
                session.tasks.discard(task)
            await close(writer)

    def _session_of(self, head: Head) -> Session | None:
        scheme, _, encoded = (head.one("proxy-authorization") or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
        except ValueError:  # neither base64 nor ASCII
            return None
        session = self._sessions.get(user)
        return session if session and hmac.compare_digest(session.password, password) else None

    async def _handle(self, session: Session, head: Head, client: Streams) -> None:
        target = Target.of(head)
        session.count_connection()
        if session.documents is not None:
            await _serve_document(session.documents, target, client[1])
            return
        dialer = session.dialer or self.dialer
        if target.path is None:
            server, _ = await dialer.connect(target)
            try:
                client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _relay(session, client, server)
            finally:
                await close(server[1])
            return
        if target.method not in _METHODS:
            raise MessageError("a method that no pull needs")
        length = body_length(head, limit=_BODY_BYTES)
        async with asyncio.timeout(_REQUEST_SECONDS):
            body = await client[0].readexactly(length)
        server, upstream = await dialer.connect(target)
        try:
            url, also = target.path, [("Host", target.host_header)]
            if upstream is not None:
                url = f"http://{target.host_header}{target.path}"
                also += [("Proxy-Authorization", upstream.authorization)] if upstream.authorization else []
            request = head.for_next_hop(f"{target.method} {url} HTTP/1.1", without=("host",), also=also)
            server[1].write(request.encode() + body)
            await _pass_answer_on(session, target, server[0], client)
        finally:
            await close(server[1])


async def _serve_document(documents: Documents, target: Target, writer: asyncio.StreamWriter) -> None:
    if target.method != "GET" or target.path is None:
        await _reply(writer, HTTPStatus.FORBIDDEN, "refused by the operator")
        return
    try:
        body = await documents(f"http://{target.host_header}{target.path}")
    except NoDocumentError:
        await _reply(writer, HTTPStatus.NOT_FOUND, "not found")
        return
    head = Head("HTTP/1.1 200 OK", (("Content-Length", str(len(body))), ("Connection", "close")))
    writer.write(head.encode() + body)
    async with asyncio.timeout(_SILENCE_SECONDS):
        await writer.drain()


async def _pass_answer_on(session: Session, target: Target, server: asyncio.StreamReader, client: Streams) -> None:
    """Send one answer to the client, as the last one of its connection."""
    for _ in range(_MOST_INFORMATIONAL + 1):
        async with asyncio.timeout(_SILENCE_SECONDS):
            raw = await server.readuntil(b"\r\n\r\n")
        session.count_bytes(len(raw))
        try:
            head = Head.parse(raw)
            status = status_of(head)
        except MessageError as error:
            raise UnreachableError(target, _NOT_HTTP) from error
        if status not in _INFORMATIONAL:
            break
    else:
        raise UnreachableError(target, _NOT_HTTP)
    client[1].write(head.for_next_hop(head.line).encode())
    await client[1].drain()
    if target.method == "HEAD" or status in _WITHOUT_BODY:
        return
    # A server may keep its connection open all the same; then the length, or the client's end, shows that everything is read.
    copying = asyncio.ensure_future(_copy(session, server, client[1], length=length_of(head)))
    ending = asyncio.ensure_future(_until_gone(client[0]))
    try:
        await asyncio.wait({copying, ending}, return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()
    finally:
        await _end({copying, ending})


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """Drop what a client sends after its request: another one would not have been checked."""
    while await reader.read(_CHUNK):
        pass


async def _relay(session: Session, client: Streams, server: Streams) -> None:
    """Pass bytes on in both directions until the server ends the connection, or the client is gone."""
    up = asyncio.ensure_future(_copy(None, client[0], server[1]))
    down = asyncio.ensure_future(_copy(session, server[0], client[1]))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if down.done():
            down.result()
        elif up.exception() is None and server[1].can_write_eof():
            # The client has sent everything; the server may still answer.
            server[1].write_eof()
            await down
    finally:
        await _end({up, down})


async def _copy(
    session: Session | None, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, length: int = sys.maxsize
) -> None:
    """Copy until the end, or so many bytes. Bytes to a `session` are counted, and must not take long to arrive."""
    while length > 0:
        async with asyncio.timeout(_SILENCE_SECONDS if session else None):
            data = await source.read(min(_CHUNK, length))
        if not data:
            return
        length -= len(data)
        if session:
            session.count_bytes(len(data))
        sink.write(data)
        async with asyncio.timeout(_SILENCE_SECONDS):
            await sink.drain()


async def _reply(writer: asyncio.StreamWriter, status: HTTPStatus, why: str, *headers: tuple[str, str]) -> None:
    writer.write(answer(status, why, *headers))
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_REQUEST_SECONDS):
            await writer.drain()


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
