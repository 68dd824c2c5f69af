"""Reads and writes the heads of HTTP messages, as far as a forward proxy needs them.

Strict on purpose: what two readers might understand differently is refused. Bodies are passed on as bytes. aiohttp's parser is
made for servers and not exposed for this, and the proxies that can be installed bring threads, plug-ins and certificates of
their own, with a resolver that cannot be replaced; so the little that is needed is here.
Source: RFC 9110, RFC 9112 (message syntax, 3.2.2 absolute-form, 3.2.3 authority-form).
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from managedchart_operator.egress.addresses import normalized_host

# Go sends some hundred bytes; a registry's answer with links and policies has a few thousand.
HEAD_BYTES = 32 * 1024
_END = b"\r\n\r\n"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_REQUEST = re.compile(r"(?P<method>[A-Z]{1,10}) (?P<target>[!-~]{1,8192}) HTTP/1\.[01]")
_STATUS = re.compile(r"HTTP/1\.[01] (?P<status>[1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?")
# RFC 9110, 7.6.1, and what is between a client and its proxy.
_OF_ONE_HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "upgrade",
})  # fmt: skip


class MessageError(Exception):
    """A message is not HTTP/1, or not in the form that is accepted."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a message."""

    line: str
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a head with the empty line at its end. Raises MessageError."""
        line, *rest = data.removesuffix(_END).decode("latin-1").split("\r\n")
        headers = []
        for each in rest:
            name, colon, value = each.partition(":")
            if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
                raise MessageError("a header is not valid")
            headers.append((name, value.strip(" \t")))
        return cls(line, tuple(headers))

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for key, value in self.headers if key.lower() == name]

    def one(self, name: str) -> str | None:
        """Return the value of a header that may be there once. Raises MessageError for two."""
        found = self.all(name)
        if len(found) > 1:
            raise MessageError(f"it has two headers {name}")
        return found[0] if found else None

    def for_next_hop(self, line: str, *, without: Iterable[str] = (), also: Iterable[tuple[str, str]] = ()) -> "Head":
        """Return the head for the other side, which closes the connection after this message."""
        named = {word.strip().lower() for value in self.all("connection") for word in value.split(",")}
        dropped = _OF_ONE_HOP | named | set(without)
        kept = tuple(header for header in self.headers if header[0].lower() not in dropped)
        return replace(self, line=line, headers=(*kept, *also, ("Connection", "close")))

    def encode(self) -> bytes:
        """Return the bytes of the head."""
        return "\r\n".join([self.line, *(f"{name}: {value}" for name, value in self.headers), "", ""]).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Target:
    """What a client asks for. `path` is None for a connection (CONNECT)."""

    method: str
    host: str
    port: int
    path: str | None

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """Host and port as they stand in the header Host."""
        return self.authority.removesuffix(":80") if self.path is not None else self.authority

    @classmethod
    def of(cls, head: Head) -> Self:
        """Read the first line of a request. Raises MessageError."""
        found = _REQUEST.fullmatch(head.line)
        if not found:
            raise MessageError("it is not a request of HTTP/1")
        method, target = found["method"], found["target"]
        connects = method == "CONNECT"
        if not connects and not target.startswith("http://"):
            raise MessageError("it does not name an http:// address")
        try:
            url = urlsplit(f"//{target}" if connects else target)
            port, host = url.port, normalized_host(url.hostname or "")
        except ValueError as error:
            raise MessageError(str(error)) from error
        if "@" in url.netloc or (connects and (port is None or url.path or url.query or url.fragment)):
            raise MessageError("it does not name a host and a port")
        path = None if connects else f"{url.path or '/'}{f'?{url.query}' if url.query else ''}"
        return cls(method, host, 80 if port is None else port, path)


def status_of(head: Head) -> int:
    """Return the status of an answer. Raises MessageError."""
    found = _STATUS.fullmatch(head.line)
    if not found:
        raise MessageError("it is not an answer of HTTP/1")
    return int(found["status"])


def body_length(head: Head, *, limit: int) -> int:
    """Return the length of a request's body. Raises MessageError for one that is longer than `limit` or of unknown length."""
    if head.all("transfer-encoding"):
        raise MessageError("its body has no length")
    text = head.one("content-length") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > limit:
        raise MessageError("its body is too long")
    return int(text)


def length_of(head: Head) -> int:
    """Return the length of an answer's body; that of the longest one where it is not known. Raises MessageError."""
    text = head.one("content-length")
    if text is None or head.all("transfer-encoding"):
        return sys.maxsize
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise MessageError("its length is not a number")
    return int(text)


def answer(status: HTTPStatus, why: str, *headers: tuple[str, str]) -> bytes:
    """Return a whole answer without a body. Go shows `why` as the error of a connection."""
    also = (*headers, ("Content-Length", "0"), ("Connection", "close"))
    return Head(f"HTTP/1.1 {status} {why}", also).encode()
