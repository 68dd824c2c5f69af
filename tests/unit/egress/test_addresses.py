"""Every spelling of an address counts as the address; what is not public is not called."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.egress.addresses import (
    AddressRules,
    Kind,
    kind_of,
    normalized_host,
    parse_literal,
    parse_networks,
)

CLOSED = AddressRules()
KINDS = {
    "127.0.0.1": Kind.LOOPBACK,
    "127.255.255.254": Kind.LOOPBACK,
    "::1": Kind.LOOPBACK,
    "169.254.169.254": Kind.LINK_LOCAL,
    "fe80::1": Kind.LINK_LOCAL,
    "168.63.129.16": Kind.LINK_LOCAL,
    "fd00:ec2::254": Kind.LINK_LOCAL,
    "0.0.0.0": Kind.UNSPECIFIED,
    "0.1.2.3": Kind.UNSPECIFIED,
    "::": Kind.UNSPECIFIED,
    "224.0.0.1": Kind.MULTICAST,
    "ff02::1": Kind.MULTICAST,
    "10.96.0.1": Kind.PRIVATE,
    "172.16.0.1": Kind.PRIVATE,
    "172.31.255.255": Kind.PRIVATE,
    "192.168.1.1": Kind.PRIVATE,
    "100.64.0.1": Kind.PRIVATE,
    "fd12:3456::1": Kind.PRIVATE,
    "fec0::1": Kind.PRIVATE,
    "255.255.255.255": Kind.RESERVED,
    "192.0.2.1": Kind.RESERVED,
    "64:ff9b:1::a00:1": Kind.RESERVED,
    "4000::1": Kind.RESERVED,
    "8.8.8.8": None,
    "172.32.0.1": None,
    "100.128.0.1": None,
    "2606:4700::1111": None,
}
V4 = st.builds(IPv4Address, st.integers(0, 2**32 - 1))


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_addresses_that_are_not_public_are_refused(text: str, kind: Kind | None) -> None:
    assert kind_of(ip_address(text)) == kind
    assert CLOSED.refusal(ip_address(text)) == kind


@given(V4)
def test_an_ipv4_address_within_an_ipv6_one_counts_as_itself(address: IPv4Address) -> None:
    """S14: mapped, compatible, NAT64 and 6to4 forms reach the same host."""
    number, plain = int(address), CLOSED.refusal(address)
    forms = [IPv6Address((0xFFFF << 32) | number), IPv6Address((0x64FF9B << 96) | number)]
    forms.append(IPv6Address((0x2002 << 112) | (number << 80) | 1))
    if number > 1:
        forms.append(IPv6Address(number))
    for form in forms:
        assert CLOSED.refusal(form) == plain


def spellings(address: IPv4Address, radix: tuple[str, str, str, str]) -> list[str]:
    """What the C library's resolver takes for an address: one to four parts, each in one of three notations."""
    number = int(address)
    a, b, c, d = number >> 24, number >> 16 & 255, number >> 8 & 255, number & 255
    parts = ([a, b, c, d], [a, b, number & 0xFFFF], [a, number & 0xFFFFFF], [number])
    write = {"dec": str, "hex": hex, "HEX": lambda n: f"0X{n:X}", "oct": lambda n: f"0{n:o}"}
    return [".".join(write[how](part) for how, part in zip(radix, each, strict=False)) for each in parts]


@given(V4, st.tuples(*[st.sampled_from(["dec", "hex", "HEX", "oct"])] * 4))
def test_every_spelling_is_the_address_that_the_resolver_makes_of_it(
    address: IPv4Address, radix: tuple[str, str, str, str]
) -> None:
    """S14: 0x7f.1, 2130706433 and 017700000001 are 127.0.0.1."""
    for text in spellings(address, radix):
        assert parse_literal(normalized_host(text)) == address == IPv4Address(socket.inet_aton(text))


@given(st.text("0123456789xXabcdefABCDEF.", min_size=1, max_size=24))
def test_what_the_resolver_takes_for_an_address_is_never_taken_for_a_name(text: str) -> None:
    try:
        expected = IPv4Address(socket.inet_aton(text))
    except OSError:
        return
    assert parse_literal(text) == expected


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("LOCALHOST.", "localhost"),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
        ("127\u30020\uff0e0\uff611", "127.0.0.1"),
        ("Charts.Example.COM", "charts.example.com"),
    ],
)
def test_a_host_is_compared_as_the_resolver_sees_it(written: str, host: str) -> None:
    assert normalized_host(written) == host


@pytest.mark.parametrize(
    "host", ["", ".", "a..b", "a b", "a%00", "a\x00", "b\u00fccher.example", "a/b", "x@y", "a" * 300]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        normalized_host(host)


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("localhost", Kind.LOOPBACK),
        ("a.localhost", Kind.LOOPBACK),
        ("kubernetes.default.svc", Kind.OWN),
        ("db.team-b.svc.cluster.local", Kind.OWN),
        ("metadata.google.internal", Kind.OWN),
        ("printer.local", Kind.OWN),
        ("charts.example.com", None),
        ("svc.example.com", None),
        ("notlocalhost", None),
    ],
)
def test_names_of_the_machine_and_of_the_cluster_are_refused(host: str, kind: Kind | None) -> None:
    assert CLOSED.refused_name(host) == kind
    assert AddressRules(parse_networks(["any"])).refused_name(host) is None
    opened = AddressRules(parse_networks(["10.96.0.0/12"])).refused_name(host)
    assert opened == (kind if kind is Kind.LOOPBACK else None), "the addresses decide"


def test_a_named_host_may_be_private_but_not_of_the_machine() -> None:
    """MANAGEDCHART_CHART_SOURCES names it; the metadata service is no chart source."""
    for text, kind in KINDS.items():
        may = kind in (None, Kind.PRIVATE, Kind.RESERVED)
        assert (CLOSED.refusal(ip_address(text), named=True) is None) == may, text


def test_the_api_server_and_the_pod_are_refused_also_if_they_are_public() -> None:
    rules = AddressRules(own=frozenset({ip_address("8.8.4.4")}))
    assert rules.refusal(ip_address("8.8.4.4"), named=True) is Kind.OWN
    assert rules.refusal(ip_address("::ffff:8.8.4.4")) is Kind.OWN


def test_a_setting_opens_ranges_of_addresses() -> None:
    rules = AddressRules(parse_networks(["10.1.0.0/16", "127.0.0.1", "fd00::/8"]))
    assert rules.refusal(ip_address("10.1.2.3")) is None
    assert rules.refusal(ip_address("::ffff:10.1.2.3")) is None
    assert rules.refusal(ip_address("10.2.0.1")) is Kind.PRIVATE
    assert rules.refusal(ip_address("127.0.0.2")) is Kind.LOOPBACK
    assert rules.opens_loopback
    assert not rules.opens_everything
    assert all(AddressRules(parse_networks(["any"])).refusal(ip_address(text)) is None for text in KINDS)


@pytest.mark.parametrize("text", ["", "all", "10.0.0.0/33", "example.com", "10.1.2.3/8"])
def test_a_range_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a range of addresses"):
        parse_networks([text])
