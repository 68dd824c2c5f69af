"""An administrator's own proxy goes on working: pulls are passed on to it, and what can be checked before is checked."""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.chart_files import write_chart
from harness.egress import SERVERS, TRAP, Names, Server, calls, trap
from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.by_helm import pull
from managedchart_operator.egress.upstream import Upstream, Upstreams
from managedchart_operator.errors import ChartError
from managedchart_operator.helm.binary import environment
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason
from peers import ChartRepository


class AdministratorsProxy:
    """A proxy that knows names which the operator cannot resolve; `asked` has the first line and the login of each request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, SERVERS, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://me:s%40cret@{SERVERS}:{self.port}"
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *headers = head.split("\r\n")
        login = next((line.partition(": ")[2] for line in headers if line.startswith("Proxy-Authorization")), "")
        self.asked.append((first, login))
        method, target, _ = first.split()
        port = int(target.split("/")[2 if method != "CONNECT" else 0].rpartition(":")[2])
        there = await asyncio.open_connection(SERVERS, port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n")
        else:
            path = "/" + target.split("/", 3)[3]
            rest = "\r\n".join(headers)
            there[1].write(f"{method} {path} HTTP/1.1\r\n{rest}".encode())

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            sink.close()

        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))


@pytest.mark.parametrize("tls", [False, True])
async def test_a_pull_goes_through_the_administrators_proxy(helm_binary: str, tmp_path: Path, *, tls: bool) -> None:
    """With its login, and by the name, which the operator itself cannot resolve."""
    upstream = AdministratorsProxy()
    with ChartRepository(tls=tls) as peer:
        peer.add_chart(write_chart(tmp_path / "web", {"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n"}))
        for name in ("home", "to"):
            (tmp_path / name).mkdir()
        slots = HelmSlots(processes=1, applies=0, free_memory=lambda: sys.maxsize)
        variables = {**environment(tmp_path / "home"), "SSL_CERT_FILE": str(peer.ca_file)}
        helm = HelmRunner(helm_binary, variables, slots, identity="x")
        host = peer.url.replace("127.0.0.1", "charts.test")
        async with (
            upstream.running() as url,
            calls(Names(), environment={"HTTPS_PROXY": url, "http_proxy": url}) as egress,
        ):
            await pull(helm, egress, ChartSource(repository=host, name="web"), tmp_path / "to")
    assert [file.name for file in (tmp_path / "to").iterdir()] == ["web-1.0.0.tgz"]
    assert {login for _, login in upstream.asked} == {"Basic " + base64.b64encode(b"me:s@cret").decode()}
    expected = f"CONNECT {host.partition('//')[2]} HTTP/1.1" if tls else f"GET {host}/index.yaml HTTP/1.1"
    assert upstream.asked[0][0] == expected


@pytest.mark.parametrize("host", ["169.254.169.254", "internal.test", "kubernetes.default.svc", "127.2"])
async def test_what_can_be_checked_before_is_refused(host: str, helm_binary: str, tmp_path: Path) -> None:
    """An address, a name of the cluster, and a name whose address the operator knows."""
    upstream = AdministratorsProxy()
    with trap() as internal:
        redirecting = Server(lambda _: (302, {"Location": f"http://{host}:{internal.port}/"}, b""))
        for name in ("home", "to"):
            (tmp_path / name).mkdir()
        slots = HelmSlots(processes=1, applies=0, free_memory=lambda: sys.maxsize)
        helm = HelmRunner(helm_binary, environment(tmp_path / "home"), slots, identity="x")
        async with (
            upstream.running() as url,
            calls(Names(internal=TRAP), environment={"HTTP_PROXY": url}, opened=()) as egress,
        ):
            source = ChartSource(repository=f"http://charts.test:{redirecting.port}", name="web")
            with redirecting, pytest.raises(ChartError) as caught:
                await pull(helm, egress, source, tmp_path / "to")
    assert caught.value.reason is Reason.CHART_SOURCE_NOT_ALLOWED
    assert [first for first, _ in upstream.asked] == [f"GET http://charts.test:{redirecting.port}/index.yaml HTTP/1.1"]


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("http://proxy.example.com:3128", "proxy.example.com", 3128, False),
        ("proxy.example.com:3128", "proxy.example.com", 3128, False),
        ("https://proxy.example.com", "proxy.example.com", 443, True),
        ("http://[::1]:8080/", "::1", 8080, False),
        ("socks5://proxy.example.com:1080", "", 0, False),
        ("http://proxy.example.com:port", "", 0, False),
    ],
)
def test_a_proxy_is_read_as_go_reads_it(url: str, host: str, port: int, *, tls: bool) -> None:
    found = Upstream.parse(url)
    assert (found.host, found.port if found.host else 0, found.tls) == (host, port, tls)


@pytest.mark.parametrize(
    ("exempt", "host", "direct"),
    [
        ("", "charts.example.com", False),
        ("*", "charts.example.com", True),
        ("example.com", "charts.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "badexample.com", False),
        (".example.com", "charts.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "charts.example.com", True),
        ("charts.example.com:443", "charts.example.com", True),
        ("charts.example.com:8443", "charts.example.com", False),
        ("10.0.0.0/8, 192.168.1.1", "10.1.2.3", True),
        ("10.0.0.0/8,192.168.1.1", "192.168.1.1", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "charts.example.com", False),
        ("fd00::/8", "fd00::1", True),
        ("x/y", "charts.example.com", False),
        ("", "localhost", True),
        ("", "127.0.0.1", True),
    ],
)
def test_no_proxy_is_read_as_go_reads_it(exempt: str, host: str, *, direct: bool) -> None:
    """golang.org/x/net/http/httpproxy, Config."""
    found = Upstreams.of({"https_proxy": "http://proxy:1", "NO_PROXY": exempt})
    assert (found.choose(host, 443, plain=False) is None) == direct
    assert found.choose(host, 80, plain=True) is None


async def test_a_proxy_that_cannot_be_used_is_named() -> None:
    from managedchart_operator.egress.dialing import UnreachableError
    from managedchart_operator.egress.messages import Target

    async with calls(Names(charts=SERVERS), environment={"HTTPS_PROXY": "socks5://proxy:1"}) as egress:
        with pytest.raises(UnreachableError, match="is neither http:// nor https://"):
            await egress.proxy.dialer.connect(Target("CONNECT", "charts.test", 443, None))
