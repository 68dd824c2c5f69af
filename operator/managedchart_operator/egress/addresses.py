"""Decides which addresses may be called for a chart: public ones, and those that an administrator opens.

An address inside of the cluster, or of the node's own services such as its metadata, answers the operator's pod and not the
author of a chart. An address counts for what it reaches in the end: an IPv4 address that is written within an IPv6 one (mapped,
compatible, NAT64, 6to4) is that IPv4 address. Pure; names are resolved by `dialing`.
Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890); RFC 6052 (NAT64), RFC 6598 (100.64.0.0/10).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

ANY = "any"
"""Stands for all addresses in the setting."""
_EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Kind(StrEnum):
    """Why an address is not called, as the end of "a ... address"."""

    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    PRIVATE = "private"
    RESERVED = "reserved"
    OWN = "cluster"


_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.UNSPECIFIED, ("0.0.0.0/8", "::/128")),
    (Kind.LOOPBACK, ("127.0.0.0/8", "::1/128")),
    # The last two are the metadata services of Azure and of AWS over IPv6, which are link-local in all but their numbers.
    (Kind.LINK_LOCAL, ("169.254.0.0/16", "fe80::/10", "168.63.129.16/32", "fd00:ec2::/32")),
    (Kind.MULTICAST, ("224.0.0.0/4", "ff00::/8")),
    (Kind.PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")),
    (
        Kind.RESERVED,
        (
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
            "240.0.0.0/4", "64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "3fff::/20",
        ),
    ),
)  # fmt: skip
_NETWORKS = tuple((kind, tuple(map(ip_network, networks))) for kind, networks in _KINDS)
_PRIVATE = dict(_NETWORKS)[Kind.PRIVATE]
_GLOBAL_UNICAST = ip_network("2000::/3")
# A source that an administrator names may have one of these addresses. None of the others is ever that of a server.
_FOR_NAMED = frozenset({Kind.PRIVATE, Kind.RESERVED})
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")

# The last label of a name that cannot be public (RFC 6761, RFC 6762, Kubernetes). What a cluster with a domain of its own calls
# its Services shows by their addresses.
_LOCAL_NAME = re.compile(r"(?:^|\.)(?:localhost|localdomain|local|internal|svc)$")


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses may be called. `opened` is what an administrator opens, `own` are those of the API server and the pod."""

    opened: tuple[Network, ...] = ()
    own: frozenset[Address] = frozenset()

    @property
    def opens_everything(self) -> bool:
        """Whether no address is refused."""
        return all(network in self.opened for network in _EVERYTHING)

    @property
    def opens_loopback(self) -> bool:
        """Whether an address of the pod itself may be called."""
        return self.refusal(ip_address("127.0.0.1")) is None or self.refusal(ip_address("::1")) is None

    def refusal(self, address: Address, *, named: bool = False) -> Kind | None:
        """Return why an address is not called, or None.

        `named` says that an administrator has named the host as a chart source, so that it may be private.
        """
        for form in _forms(address):
            if any(form in network for network in self.opened if network.version == form.version):
                continue
            if form in self.own:
                return Kind.OWN
            kind = kind_of(form)
            if kind is not None and not (named and kind in _FOR_NAMED):
                return kind
        return None

    def refused_name(self, host: str, *, named: bool = False) -> Kind | None:
        """Return why a name is refused before it is resolved, or None: names of this machine and of the cluster.

        `host` is in lower case and has no dot at the end. Where private addresses are opened, the addresses alone decide.
        """
        if not _LOCAL_NAME.search(host):
            return None
        if host.rpartition(".")[2] in ("localhost", "localdomain"):
            return None if self.opens_loopback else Kind.LOOPBACK
        opens_private = any(
            network.overlaps(each) for network in self.opened for each in _PRIVATE if each.version == network.version
        )
        return None if named or opens_private else Kind.OWN


def kind_in_words(kind: Kind) -> str:
    """Return why an address is refused, as a sentence about its host."""
    return "it belongs to the cluster" if kind is Kind.OWN else f"its address is {kind}"


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read CIDRs and single addresses; `any` stands for all. Raises ValueError with a sentence."""
    found: list[Network] = []
    for text in texts:
        if text == ANY:
            found += _EVERYTHING
            continue
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise ValueError(f'{text!r} is neither a range of addresses like 10.0.0.0/8 nor "{ANY}"') from error
    return tuple(found)


def kind_of(address: Address) -> Kind | None:
    """Return the kind of an address that is not public; None for a public one."""
    for kind, networks in _NETWORKS:
        if any(address in network for network in networks if network.version == address.version):
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return Kind.RESERVED
    return None


def parse_literal(host: str) -> Address | None:
    """Return the address that a host of a URL stands for without a resolver, or None for a name.

    Besides the usual forms these are all that the C library's resolver takes for an address: parts that are hexadecimal or
    octal, and fewer than four of them. `host` has no brackets.
    """
    text = host.removesuffix(".")
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return _by_inet_aton(text)


def normalized_host(host: str) -> str:
    """Return a host as resolvers and Go see it: lower case, ASCII forms of wide characters, no dot at the end.

    Raises ValueError for one that is left with other than ASCII letters, digits and the signs of names and addresses.
    """
    text = unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().removesuffix(".")
    if not re.fullmatch(r"[a-z0-9_.:-]{1,253}", text) or ".." in text or text.startswith("."):
        raise ValueError(f"{host!r} is not a host name; write an international one in its xn-- form")
    return text


def _by_inet_aton(text: str) -> IPv4Address | None:
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers = []
    for part in parts:
        if re.fullmatch(r"0[xX][0-9a-fA-F]{0,20}", part):
            numbers.append(int(part[2:] or "0", 16))
        elif re.fullmatch(r"0[0-7]{0,30}", part):
            numbers.append(int(part, 8))
        elif re.fullmatch(r"[1-9][0-9]{0,20}", part, re.ASCII):
            numbers.append(int(part))
        else:
            return None
    *bytes_, rest = numbers
    if any(number > 255 for number in bytes_) or rest >= 256 ** (5 - len(numbers)):
        return None
    value = rest + sum(number << 8 * (3 - index) for index, number in enumerate(bytes_))
    return IPv4Address(value)


def _forms(address: Address) -> Iterator[Address]:
    """Yield what is checked: the IPv4 address within an IPv6 one if it has one, else the address itself."""
    if isinstance(address, IPv4Address):
        yield address
        return
    # A zone is part of the object, and such an address is equal to no other.
    address = IPv6Address(int(address))
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = IPv4Address(int(address) & 0xFFFFFFFF)
    if embedded is None and address in _COMPATIBLE and int(address) > 1:
        embedded = IPv4Address(int(address) & 0xFFFFFFFF)
    yield address if embedded is None else embedded
