"""A schema may refer to itself and to the web; the real helm shows what it would read otherwise."""

import gzip
import io
import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from managedchart_operator.charts.schema_references import References, references_in, references_of
from managedchart_operator.charts.search import ChartSearch

DRAFT = "http://json-schema.org/draft-0{}/schema#"
SECRET = "file:///etc/passwd"
REF = {"$ref": SECRET}
WEB = "http://127.0.0.1:1/a.json"
TEXT = {"type": "string"}


def a(reference: str, **schema: Any) -> dict[str, Any]:
    """A schema that refers to something for the value `a`."""
    return {"properties": {"a": {"$ref": reference}}, **schema}


# What helm opens: a file, or an address that it has no way to open.
REFUSED: dict[str, Any] = {
    "a file": a(SECRET),
    "a scheme in capitals": a("FILE:///etc/passwd"),
    "a file of a host": a("file://localhost/etc/passwd"),
    "a relative path": a("etc/passwd"),
    "an absolute path": a("/etc/passwd"),
    "a host without a scheme": a("//x/etc/passwd"),
    "a path with dots": a("./values.schema.json/../etc/passwd"),
    "a file of its own after an id": a("passwd", **{"$id": "file:///etc/x"}),
    "an id with another draft's name": a("passwd", **{"id": "https://example.com/x", "$schema": DRAFT.format(7)}),
    "an id of the web that does not count": {
        "properties": {"a": {"$id": "https://example.com/x", "$ref": "etc/passwd"}}
    }
    | {"$schema": DRAFT.format(7)},
    "an id beside it": {"properties": {"a": {"$id": "file:///etc/x", "$ref": "passwd"}}},
    "an id above it": {"$id": "file:///etc/x", "properties": {"a": {"allOf": [{"$ref": "passwd"}]}}},
    "an id of draft 4": a("passwd", **{"id": "file:///etc/x", "$schema": DRAFT.format(4)}),
    "a dynamic one": {"properties": {"a": {"$dynamicRef": SECRET}}},
    "a recursive one": {
        "properties": {"a": {"$recursiveRef": SECRET}},
        "$schema": "https://json-schema.org/draft/2019-09/schema",
    },
    "another protocol": a("ftp://127.0.0.1:1/a.json"),
    "a draft in a file": {"$schema": SECRET},
    "a draft in a file below": {"properties": {"a": {"$schema": SECRET}}},
    "a draft of the web that would allow anything": {**a(SECRET), "$schema": WEB},
    "data that is referred to": {**a("#/default"), "default": REF},
    "data in a list that is referred to": {**a("#/examples/1"), "examples": [1, REF]},
    "definitions of a later draft": {**a("#/$defs/x"), "$defs": {"x": REF}, "$schema": DRAFT.format(7)},
    "an escaped name": '{"properties": {"a": {"\\u0024ref": "file:///etc/passwd"}}}',
    "a mark at the beginning": "\ufeff" + json.dumps(a(SECRET)),
    "the last of two": '{"properties": {"a": {"$ref": "#", "$ref": "file:///etc/passwd"}}}',
    "invalid bytes": json.dumps(a(SECRET, title="x")).encode().replace(b'"x"', b'"\xff"'),
    "a long number": json.dumps(a(SECRET))[:-1] + ', "maximum": ' + "1" * 5000 + "}",
    "an id in a part of another draft": {
        **a("common.json"),
        "$schema": DRAFT.format(7),
        "$defs": {"x": {"$id": "common.json", **TEXT}},
    },
    "an id in data": {**a("common.json"), "default": {"$id": "common.json", **TEXT}},
    "an id that a reference hides": {
        **a("common.json"),
        "$schema": DRAFT.format(7),
        "definitions": {"x": {"$id": "common.json", "$ref": "#/definitions/y"}, "y": TEXT},
    },
}
# What helm opens on no disk. A value `a` that is a text fits all of them.
ALLOWED: dict[str, Any] = {
    "no reference": {"properties": {"a": TEXT}},
    "a part of the document": {**a("#/$defs/x"), "$defs": {"x": TEXT}},
    "the whole document": {"properties": {"a": {"properties": {"b": {"$ref": "#"}}}}},
    "the document by its name": {**a("values.schema.json#/$defs/x"), "$defs": {"x": TEXT}},
    "the document by its address": {**a("file:///values.schema.json#/$defs/x"), "$defs": {"x": TEXT}},
    "a part by its id": {**a("common.json"), "$defs": {"x": {"$id": "common.json", **TEXT}}},
    "a part by its id in draft 7": {
        **a("common.json#"),
        "$schema": DRAFT.format(7),
        "definitions": {"x": {"$id": "common.json", **TEXT}},
    },
    "a part by its id in draft 4": {
        **a("common.json"),
        "$schema": DRAFT.format(4),
        "definitions": {"x": {"id": "common.json", **TEXT}},
    },
    "a part after an id that is a file": {**a("#/$defs/x"), "$id": "file:///x.json", "$defs": {"x": TEXT}},
    "a part after an id that is a name": {**a("#/$defs/x"), "$id": "web", "$defs": {"x": TEXT}},
    "a part after an id that is a URN": {**a("#/$defs/x"), "$id": "urn:example:web", "$defs": {"x": TEXT}},
    "a part after an id of the web": {
        **a("x.json"),
        "$id": "https://example.com/schemas/web.json",
        "$defs": {"x": {"$id": "x.json", **TEXT}},
    },
    "definitions of a later draft": {**a("#/$defs/x"), "$schema": DRAFT.format(7), "$defs": {"x": TEXT}},
    "an anchor": {**a("#x"), "$defs": {"x": {"$anchor": "x", **TEXT}}},
    "a property with the name": {"properties": {"$ref": TEXT, "$id": TEXT, "id": TEXT, "a": TEXT}},
    "ids that are parts": {"properties": {"a": {"$id": "#/properties/a", **TEXT}}, "$schema": DRAFT.format(7)},
    "a draft that helm knows": {"$schema": DRAFT.format(6), "properties": {"a": TEXT}},
    "a schema that is only true": True,
}
# The server of these addresses does not answer.
OF_THE_WEB: dict[str, Any] = {
    "an address": a(WEB),
    "an address in capitals": a("HTTP://127.0.0.1:1/a.json"),
    "a draft of the web": {"$schema": WEB, "properties": {"a": TEXT}},
    "a relative path after an id of the web": a("other.json", **{"$id": WEB}),
    "the same in draft 4": a("/other.json", **{"id": WEB, "$schema": DRAFT.format(4)}),
    "a host without a scheme after an id of the web": a("//127.0.0.1:1/b.json", **{"$id": WEB}),
}


def text_of(schema: Any) -> bytes:
    if isinstance(schema, bytes):
        return schema
    return (schema if isinstance(schema, str) else json.dumps(schema)).encode()


def refused(schema: Any) -> str | None:
    return references(schema).refused


def references(schema: Any) -> References:
    return references_in("values.schema.json", text_of(schema))


def by_helm(helm: str, folder: Path, schema: Any, *, proxy: str = "") -> str:
    """What the real helm says to a chart with this schema and the value `a: x`."""
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text("a: x\n")
    (folder / "values.schema.json").write_bytes(text_of(schema))
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GOGC": "off"}
    environment |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    done = subprocess.run(
        [helm, "template", str(folder)], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert bool(done.stderr) == bool(done.returncode), done.stderr
    return done.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_a_reference_to_a_file_is_refused(name: str, helm_binary: str, tmp_path: Path) -> None:
    problem = refused(REFUSED[name])
    assert problem is not None
    assert problem.startswith('its values.schema.json refers to "')
    assert problem.endswith("which is neither within the schema nor an http:// or https:// address")
    assert 'failing loading "' in by_helm(helm_binary, tmp_path, REFUSED[name])


@pytest.mark.parametrize("name", ALLOWED)
def test_a_reference_within_the_document_is_allowed(name: str, helm_binary: str, tmp_path: Path) -> None:
    assert references(ALLOWED[name]) == References()
    assert by_helm(helm_binary, tmp_path, ALLOWED[name]) == ""


@pytest.mark.parametrize("name", OF_THE_WEB)
def test_a_reference_to_the_web_is_found(name: str, helm_binary: str, tmp_path: Path) -> None:
    """S15: helm fetches it, so an administrator must have listed it."""
    found = references(OF_THE_WEB[name])
    assert found.refused is None
    assert found.remote in ((WEB,), ("http://127.0.0.1:1/other.json",), ("http://127.0.0.1:1/b.json",))
    assert "connection refused" in by_helm(helm_binary, tmp_path, OF_THE_WEB[name])


@pytest.mark.parametrize(
    "address",
    [
        "http://json-schema.org/draft-07/schema#/definitions/nonNegativeInteger",
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/meta/validation",
    ],
)
def test_a_draft_that_helm_has_is_not_fetched(address: str, helm_binary: str, tmp_path: Path) -> None:
    """By the real helm, which would complain about a proxy that does not answer."""
    assert references(a(address)) == References()
    assert "failing loading" not in by_helm(helm_binary, tmp_path, a(address), proxy="http://127.0.0.1:1")
    assert references(a("https://json-schema.org/draft/2042/schema")).remote


@pytest.mark.parametrize(
    "schema",
    [
        a("https://e.example/s.json#/$defs/x", **{"$id": "https://e.example/s.json"}),
        a("s.json#/$defs/x", **{"$id": "https://e.example/s.json"}),
        a("https://e.example/x.json") | {"$defs": {"y": {"$id": "https://e.example/x.json", **TEXT}}},
    ],
)
def test_an_address_that_is_the_documents_own_is_not_fetched(
    schema: dict[str, Any], helm_binary: str, tmp_path: Path
) -> None:
    schema = {"$defs": {"x": TEXT}, **schema}
    assert references(schema) == References()
    assert by_helm(helm_binary, tmp_path, schema, proxy="http://127.0.0.1:1") == ""


def test_an_address_in_another_spelling_is_another_document(helm_binary: str, tmp_path: Path) -> None:
    """helm compares texts, and would fetch it."""
    schema = {**a("https://e.example/s.json#/$defs/x", **{"$id": "https://E.example/s.json"}), "$defs": {"x": TEXT}}
    assert references(schema).remote == ("https://e.example/s.json",)
    assert "failing loading" in by_helm(helm_binary, tmp_path, schema, proxy="http://127.0.0.1:1")


def test_too_many_addresses_are_refused() -> None:
    schema = {"allOf": [{"$ref": f"https://e.example/{number}"} for number in range(40)]}
    assert refused(schema) == "its values.schema.json refers to more than 32 addresses"


def test_what_a_document_of_the_web_refers_to_is_found() -> None:
    """A file, or an address relative to its own."""
    url = "https://e.example/schemas/a.json"
    assert references_of(text_of(a("b.json")), url) == References(None, ("https://e.example/schemas/b.json",))
    assert references_of(text_of(a("#/x")), url) == References()
    assert references_of(text_of(a("a.json#/x")), url) == References()
    for reference in (SECRET, "file:etc/passwd", "FILE:///etc/passwd"):
        assert references_of(text_of(a(reference)), url).refused
    assert references_of(text_of(a("passwd", **{"$id": "file:///etc/x"})), url).refused


def test_a_urn_is_refused() -> None:
    """helm takes it for a schema that accepts everything, with a warning that nobody reads."""
    assert refused(a("urn:example:config")) is not None


def test_a_password_is_not_shown() -> None:
    assert "s3cret" not in (refused(a("ftp://me:s3cret@host/x?token=s3cret")) or "")


@pytest.mark.parametrize("text", ["", "{", '{"$ref": "file:///etc/passwd"', "[1,]", '{"$ref": NaN} x'])
def test_what_is_not_json_is_left_to_helm(text: str) -> None:
    """It reports it where it needs the schema, and reads nothing."""
    assert refused(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"not":' * 100_000 + "{}" + "}" * 100_000,
        "[" + "{}," * 400_000 + "{}]",
        json.dumps({"title": "x" * 6_000_000}),
        '{"default": ' + "".join(f'{{"$id": "{number}/x", "b": ' for number in range(30)) + "1" + "}" * 31,
    ],
    ids=["deep", "many", "long", "ids"],
)
def test_a_schema_that_is_too_large_to_be_searched_is_refused(text: str) -> None:
    started = time.process_time()
    assert "to be searched for references to files" in (refused(text) or "")
    assert time.process_time() - started < 5


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


BAD = json.dumps(a(SECRET)).encode()
CHART = {"web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.0.0\n"}


def refused_in_archive(data: bytes) -> str | None:
    search = ChartSearch("chart web")
    search.add_archive(data)
    return search.references.refused


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"web/values.schema.json": BAD}, "its values.schema.json refers"),
        ({"web\\values.schema.json": BAD}, "its values.schema.json refers"),
        ({"web/charts/../values.schema.json": BAD}, "its values.schema.json refers"),
        ({"web/charts/sub/values.schema.json": BAD}, "its charts/sub/values.schema.json refers"),
        (
            {"web/charts/sub.tgz": archive({"sub/values.schema.json": BAD})},
            "its charts/sub.tgz/values.schema.json refers",
        ),
        (
            {"web/charts/a.tgz": archive({"a/charts/b.tgz": archive({"b/charts/c/values.schema.json": BAD})})},
            "its charts/a.tgz/charts/b.tgz/charts/c/values.schema.json refers",
        ),
        ({"web/charts/sub.tgz": b"no archive"}, "its charts/sub.tgz cannot be searched"),
        ({"web/charts/sub.tgz": archive({"sub/values.schema.json": BAD})[:-20]}, "its charts/sub.tgz cannot be"),
    ],
)
def test_subcharts_and_packages_are_searched(files: dict[str, bytes], named: str) -> None:
    assert (refused_in_archive(archive({**CHART, **files})) or "").startswith(named)


def test_a_second_gzip_member_is_searched() -> None:
    """Go reads on, so helm would."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as open_tar:
        for name, data in {**CHART, "web/values.schema.json": BAD}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            open_tar.addfile(member, io.BytesIO(data))
    whole = tar.getvalue()
    assert refused_in_archive(gzip.compress(whole[:1024]) + gzip.compress(whole[1024:])) is not None


def test_other_files_and_archives_do_not_count() -> None:
    files = {"web/files/data.tgz": b"no archive", "web/schema.json": BAD, "web/charts/sub/schemas/a.json": BAD}
    assert refused_in_archive(archive({**CHART, **files})) is None
