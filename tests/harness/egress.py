"""Servers that attack whoever pulls a chart from them, a trap that must not be called, and the operator's calls to them.

Linux takes all of 127.0.0.0/8 for this machine, so a test opens 127.0.0.1 for its servers and lets the trap listen on
127.0.0.2: a name that leads there stands for an internal service that only the operator's pod can reach.
"""

import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

from managedchart_operator.egress.addresses import Address, AddressRules, parse_networks
from managedchart_operator.egress.calls import Egress
from managedchart_operator.egress.dialing import Dialer
from managedchart_operator.egress.metrics import MetricSources
from managedchart_operator.egress.proxy import EgressProxy
from managedchart_operator.egress.sources import ChartSources
from managedchart_operator.egress.upstream import Upstreams

SERVERS = "127.0.0.1"
TRAP = "127.0.0.2"
SECRET = "INTERNAL-SECRET-PAGE-CONTENT"

Answer = tuple[int, Mapping[str, str], bytes]


class Server:
    """An HTTP server with answers of the test's; `requests` has method, target and headers of each request."""

    def __init__(
        self, answer: Callable[[str], Answer], *, host: str = SERVERS, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                outer.requests.append((self.command, self.path, dict(self.headers.items())))
                status, headers, body = answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_GET  # noqa: N815 -- http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        if tls:
            # The handshake belongs into the connection's own thread: here a silent client would block all others.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]

    @property
    def targets(self) -> list[str]:
        """The targets of all requests."""
        return [target for _, target, _ in self.requests]

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name=f"server-{self.port}", daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def trap() -> Server:
    """A server of which no byte may reach a tenant, and that must not even be called: one with credentials."""
    body = b'{"Token": "%s", "%s": 1}' % (SECRET.encode(), SECRET.encode())
    return Server(lambda _: (200, {"Content-Type": "application/json"}, body), host=TRAP)


def redirects(to: str) -> Callable[[str], Answer]:
    """A repository or registry that redirects everything."""
    return lambda _: (302, {"Location": to}, b"")


def indexes(*urls: str) -> Callable[[str], Answer]:
    """A repository whose index names these addresses for the chart web."""
    listed = "".join(f'\n    - "{url}"' for url in urls)
    index = f"apiVersion: v1\nentries:\n  web:\n  - {{name: web, version: 1.0.0, apiVersion: v2}}\n    urls:{listed}\n"
    index = index.replace(
        "{name: web, version: 1.0.0, apiVersion: v2}", "name: web\n    version: 1.0.0\n    apiVersion: v2"
    )
    return lambda _: (200, {}, index.encode())


def document(schema: Any) -> Callable[[str], Answer]:
    """A server with one JSON document at every address."""
    return lambda _: (200, {"Content-Type": "application/json"}, json.dumps(schema).encode())


def asks_for_token(realm: str) -> Callable[[str], Answer]:
    """A registry whose login server is elsewhere."""
    return lambda _: (401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}, b"")


class Names:
    """A resolver with names of the test's. Each look-up takes the next answer, and the last one stays."""

    def __init__(self, **names: str | Sequence[str]) -> None:
        self.answers = {
            f"{name}.test": [ip_address(each) for each in ([found] if isinstance(found, str) else found)]
            for name, found in names.items()
        }
        self.rebinding: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[Address]:
        name = host.removesuffix(".")
        self.asked.append(name)
        if later := self.rebinding.get(name):
            return [ip_address(later.pop(0) if len(later) > 1 else later[0])]
        if name not in self.answers:
            raise OSError("no such host")
        return self.answers[name]


@asynccontextmanager
async def calls(
    names: Names,
    *,
    sources: Sequence[str] = (),
    opened: Sequence[str] = (SERVERS,),
    environment: Mapping[str, str] | None = None,
    only_by_proxy: bool = False,
    metrics: Sequence[str] = (),
) -> AsyncIterator[Egress]:
    """The operator's calls, with names of the test's; `metrics` are the metric sources."""
    rules, upstreams = AddressRules(parse_networks(opened)), Upstreams.of(environment or {})
    proxy = EgressProxy(Dialer(rules, ChartSources.parse(sources), upstreams, names))
    async with proxy.serving():
        yield Egress(proxy, only_by_proxy=only_by_proxy, metrics=MetricSources.parse(metrics, proxy))
