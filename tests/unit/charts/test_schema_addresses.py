"""Addresses of the web in schemas are replaced by names that nobody has, and come back in messages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.charts.schema_addresses import originals, stand_in, with_stand_ins

HOSTS = st.sampled_from(["charts.example.com", "a", "127.0.0.1", "[::1]", "[2001:db8::7]", "x-y.z-1.org"])
PORTS = st.sampled_from(["", ":80", ":443", ":8080"])
RESTS = st.sampled_from(["", "/", "/a/b.json", "/a.json?x=1", "/a.json#/defs/x", "#/x", "?q"])


@given(st.sampled_from(["http", "https"]), HOSTS, PORTS, RESTS)
def test_an_address_comes_back_as_it_was(scheme: str, host: str, port: str, rest: str) -> None:
    address = f"{scheme}://{host}{port}{rest}"
    found = stand_in(address)
    assert found is not None
    assert found.startswith("http://")
    assert ".schemas.invalid" in found
    assert found.endswith(rest)
    assert originals(f'failing loading "{found}": x') == f'failing loading "{address}": x'


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "a.json", "http://u:p@h/x", "http://h:port/", "https://", "urn:x"]
)
def test_what_has_no_stand_in_is_refused_by_the_proxy(address: str) -> None:
    assert stand_in(address) is None


def test_keywords_are_replaced_and_nothing_else() -> None:
    url, stands = "https://charts.example.com/a.json", "http://https.0.charts.example.com.schemas.invalid/a.json"
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": url,
        "id": url,
        "description": f'see "$ref": "{url}"',
        "$ref": f"{url}#/x",
        "allOf": [{"$ref": "#/y"}, {"$dynamicRef": url}, {"$ref": "b.json"}],
        "maximum": 12345678901234567890123,
        "const": url,
    }
    found = json.loads(with_stand_ins(json.dumps(document).encode()))
    expected = {**document, "$id": stands, "$ref": f"{stands}#/x"}
    expected["allOf"] = [{"$ref": "#/y"}, {"$dynamicRef": stands}, {"$ref": "b.json"}]
    assert found == expected


def test_ids_of_draft_4_are_replaced() -> None:
    draft = {"$schema": "http://json-schema.org/draft-04/schema#", "id": "https://e.example/a.json"}
    assert b"schemas.invalid" in with_stand_ins(json.dumps(draft).encode())


def test_a_document_that_is_not_text_stays_readable() -> None:
    assert (
        with_stand_ins(b'\xef\xbb\xbf{"title": "\xff", "$ref": "http://h/x"}').decode().startswith('{"title": "\ufffd"')
    )
