"""The chart sources that an administrator allows: prefixes of URLs, compared part by part and never as text.

`https://charts.example.com` allows neither `https://charts.example.com.attacker.org` nor `https://charts.example.com@attacker.org`,
and `oci://ghcr.io/org` not `oci://ghcr.io/org-2`. What a URL means must not depend on who reads it, so one with a login, with
`..`, or with a slash in an escape is allowed by no prefix. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from managedchart_operator.egress.addresses import normalized_host

_PORTS = {"http": 80, "https": 443}
SCHEMES = ("http", "https", "oci")


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """The parts of a URL by which sources are compared. `port` is None for a registry's own one."""

    scheme: str
    host: str
    port: int | None
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL of a source. Raises ValueError with a sentence."""
        if not text.isascii() or any(sign <= " " or sign in "\\\x7f" for sign in text):
            raise ValueError("it has a space, a backslash, or a sign that is not ASCII")
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError as error:
            raise ValueError("it is not a URL") from error
        scheme = url.scheme.lower()
        if scheme not in SCHEMES:
            raise ValueError("it begins neither with https:// nor with http:// nor with oci://")
        if "@" in url.netloc:
            raise ValueError("it has a login")
        if not url.hostname:
            raise ValueError("it has no host")
        return cls(
            scheme=scheme,
            host=normalized_host(url.hostname),
            port=port if port is not None else _PORTS.get(scheme),
            segments=_segments(url.path),
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _PORTS.get(self.scheme)) else f":{self.port}"
        return "/".join([f"{self.scheme}://{host}{port}", *self.segments])

    def contains(self, other: "SourceUrl") -> bool:
        """Whether another URL is this one or below it."""
        mine = (self.scheme, self.host, self.port, self.segments)
        return mine == (other.scheme, other.host, other.port, other.segments[: len(self.segments)])

    def is_at(self, host: str, port: int) -> bool:
        """Whether connections to this host and port are connections to this source."""
        return self.host == host and (port == self.port if self.port else port in _PORTS.values())


@dataclass(frozen=True, slots=True)
class ChartSources:
    """The allowed sources. Without any, every source is allowed whose address is public, and no host is named."""

    prefixes: tuple[SourceUrl, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read the setting. Raises ValueError that names the entry."""
        found = []
        for text in texts:
            try:
                url = SourceUrl.parse(text)
                if "?" in text or "#" in text:
                    raise ValueError("it has a query or a fragment")
            except ValueError as error:
                raise ValueError(
                    f"{text!r} is not a source like https://charts.example.com/team or oci://ghcr.io/team: {error}"
                ) from error
            found.append(url)
        return cls(tuple(found))

    def allow(self, url: SourceUrl) -> bool:
        """Whether charts may come from this URL."""
        return not self.prefixes or self.name(url)

    def name(self, url: SourceUrl) -> bool:
        """Whether an administrator has named this URL, or one above it."""
        return any(prefix.contains(url) for prefix in self.prefixes)

    def name_host(self, host: str, port: int) -> bool:
        """Whether an administrator has named a source at this host and port."""
        return any(prefix.is_at(host, port) for prefix in self.prefixes)


def _segments(path: str) -> tuple[str, ...]:
    """Split a path; an empty last segment does not count. Raises ValueError for one that readers may understand differently."""
    trimmed = path.removeprefix("/").removesuffix("/")
    segments = trimmed.split("/") if trimmed else []
    found = []
    for segment in segments:
        plain = unquote(segment)
        if plain in ("", ".", "..") or any(sign in plain for sign in "/\\%") or not plain.isprintable():
            raise ValueError('its path has "..", an empty part, or an escaped slash')
        found.append(plain)
    return tuple(found)
