"""Opens connections on behalf of a chart: resolves the name once, checks every address, connects to one that was checked.

There is no second resolution between check and connection, so a name that has another address a moment later gains nothing.
All addresses of a name must be allowed, since which one is used would be chance.

Where an administrator's own proxy is used, that proxy resolves the name and connects. What is checked then: the name itself, an
address that stands in place of a name, and all addresses that the name has for the operator, if it has any: in clusters with
such a proxy outside names are often unknown.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TypeAlias

from managedchart_operator.egress.addresses import Address, AddressRules, Kind, parse_literal
from managedchart_operator.egress.messages import HEAD_BYTES, Head, MessageError, Target, status_of
from managedchart_operator.egress.sources import ChartSources
from managedchart_operator.egress.upstream import Upstream, Upstreams

# A resolver asks again after 5 s (resolv.conf); what takes longer than three tries fails for helm too.
RESOLVE_SECONDS = 15.0
# With a proxy that resolves names itself, the operator's own look is an extra check only, and outside names may be unknown.
_RESOLVE_FOR_UPSTREAM_SECONDS = 5.0
# Go gives up after 30 s; a name may have several addresses.
CONNECT_SECONDS = 10.0
# A name with more addresses is not that of a chart source.
_MAX_ADDRESSES = 32
# Hanging lookups of one tenant hold these and not the threads that everything else uses.
_THREADS = 8

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[Address]]]
"""Returns the addresses of a name. Raises OSError."""


class RefusedError(Exception):
    """The operator may not call this host."""

    def __init__(self, target: Target, kind: Kind) -> None:
        super().__init__(f"{target.authority} has a {kind} address")
        self.target = target
        self.kind = kind


class UnreachableError(Exception):
    """The host cannot be reached; `why` says it in Go's words."""

    def __init__(self, target: Target, why: str) -> None:
        super().__init__(f"{target.authority}: {why}")
        self.target = target
        self.why = why


class Resolver:
    """Resolves names by the C library, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> Sequence[Address]:
        """Return the addresses of a name. Raises OSError."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)
        return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))

    def close(self) -> None:
        """End the threads, without waiting for what is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[tuple[object, object, object, object, tuple[object, ...]]]:
    return list(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections within the rules."""

    rules: AddressRules
    sources: ChartSources
    upstreams: Upstreams
    resolve: Resolve

    async def connect(self, target: Target) -> tuple[Streams, Upstream | None]:
        """Connect to a target, or to the proxy that plain HTTP has to go through, which is returned then.

        Raises RefusedError before anything is sent, and UnreachableError.
        """
        upstream = self.upstreams.choose(target.host, target.port, plain=target.path is not None)
        addresses = await self._checked(target, through=upstream is not None)
        if upstream is None:
            return await _first_of(target, addresses), None
        streams = await _to_upstream(target, upstream)
        if target.path is None:
            await _ask_for_connection(target, upstream, streams)
        return streams, upstream

    async def _checked(self, target: Target, *, through: bool) -> Sequence[Address]:
        """Return the addresses of a target, all of which are allowed. Raises RefusedError, UnreachableError."""
        named = self.sources.name_host(target.host, target.port)
        literal = parse_literal(target.host)
        if literal is None and (kind := self.rules.refused_name(target.host, named=named)):
            raise RefusedError(target, kind)
        if literal is not None:
            addresses: Sequence[Address] = [literal]
        else:
            addresses = await self._resolved(target, named=named, through=through)
        for address in addresses:
            if kind := self.rules.refusal(address, named=named):
                raise RefusedError(target, kind)
        return addresses

    async def _resolved(self, target: Target, *, named: bool, through: bool) -> Sequence[Address]:
        # With a dot at the end the search list of the pod does not apply: a.b is not tried as a.b.svc.cluster.local.
        host = target.host if named else f"{target.host}."
        try:
            async with asyncio.timeout(_RESOLVE_FOR_UPSTREAM_SECONDS if through else RESOLVE_SECONDS):
                found = await self.resolve(host)
        except (OSError, UnicodeError, ValueError, TimeoutError) as error:
            if through:
                return ()
            why = "no such host" if not isinstance(error, TimeoutError) else "i/o timeout while its name was resolved"
            raise UnreachableError(target, why) from error
        if not found or len(found) > _MAX_ADDRESSES:
            raise UnreachableError(target, "its name has no addresses, or too many")
        return found


async def _first_of(target: Target, addresses: Sequence[Address]) -> Streams:
    why = "no route to host"
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                # An address, so asyncio resolves nothing.
                return await asyncio.open_connection(str(address), target.port, limit=HEAD_BYTES)
        except (OSError, TimeoutError) as error:
            why = _in_words(error)
    raise UnreachableError(target, why)


async def _to_upstream(target: Target, upstream: Upstream) -> Streams:
    if not upstream.host:
        raise UnreachableError(target, "the proxy in the operator's environment is neither http:// nor https://")
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            context = await asyncio.to_thread(ssl.create_default_context) if upstream.tls else None
            return await asyncio.open_connection(upstream.host, upstream.port, ssl=context, limit=HEAD_BYTES)
    except (OSError, TimeoutError) as error:
        raise UnreachableError(target, f"the proxy in the operator's environment: {_in_words(error)}") from error


async def _ask_for_connection(target: Target, upstream: Upstream, streams: Streams) -> None:
    """Let a proxy connect to a target. Raises UnreachableError, and closes the connection then."""
    reader, writer = streams
    login = (("Proxy-Authorization", upstream.authorization),) if upstream.authorization else ()
    request = Head(f"CONNECT {target.authority} HTTP/1.1", (("Host", target.authority), *login))
    try:
        async with asyncio.timeout(CONNECT_SECONDS + RESOLVE_SECONDS):
            writer.write(request.encode())
            await writer.drain()
            status = status_of(Head.parse(await reader.readuntil(b"\r\n\r\n")))
    except (OSError, TimeoutError, MessageError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise UnreachableError(target, "the proxy in the operator's environment gives no answer") from error
    if status != HTTPStatus.OK:
        writer.close()
        raise UnreachableError(target, f"the proxy in the operator's environment refuses it (status {status})")


def _in_words(error: OSError | TimeoutError) -> str:
    """Return Go's words for an error of a connection, which the rows of helm's errors know."""
    match error:
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset by peer"
        case ssl.SSLError():
            return "its certificate is not trusted, or it does not speak TLS"
        case TimeoutError():
            return "i/o timeout"
    return (error.strerror or "no route to host").lower()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state it is in."""
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
