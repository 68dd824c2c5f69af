"""PromQL at a server outside of the cluster, which an administrator has named, for the verb `metric`.

The operator itself calls, so a tenant names the server but not what is sent: one GET without any credentials, through the
egress proxy, which checks each address. No redirect is followed, only some bytes are read, and what the server sends is in no
error: it would show a tenant what only the operator's pod can reach.
Source: Prometheus documentation, "HTTP API", instant queries.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp

from managedchart_operator.egress.addresses import Kind, kind_in_words
from managedchart_operator.egress.dialing import Dialer, RefusedError, UnreachableError
from managedchart_operator.egress.proxy import Budget, EgressProxy, Session
from managedchart_operator.egress.sources import ChartSources, SourceUrl
from managedchart_operator.errors import LifecycleError
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.reasons import Reason

SETTING = "MANAGEDCHART_METRIC_SOURCES"
EXAMPLE = "https://thanos.example.com"
# The answer to a query with one value has some hundred bytes.
MOST_BYTES = 256 * 1024
# Of a whole connection, with TLS and headers: a client reads headers without end.
_SESSION_BYTES = 1024 * 1024
# One call; the action's timeout and retries are around it. Prometheus gives up after two minutes, and nobody waits for that.
SECONDS = 20.0
# Each takes a connection of the proxy, which the pulls of charts use as well.
AT_ONCE = 32
# For the others, such as metadata services, there is hardly a reason.
_HINTS = dict.fromkeys(
    (Kind.LOOPBACK, Kind.OWN),
    "Ask an administrator to allow the address in the operator's setting MANAGEDCHART_CHART_ADDRESSES.",
)


@dataclass(frozen=True, slots=True)
class MetricAnswer:
    """What a server has answered to a query."""

    status: int
    body: str
    """The text; it has at most MOST_BYTES."""


@dataclass(frozen=True, slots=True)
class MetricSources:
    """The servers that may be asked: prefixes of URLs, none by default. Their hosts may have private addresses."""

    allowed: ChartSources = field(default_factory=ChartSources)
    proxy: EgressProxy | None = None
    _slots: FairSlots = field(default_factory=lambda: FairSlots(AT_ONCE, share=0.5, lends=lambda: True, elastic=True))
    _trusted: list[ssl.SSLContext] = field(default_factory=list)
    """The certificates of the machine, read for the first call: that takes some 20 ms."""

    @classmethod
    def parse(cls, texts: Iterable[str], proxy: EgressProxy | None = None) -> Self:
        """Read the setting. Raises ValueError that names the entry."""
        texts = list(texts)
        for text in texts:
            try:
                address(text)
            except ValueError as error:
                raise ValueError(f"{text!r} is not an address like {EXAMPLE}: {error}") from error
        return cls(ChartSources.parse(texts), proxy)

    def check(self, text: str) -> SourceUrl:
        """Return an address that may be asked. Raises LifecycleError (LIFECYCLE_INVALID); nothing is resolved.

        The error is transient, since other settings of the operator may allow the address.
        """
        try:
            url = address(text)
        except ValueError as error:
            raise LifecycleError(
                f"url cannot be compared with the allowed metric sources: {error}",
                reason=Reason.LIFECYCLE_INVALID,
                hint=f"Write url like {EXAMPLE}.",
            ) from error
        if not self.allowed.name(url):
            raise LifecycleError(
                f"{url} is not one of the metric sources that the operator allows",
                reason=Reason.LIFECYCLE_INVALID,
                hint=f'Ask a Service of the cluster (metric.service), or add "{url}" to the list in the operator\'s setting'
                f" {SETTING}.",
            )
        return url

    async def query(self, text: str, promql: str, *, seconds: float = SECONDS) -> MetricAnswer:
        """Ask the server at an address. Raises LifecycleError if that is not allowed, or there is no answer in `seconds`."""
        url = self.check(text)
        if self.proxy is None:
            raise LifecycleError(f"{url} cannot be reached: the operator has no proxy for outgoing calls")
        dialer = self.proxy.dialer
        # Those of charts are another list, and neither opens private addresses for the other.
        named = Dialer(dialer.rules, self.allowed, dialer.upstreams, dialer.resolve)
        async with self._slots.hold():
            with self.proxy.session(dialer=named, most_bytes=_SESSION_BYTES) as session:
                try:
                    async with self._called(url, promql, session, seconds) as response:
                        answer = MetricAnswer(response.status, await _text(response, url))
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    raise _failed(url, session, error, seconds) from error
                if session.problem is not None:  # of plain HTTP, the proxy answers with the refusal
                    raise _failed(url, session, session.problem, seconds)
                return answer

    @asynccontextmanager
    async def _called(
        self, url: SourceUrl, promql: str, session: Session, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self._trusted:
            self._trusted.append(await asyncio.to_thread(ssl.create_default_context))
        # Nothing is sent that another call has brought: neither a cookie, nor a login of ~/.netrc.
        options: dict[str, Any] = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar(), "auto_decompress": False}
        connector = aiohttp.TCPConnector(ssl=self._trusted[0], force_close=True)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=seconds), **options
            ) as client,
            client.get(
                _request(url, promql),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": "managedchart-operator",
                },
                proxy=session.url,
                allow_redirects=False,
            ) as response,
        ):
            yield response


def address(text: str) -> SourceUrl:
    """Return the parts of the address of a server. Raises ValueError with the end of a sentence."""
    if "?" in text or "#" in text:
        raise ValueError("it has a query or a fragment")
    url = SourceUrl.parse(text)
    if url.scheme not in ("http", "https"):
        raise ValueError("it begins neither with https:// nor with http://")
    return url


def _request(url: SourceUrl, promql: str) -> str:
    """Return the URL of a query, made of the parts that were checked."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    path = "".join(f"/{quote(each, safe='')}" for each in url.segments)
    return f"{url.scheme}://{host}:{url.port}{path}/api/v1/query?{urlencode({'query': promql})}"


async def _text(response: aiohttp.ClientResponse, url: SourceUrl) -> str:
    """Return the body of an answer, as it was sent. Raises LifecycleError if it is too long."""
    body = b""
    while len(body) <= MOST_BYTES and (part := await response.content.read(MOST_BYTES + 1 - len(body))):
        body += part
    if len(body) > MOST_BYTES:
        raise _too_long(url)
    return body.decode(errors="replace")


def _too_long(url: SourceUrl) -> LifecycleError:
    return LifecycleError(
        f"{url} answers with more than {MOST_BYTES >> 10} KiB", hint="Make one value by sum() or max()."
    )


def _failed(url: SourceUrl, session: Session, error: Exception, seconds: float) -> LifecycleError:
    """Return why there is no answer, in words of the operator only."""
    match session.problem:
        case RefusedError() as refused:
            what = f"The operator may not call {url} for a metric: {kind_in_words(refused.kind)}"
            return LifecycleError(what, hint=_HINTS.get(refused.kind))
        case UnreachableError() as unreachable:
            return LifecycleError(f"{url} cannot be reached: {unreachable.why}")
    if session.exhausted is Budget.BYTES:
        return _too_long(url)
    match error:
        case aiohttp.ClientSSLError() | ssl.SSLError():
            why = "its certificate is not trusted, or it does not speak TLS"
        case TimeoutError():
            return LifecycleError(f"{url} does not answer within {seconds:g} s")
        case _:
            why = "its answer is not valid HTTP"
    return LifecycleError(f"{url} cannot be asked: {why}")
