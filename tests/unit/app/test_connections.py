"""The HTTP port answers probes and scrapes, whatever others do with it (S25)."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from managedchart_operator.app import connections, http
from managedchart_operator.app.metrics import Metrics


@pytest.fixture
async def port() -> AsyncIterator[int]:
    served = http.serving(host="127.0.0.1", port=0, metrics=Metrics(), healthy=lambda: None, ready=lambda: None)
    async with served as found:
        yield found


async def get(port: int, path: str, *, agent: str = "kube-probe/1.37") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(headers={"User-Agent": agent}) as session,
        session.get(f"http://127.0.0.1:{port}{path}", timeout=aiohttp.ClientTimeout(total=10)) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize("agent", ["Helm/4.3.1", "Go-http-client/1.1"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/index.yaml", "/v2/"])
async def test_helm_gets_nothing(port: int, agent: str, path: str) -> None:
    """A chart's repository, token realm or schema may name the operator's own address."""
    assert await get(port, path, agent=agent) == (403, "")


@pytest.mark.parametrize("agent", ["kube-probe/1.37", "Prometheus/3.5.0", "curl/8.0"])
async def test_probes_and_scrapers_are_answered(port: int, agent: str) -> None:
    assert await get(port, "/healthz", agent=agent) == (200, "ok\n")
    status, text = await get(port, "/metrics", agent=agent)
    assert status == 200
    assert "managedchart_" in text


async def test_a_probe_is_answered_beside_900_idle_connections(port: int) -> None:
    """The oldest of them give way; so many would use up the descriptors of the process."""
    writers: list[asyncio.StreamWriter] = []
    for number in range(900):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        if number % 2:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        writers.append(writer)
    began = time.process_time()
    assert await get(port, "/healthz") == (200, "ok\n")
    assert time.process_time() - began < 5
    for writer in writers:
        writer.close()


class Inner(asyncio.Protocol):
    """The protocol that does the work; it says nothing."""


async def test_no_more_connections_than_allowed_are_open() -> None:
    bound = connections.Connections(Inner, most=3, seconds=60)
    server = await asyncio.get_running_loop().create_server(bound, "127.0.0.1", 0)
    streams = [await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1]) for _ in range(5)]
    for reader, _ in streams[:2]:
        assert await _ends(reader)
    assert len(bound) == 3
    server.close()
    for _, writer in streams:
        writer.close()


async def test_a_connection_ends_whatever_it_does() -> None:
    """Also one that sends a byte now and then."""
    bound = connections.Connections(Inner, seconds=0.2)
    server = await asyncio.get_running_loop().create_server(bound, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    sender = asyncio.create_task(_trickle(writer))
    async with asyncio.timeout(10):
        assert await _ends(reader)
    sender.cancel()
    assert len(bound) == 0
    server.close()
    writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", id="line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", id="field"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", id="fields"),
    ],
)
async def test_large_headers_are_refused(port: int, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes)
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.0 400") or await _ends(reader)
    writer.close()


async def _ends(reader: asyncio.StreamReader) -> bool:
    try:
        return not await reader.read()
    except ConnectionError:
        return True


async def _trickle(writer: Any) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.02)
