"""What the proxy lets pass, byte by byte: only its own callers, only what it knows, only so much."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from harness.egress import SERVERS, TRAP, Names, Server, calls, trap
from managedchart_operator.egress import proxy as proxies
from managedchart_operator.egress.calls import Egress
from managedchart_operator.egress.dialing import UnreachableError
from managedchart_operator.egress.messages import Head, MessageError, Target
from managedchart_operator.egress.proxy import Budget, NoDocumentError, Session
from managedchart_operator.reasons import Reason

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(handler: Handler) -> AsyncIterator[int]:
    server = await asyncio.start_server(handler, SERVERS, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def login(session: Session) -> str:
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{session.user}:{session.password}".encode()).decode()


async def ask(port: int, *lines: str, more: bytes = b"") -> bytes:
    """Send a request to the proxy and return all that it answers until it ends the connection."""
    reader, writer = await asyncio.open_connection(SERVERS, port)
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + more)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_nobody_without_a_login_uses_the_proxy() -> None:
    """Such as a redirect to its port, or another program in the pod."""
    with trap() as server:
        async with calls(Names(), opened=["any"]) as egress:
            target, port = f"GET http://{TRAP}:{server.port}/ HTTP/1.1", egress.proxy.port
            with egress.proxy.session() as session:
                wrong = base64.b64encode(f"{session.user}:wrong".encode()).decode()
                for header in (
                    "X: y",
                    "Proxy-Authorization: Basic ",
                    f"Proxy-Authorization: Basic {wrong}",
                    "Proxy-Authorization: Basic \xff",
                ):
                    assert (await ask(port, target, header)).startswith(b"HTTP/1.1 407 ")
                assert (await ask(port, "GET / HTTP/1.1", "Host: 127.0.0.1")).startswith(b"HTTP/1.1 407 ")
                assert not server.requests
                assert (await ask(port, target, login(session))).startswith(b"HTTP/1.1 200 ")
            assert (await ask(port, target, login(session))).startswith(b"HTTP/1.1 407 "), "the session has ended"


BAD_REQUESTS = {
    "another method": ["PUT http://charts.test:{port}/ HTTP/1.1"],
    "a path only": ["GET / HTTP/1.1", "Host: charts.test:{port}"],
    "another scheme": ["GET ftp://charts.test:{port}/ HTTP/1.1"],
    "a login in the address": ["GET http://a:b@charts.test:{port}/ HTTP/1.1"],
    "another version": ["GET http://charts.test:{port}/ HTTP/3"],
    "no port": ["CONNECT charts.test HTTP/1.1"],
    "a path to connect to": ["CONNECT charts.test:{port}/x HTTP/1.1"],
    "a folded header": ["GET http://charts.test:{port}/ HTTP/1.1", "A: b", " c"],
    "a header with a space": ["GET http://charts.test:{port}/ HTTP/1.1", "A : b"],
    "a body without a length": ["POST http://charts.test:{port}/ HTTP/1.1", "Transfer-Encoding: chunked"],
    "two lengths": ["POST http://charts.test:{port}/ HTTP/1.1", "Content-Length: 1", "Content-Length: 2"],
    "a long body": ["POST http://charts.test:{port}/ HTTP/1.1", "Content-Length: 99999999"],
    "a host that is none": ["GET http://charts..test:{port}/ HTTP/1.1"],
    "a port that is none": ["CONNECT charts.test:99999 HTTP/1.1"],
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_what_readers_may_understand_differently_is_refused(name: str) -> None:
    with Server(lambda _: (200, {}, b"")) as server:
        async with calls(Names(charts=SERVERS)) as egress:
            with egress.proxy.session() as session:
                first, *rest = [line.replace("{port}", str(server.port)) for line in BAD_REQUESTS[name]]
                said = await ask(egress.proxy.port, first, login(session), *rest)
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 407 ")) or said == b""
    assert not server.requests


async def test_each_request_has_a_connection_of_its_own() -> None:
    """A second one on the same connection would be passed on unchecked."""
    with Server(lambda _: (200, {"Connection": "keep-alive", "Keep-Alive": "timeout=9"}, b"hello")) as server:
        async with calls(Names(charts=SERVERS)) as egress:
            with egress.proxy.session() as session:
                url = f"http://charts.test:{server.port}"
                second = f"GET {url}/second HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                said = await ask(
                    egress.proxy.port, f"GET {url}/first?a=b HTTP/1.1", login(session), "Host: other.test", "Connection: x-a",
                    "X-A: 1", "X-B: 2", more=second,
                )  # fmt: skip
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert b"keep-alive" not in head.lower().replace(b"connection: close", b"")
    assert body == b"hello"
    [(method, target, headers)] = server.requests
    assert (method, target, headers["Host"]) == ("GET", "/first?a=b", f"charts.test:{server.port}")
    assert {"Proxy-Authorization", "X-A"}.isdisjoint(headers)
    assert (headers["X-B"], headers["Connection"]) == ("2", "close")


async def test_a_login_form_is_passed_on() -> None:
    with Server(lambda _: (200, {}, b"{}")) as server:
        async with calls(Names(charts=SERVERS)) as egress:
            with egress.proxy.session() as session:
                first = f"POST http://charts.test:{server.port}/token HTTP/1.1"
                said = await ask(egress.proxy.port, first, login(session), "Content-Length: 3", more=b"a=b")
    assert said.endswith(b"\r\n\r\n{}")
    assert server.requests[0][2]["Content-Length"] == "3"


def explained(egress: Egress, session: Session) -> tuple[Reason, str]:
    """Return the reason and the message of a pull that has failed."""
    error = egress.explain(session, source="http://charts.test")
    assert error is not None
    return error.reason, error.message


async def test_a_pull_has_a_budget_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """S13: an endless answer is cut off while it arrives, of plain HTTP and of TLS alike."""

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except OSError:
            pass

    async with tcp_server(endless) as port, calls(Names(charts=SERVERS)) as egress:
        for first in (f"GET http://charts.test:{port}/ HTTP/1.1", f"CONNECT charts.test:{port} HTTP/1.1"):
            with egress.proxy.session() as session:
                session._bytes = 1_000_000
                said = await ask(egress.proxy.port, first, login(session))
                assert len(said) < 2_000_000
                assert session.exhausted is Budget.BYTES
                assert explained(egress, session) == (
                    Reason.CHART_TOO_LARGE,
                    "http://charts.test sends more than 128 MiB for one chart; the operator stopped the download",
                )


async def test_a_pull_has_a_budget_of_connections() -> None:
    with Server(lambda _: (200, {}, b"")) as server:
        async with calls(Names(charts=SERVERS)) as egress:
            with egress.proxy.session() as session:
                first = f"GET http://charts.test:{server.port}/ HTTP/1.1"
                answers = [await ask(egress.proxy.port, first, login(session)) for _ in range(66)]
                assert session.exhausted is Budget.CONNECTIONS
                assert explained(egress, session) == (
                    Reason.CHART_SOURCE_UNAVAILABLE,
                    "http://charts.test needs more than 64 connections for one chart; the operator stopped the download",
                )
    assert [bool(said) for said in answers] == [True] * 64 + [False] * 2


async def test_long_heads_are_refused() -> None:
    async with calls(Names(charts=SERVERS)) as egress:
        with egress.proxy.session() as session:
            said = await ask(
                egress.proxy.port, "GET http://charts.test:1/ HTTP/1.1", login(session), "A: " + "x" * 70_000
            )
            assert said == b""
            assert session.problem is None


async def test_silent_callers_and_servers_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """S12b: a server that never answers holds a connection for a bounded time."""
    monkeypatch.setattr(proxies, "_REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(proxies, "_SILENCE_SECONDS", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with tcp_server(silent) as port, calls(Names(charts=SERVERS)) as egress:
        with egress.proxy.session() as session:
            reader, writer = await asyncio.open_connection(SERVERS, egress.proxy.port)
            async with asyncio.timeout(20):
                assert await reader.read() == b""
            writer.close()
            assert await ask(egress.proxy.port, f"GET http://charts.test:{port}/ HTTP/1.1", login(session)) == b""
            said = await ask(egress.proxy.port, f"CONNECT charts.test:{port} HTTP/1.1", login(session))
            assert said == b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_the_end_of_a_session_ends_its_connections() -> None:
    ended = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    async with tcp_server(waits) as port, calls(Names(charts=SERVERS)) as egress:
        with egress.proxy.session() as session:
            reader, writer = await asyncio.open_connection(SERVERS, egress.proxy.port)
            writer.write(f"CONNECT charts.test:{port} HTTP/1.1\r\n{login(session)}\r\n\r\n".encode())
            assert await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            await ended.wait()
        writer.close()


async def test_a_name_that_is_not_known_is_said_in_gos_words() -> None:
    async with calls(Names()) as egress:
        with egress.proxy.session() as session:
            said = await ask(egress.proxy.port, "CONNECT nowhere.test:443 HTTP/1.1", login(session))
            assert said.startswith(b"HTTP/1.1 502 no such host\r\n")
            assert isinstance(session.problem, UnreachableError)


async def test_names_are_not_searched_in_the_cluster() -> None:
    """`a.b` is not tried as a.b.svc.cluster.local, except where an administrator has named it."""
    names = Names(charts=SERVERS)
    asked: list[str] = []

    async def resolve(host: str) -> object:
        asked.append(host)
        return await names(host)

    async with calls(resolve, sources=["http://charts.test:1"]) as egress:  # type: ignore[arg-type]
        with egress.proxy.session() as session:
            await ask(egress.proxy.port, "CONNECT charts.test:1 HTTP/1.1", login(session))
            await ask(egress.proxy.port, "CONNECT charts.test:2 HTTP/1.1", login(session))
    assert asked == ["charts.test", "charts.test."]


async def test_documents_are_all_that_such_a_session_gets() -> None:
    async def documents(url: str) -> bytes:
        if url.endswith("/known"):
            return url.encode()
        raise NoDocumentError

    with Server(lambda _: (200, {}, b"outside")) as server:
        async with calls(Names(charts=SERVERS)) as egress:
            with egress.proxy.session(documents) as session:

                async def said(first: str) -> bytes:
                    return await ask(egress.proxy.port, first, login(session))

                known = await said("GET http://x.schemas.invalid/known HTTP/1.1")
                assert known.startswith(b"HTTP/1.1 200 OK\r\n")
                assert known.endswith(b"\r\n\r\nhttp://x.schemas.invalid/known")
                assert (await said(f"GET http://charts.test:{server.port}/ HTTP/1.1")).startswith(b"HTTP/1.1 404 ")
                assert (await said(f"CONNECT charts.test:{server.port} HTTP/1.1")).startswith(b"HTTP/1.1 403 ")
                assert (await said(f"POST http://charts.test:{server.port}/ HTTP/1.1")).startswith(b"HTTP/1.1 403 ")
        assert not server.requests


@pytest.mark.parametrize("text", ["", "GET", "GET x y HTTP/1.1", "get http://a/ HTTP/1.1", "GET  http://a/ HTTP/1.1"])
def test_a_first_line_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        Target.of(Head.parse(f"{text}\r\n\r\n".encode()))


async def test_errors_do_not_name_the_address_of_a_name() -> None:
    """A tenant must not learn the addresses of names that only the cluster knows."""
    async with calls(Names(db="10.1.2.3")) as egress:
        with egress.proxy.session() as session:
            await ask(egress.proxy.port, "CONNECT db.test:443 HTTP/1.1", login(session))
            error = egress.explain(session, source="https://charts.test")
    assert error is not None
    assert "10.1.2.3" not in f"{error.message}{error.hint}"
    assert error.message == (
        "https://charts.test leads to https://db.test, which the operator may not call for a chart: its address is private"
    )


async def test_an_answer_that_never_begins_is_given_up() -> None:
    """Thousands of them in one packet held up the event loop."""
    heads = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(b"HTTP/1.1 102 A\r\n\r\n" * 1000)
                heads += 1000
                await writer.drain()

    async with tcp_server(handle) as port, calls(Names(), opened=["any"]) as egress:
        with egress.proxy.session() as session:
            answer = await ask(egress.proxy.port, f"GET http://{SERVERS}:{port}/ HTTP/1.1", login(session))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert session.exhausted is None
