"""A prefix of a URL allows what is below it, and nothing that only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.egress.sources import ChartSources, SourceUrl

ALLOWED = ["https://charts.example.com/team-a/", "http://plain.example.com:8080", "oci://ghcr.io/org"]
BELOW = [
    "https://charts.example.com/team-a",
    "https://charts.example.com/team-a/",
    "https://charts.example.com:443/team-a/stable",
    "HTTPS://Charts.Example.com./team-a/stable",
    "https://charts.example.com/team%2da/x",
    "http://plain.example.com:8080/anything/below",
    "oci://ghcr.io/org",
    "oci://ghcr.io/org/chart",
]
OUTSIDE = [
    "https://charts.example.com",
    "https://charts.example.com/team-b",
    "https://charts.example.com/team-ab",
    "https://charts.example.com/TEAM-A",
    "https://charts.example.com.attacker.org/team-a",
    "https://xcharts.example.com/team-a",
    "https://charts.example.com:8443/team-a",
    "http://charts.example.com/team-a",
    "http://plain.example.com/x",
    "oci://ghcr.io/org-2/chart",
    "oci://ghcr.io:5000/org/chart",
    "https://ghcr.io/org",
]
UNCLEAR = [
    "https://charts.example.com@attacker.org/team-a",
    "https://user:password@charts.example.com/team-a",
    "https://attacker.org\\@charts.example.com/team-a",
    "https://charts.example.com/team-a/../team-b",
    "https://charts.example.com/team-a/%2e%2e/team-b",
    "https://charts.example.com/team-a/%252e%252e/team-b",
    "https://charts.example.com/team-a%2f..%2fteam-b",
    "https://charts.example.com/team-a/./x",
    "https://charts.example.com/team-a//x",
    "https://charts.example.com//team-a",
    "https://charts.example.com/team-a\\..\\x",
    "https://charts.example.com:99999/team-a",
    "https://[::1/team-a",
    "https:///team-a",
    "ftp://charts.example.com/team-a",
    "charts.example.com/team-a",
    "https://charts.example.com /team-a",
    "https://b\u00fccher.example/team-a",
]


@pytest.mark.parametrize("url", BELOW)
def test_a_url_below_a_prefix_is_allowed(url: str) -> None:
    assert ChartSources.parse(ALLOWED).allow(SourceUrl.parse(url))


@pytest.mark.parametrize("url", OUTSIDE)
def test_a_url_that_only_looks_like_a_prefix_is_not_allowed(url: str) -> None:
    assert not ChartSources.parse(ALLOWED).allow(SourceUrl.parse(url))
    assert ChartSources().allow(SourceUrl.parse(url))


@pytest.mark.parametrize("url", UNCLEAR)
def test_a_url_that_readers_understand_differently_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(it |its |'.*' is not a host name)"):
        SourceUrl.parse(url)


@given(st.text("abc./\\%2eEfF@:#?-", max_size=30))
def test_nothing_after_a_prefix_leads_out_of_it(rest: str) -> None:
    """Whatever follows the host of a prefix, the host of an allowed URL is that of the prefix."""
    sources = ChartSources.parse(["https://charts.example.com/team-a"])
    try:
        url = SourceUrl.parse(f"https://charts.example.com{rest}")
    except ValueError:
        return
    if sources.allow(url):
        assert url.host == "charts.example.com"
        assert url.segments[0] == "team-a"
        assert ".." not in url.segments


def test_hosts_are_named_with_their_port() -> None:
    """A prefix names its host for addresses: a registry's redirects and logins at the same host and port."""
    sources = ChartSources.parse(ALLOWED)
    assert sources.name_host("ghcr.io", 443)
    assert sources.name_host("ghcr.io", 80)
    assert not sources.name_host("ghcr.io", 22)
    assert sources.name_host("plain.example.com", 8080)
    assert not sources.name_host("plain.example.com", 80)
    assert not ChartSources().name_host("ghcr.io", 443)


def test_an_empty_list_names_nothing() -> None:
    assert not ChartSources().name(SourceUrl.parse("https://charts.example.com"))


@pytest.mark.parametrize(
    "text", ["https://charts.example.com/?x=1", "https://charts.example.com/#x", "example.com", ""]
)
def test_a_setting_that_is_no_prefix_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a source like"):
        ChartSources.parse([text])
