"""The proxy that an administrator has set for the operator (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), read as Go reads it.

helm would use it for a pull if the operator's own proxy did not take its place, so that one passes connections on to it.
Source: golang.org/x/net/http/httpproxy, which helm uses.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Self
from urllib.parse import unquote, urlsplit

from managedchart_operator.egress.addresses import Kind, kind_of, parse_literal

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A proxy, and the hosts for which it is not used. `host` is empty for a kind of proxy that cannot be used."""

    host: str
    port: int
    tls: bool
    authorization: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read the URL of a proxy; one that cannot be read is of no kind that can be used."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            return cls("", 0, tls=False, authorization=None)
        login = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            login = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(host if parts.scheme in _PORTS else "", port, tls=parts.scheme == "https", authorization=login)


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The proxies of an environment, for plain HTTP and for connections."""

    http: Upstream | None = None
    https: Upstream | None = None
    exempt: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables of an environment; the upper case ones go first."""

        def value(name: str) -> str:
            return environment.get(name) or environment.get(name.lower()) or ""

        proxies = (value("HTTP_PROXY"), value("HTTPS_PROXY"))
        plain, tls = (Upstream.parse(url) if url else None for url in proxies)
        return cls(plain, tls, tuple(word.strip().lower() for word in value("NO_PROXY").split(",") if word.strip()))

    def choose(self, host: str, port: int, *, plain: bool) -> Upstream | None:
        """Return the proxy for a host, or None for a direct connection."""
        upstream = self.http if plain else self.https
        if upstream is None or host == "localhost":
            return None
        literal = parse_literal(host)
        if literal is not None and kind_of(literal) is Kind.LOOPBACK:
            return None
        return None if any(_matches(rule, host, port) for rule in self.exempt) else upstream


def _matches(rule: str, host: str, port: int) -> bool:
    """Whether a word of NO_PROXY is about this host."""
    if rule == "*":
        return True
    literal = parse_literal(host)
    if "/" in rule:
        try:
            network = ip_network(rule, strict=False)
        except ValueError:
            return False
        return literal is not None and literal.version == network.version and literal in network
    name, _, wanted = rule.rpartition(":") if rule.count(":") == 1 or "]:" in rule else (rule, "", "")
    if wanted and wanted != str(port):
        return False
    name = name.strip("[]").removeprefix("*")
    if literal is not None:
        return parse_literal(name) == literal
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
