"""PromQL at servers outside of the cluster: only those that an administrator names, and nothing of what they send gets out."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from harness.egress import SECRET, SERVERS, TRAP, Answer, Names, Server, calls, redirects, trap
from managedchart_operator.egress import dialing
from managedchart_operator.egress.dialing import UnreachableError
from managedchart_operator.egress.messages import Target
from managedchart_operator.egress.metrics import AT_ONCE, MOST_BYTES, MetricSources
from managedchart_operator.errors import LifecycleError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.reasons import Reason
from peers import make_certificate

ALLOWED = ["https://thanos.example.com/team", "http://prometheus.example.com:9090"]


@asynccontextmanager
async def asking(
    names: Names, *sources: str, opened: Sequence[str] = (SERVERS,), **more: Sequence[str]
) -> AsyncIterator[MetricSources]:
    async with calls(names, metrics=sources, opened=opened, **more) as egress:
        yield egress.metrics


def ok(_: str) -> Answer:
    return 200, {}, b"fine"


async def refusal(metrics: MetricSources, url: str, **more: float) -> str:
    with pytest.raises(LifecycleError) as refused:
        await metrics.query(url, "up", **more)
    assert SECRET not in str(vars(refused.value))
    return refused.value.message


async def test_a_named_server_is_asked_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither those of the operator's home, nor those of its proxy."""
    (tmp_path / ".netrc").write_text("machine prom.test login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Server(ok) as server:
        url = f"http://prom.test:{server.port}"
        async with asking(Names(prom=SERVERS), url) as metrics:
            answer = await metrics.query(f"{url}/team/", 'sum(rate(a{b=~"5.."}[5m])) + 1')

    assert (answer.status, answer.body) == (200, "fine")
    (_, target, headers) = server.requests[0]
    path, _, query = target.partition("?")
    assert path == "/team/api/v1/query"
    assert parse_qs(query) == {"query": ['sum(rate(a{b=~"5.."}[5m])) + 1']}
    assert {each.lower() for each in headers} == {"accept", "accept-encoding", "connection", "host", "user-agent"}


@pytest.mark.parametrize(
    "url",
    [
        "https://thanos.example.com",
        "https://thanos.example.com/team-2",
        "https://thanos.example.com.evil/team",
        "https://thanos.example.com:8443/team",
        "http://thanos.example.com/team",
        "https://evil.example.com/team",
        "https://thanos.example.com/TEAM",
        "http://prometheus.example.com",
        "http://169.254.169.254",
    ],
)
async def test_what_is_not_named_is_refused(url: str) -> None:
    names = Names()
    async with asking(names, *ALLOWED) as metrics:
        with pytest.raises(LifecycleError, match="is not one of the metric sources") as refused:
            await metrics.query(url, "up")

    assert (refused.value.reason, refused.value.transient) == (Reason.LIFECYCLE_INVALID, True)
    assert "MANAGEDCHART_METRIC_SOURCES" in (refused.value.hint or "")
    assert names.asked == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://thanos.example.com/team@evil.example.com", None),
        ("https://thanos.example.com@evil.example.com/team", "it has a login"),
        ("https://a:b@thanos.example.com/team", "it has a login"),
        ("https://thanos.example.com/team/../admin", 'its path has ".."'),
        ("https://thanos.example.com/team/%2e%2e/admin", 'its path has ".."'),
        ("https://thanos.example.com/team%2Fadmin", 'its path has ".."'),
        ("https://thanos.example.com/team?query=x", "it has a query or a fragment"),
        ("https://thanos.example.com/team#", "it has a query or a fragment"),
        ("https://thanos.example.com\\@evil.example.com/team", "a backslash"),
        ("https:thanos.example.com/team", "it has no host"),
        ("oci://thanos.example.com/team", "it begins neither with https:// nor with http://"),
        ("file:///etc/passwd", "it begins neither with"),
    ],
)
async def test_an_address_means_the_same_to_everybody(url: str, why: str | None) -> None:
    names = Names()
    async with asking(names, *ALLOWED) as metrics:
        message = await refusal(metrics, url)

    assert (why or "is not one of the metric sources") in message
    assert names.asked == []


async def test_without_the_setting_nothing_may_be_asked() -> None:
    async with asking(Names()) as metrics:
        message = await refusal(metrics, "https://thanos.example.com")

    assert message == "https://thanos.example.com is not one of the metric sources that the operator allows"
    assert "operator allows" in await refusal(MetricSources(), "https://thanos.example.com")


@pytest.mark.parametrize(
    "to", [f"http://{TRAP}:{{port}}/", "http://169.254.169.254/latest", "http://inner.test:{port}/"]
)
async def test_a_redirect_is_the_answer(to: str) -> None:
    with trap() as inner, Server(redirects(to.format(port=inner.port))) as server:
        url = f"http://prom.test:{server.port}"
        names = Names(prom=SERVERS, inner=TRAP)
        async with asking(names, url) as metrics:
            answer = await metrics.query(url, "up")

    assert (answer.status, answer.body) == (302, "")
    assert inner.requests == []
    assert names.asked == ["prom.test"]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("169.254.169.254", "its address is link-local"),
        ("127.0.0.2", "its address is loopback"),
        ("0.0.0.0", "its address is unspecified"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_named_host_never_has_an_address_of_this_machine(address: str, why: str, scheme: str) -> None:
    """Whoever has the name decides which address it has, and may change it between two look-ups."""
    url = f"{scheme}://prom.test:9090"
    async with asking(Names(prom=address), url) as metrics:
        assert await refusal(metrics, url) == f"The operator may not call {url} for a metric: {why}"


async def test_a_private_address_is_allowed_for_a_named_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a source of charts is none of metrics, nor the other way round."""

    async def connect(target: Target, _: object) -> None:
        raise UnreachableError(target, "no route to host")

    monkeypatch.setattr(dialing, "_first_of", connect)
    async with asking(Names(prom="10.255.255.1"), "http://prom.test:9", sources=["http://charts.test"]) as metrics:
        assert await refusal(metrics, "http://prom.test:9") == "http://prom.test:9 cannot be reached: no route to host"
        assert "is not one of" in await refusal(metrics, "http://charts.test")
        assert metrics.proxy is not None
        assert not metrics.proxy.dialer.sources.name_host("prom.test", 9)


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}], ids=str)
async def test_a_long_answer_is_not_read(headers: dict[str, str]) -> None:
    """100 MB from a server that does not stop."""
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 200 OK\r\n{more}Content-Length: 100000000\r\n\r\n".encode())
        try:
            while sent < 100_000_000:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(endless, SERVERS, 0)
    url = f"http://prom.test:{server.sockets[0].getsockname()[1]}"
    async with server, asking(Names(prom=SERVERS), url) as metrics:
        message = await refusal(metrics, url)

    assert message == f"{url} answers with more than {MOST_BYTES >> 10} KiB"
    assert sent < 50 * MOST_BYTES


@pytest.mark.parametrize(
    "answer",
    [
        f"{SECRET} is not HTTP\r\n\r\n",
        f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + SECRET + "\r\n",
        "",
    ],
)
async def test_nothing_that_is_sent_is_in_an_error(answer: str) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer.encode())
        writer.close()

    server = await asyncio.start_server(odd, SERVERS, 0)
    url = f"http://prom.test:{server.sockets[0].getsockname()[1]}"
    async with server, asking(Names(prom=SERVERS), url) as metrics:
        message = await refusal(metrics, url)

    assert message in (f"{url} cannot be {each}: its answer is not valid HTTP" for each in ("reached", "asked"))


async def test_a_server_that_is_silent_is_not_waited_for() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, SERVERS, 0)
    url = f"http://prom.test:{server.sockets[0].getsockname()[1]}"
    async with server, asking(Names(prom=SERVERS), url) as metrics:
        assert await refusal(metrics, url, seconds=0.2) == f"{url} does not answer within 0.2 s"


async def test_who_cannot_be_reached_is_named() -> None:
    async with asking(Names(prom=SERVERS), "http://prom.test:1", "https://prom.test:1", "http://no.test:1") as metrics:
        assert (
            await refusal(metrics, "http://prom.test:1") == "http://prom.test:1 cannot be reached: connection refused"
        )
        assert (
            await refusal(metrics, "https://prom.test:1") == "https://prom.test:1 cannot be reached: connection refused"
        )
        assert await refusal(metrics, "http://no.test:1") == "http://no.test:1 cannot be reached: no such host"


async def test_the_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    make_certificate(certificate, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with Server(ok, tls=context) as server:
        url = f"https://{SERVERS}:{server.port}"
        async with asking(Names(), url) as metrics:
            said = "its certificate is not trusted, or it does not speak TLS"
            assert await refusal(metrics, url) == f"{url} cannot be asked: {said}"
            assert server.requests == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with asking(Names(), url) as metrics:
            assert (await metrics.query(url, "up")).body == "fine"


async def test_a_namespace_does_not_take_all_connections() -> None:
    """Servers that never answer hold all of them, which are lent, and another namespace is answered nevertheless."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, SERVERS, 0)
    hung = f"http://prom.test:{server.sockets[0].getsockname()[1]}"
    with Server(ok) as other:
        url = f"http://prom.test:{other.port}"
        async with server, asking(Names(prom=SERVERS), hung, url) as metrics:
            PAYER.set("a")
            asked = [asyncio.create_task(metrics.query(hung, "up", seconds=60.0)) for _ in range(AT_ONCE + 8)]
            async with asyncio.timeout(20):
                while metrics._slots.held < AT_ONCE:  # noqa: ASYNC110 -- slots have no events
                    await asyncio.sleep(0.01)
                PAYER.set("b")
                assert (await metrics.query(url, "up")).body == "fine"
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
