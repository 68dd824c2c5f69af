"""Packaged charts are identified without being unpacked, within bounds."""

import gzip
import io
import subprocess
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from managedchart_operator.charts.local import identify_archive
from managedchart_operator.charts.metadata import ChartMetadata, parse_chart_yaml
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

CHART_YAML = b"apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: '4.5'\n"


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()


def read(data: bytes) -> ChartMetadata:
    return identify_archive(data, "chart web").metadata


def refused(data: bytes) -> str:
    with pytest.raises(ChartError) as caught:
        read(data)
    assert (caught.value.reason, caught.value.transient) == (Reason.CHART_INVALID, False)
    return caught.value.message


def test_chart_yaml_is_found_anywhere_in_the_archive() -> None:
    files = {
        "any/templates/a.yaml": b"x" * 100_000,
        "any/charts/sub/Chart.yaml": b"name: sub\n",
        "any/Chart.yaml": CHART_YAML,
    }
    assert read(archive(files)) == ChartMetadata(name="web", version="1.2.3", app_version="4.5")
    assert read(archive({"web\\Chart.yaml": CHART_YAML})).name == "web"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged or cut off"),
        (b"apiVersion: v2", "not a packaged chart"),
        (gzip.compress(b"hello"), "damaged or cut off"),
        (archive({"web/values.yaml": b""}), "Chart.yaml is missing in its top folder"),
        (archive({"Chart.yaml": CHART_YAML}), "Chart.yaml is missing in its top folder"),
        (archive({}, {"web/Chart.yaml": "/etc/passwd"}), "Chart.yaml is missing in its top folder"),
        (archive({"web/Chart.yaml": CHART_YAML + b"#" * 2_000_000}), "larger than 1 MiB"),
        (archive({"web/x": bytes(range(256)) * 4000, "web/Chart.yaml": CHART_YAML})[:2000], "damaged or cut off"),
        (archive({"web/Chart.yaml": b"name: [\n"}), "Chart.yaml, line 2"),
    ],
    # Never the bytes themselves: an archive holds the time at which it was made.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_archive_is_refused_with_the_reason(data: bytes, words: str) -> None:
    message = refused(data)
    assert message.startswith("chart web: ")
    assert words in message


def test_a_bomb_costs_bounded_time() -> None:
    """1 GiB of zeros, 1 MB packed, is refused at helm's own limit of 100 MiB."""
    member = tarfile.TarInfo("web/zeros")
    member.size = 4 * 1024 * 1024
    packing = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    # After a full flush nothing refers to what was before, so the same file can follow as often as it shall.
    file = packing.compress(member.tobuf() + bytes(member.size)) + packing.flush(zlib.Z_FULL_FLUSH)
    head = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS).flush(zlib.Z_FULL_FLUSH)
    packed = file + file.removeprefix(head[:10]) * 255
    started = time.process_time()
    assert "decompresses to more than 100 MiB" in refused(packed)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nversion: 1.10\nappVersion: 1.20\n", ChartMetadata("a", "1.1", "1.2")),
        ("name: a\nversion: 1\n", ChartMetadata("a", "1", None)),
        ("Name: a\nVERSION: 1.0.0\nappversion: x\n", ChartMetadata("a", "1.0.0", "x")),
    ],
)
def test_fields_have_helms_values(text: str, expected: ChartMetadata, helm_binary: str, tmp_path: Path) -> None:
    assert parse_chart_yaml(text.encode(), origin="x") == expected
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\n" + text)
    (tmp_path / "templates" / "a.yaml").write_text(
        "a: '{{ .Chart.Name }}|{{ .Chart.Version }}|{{ .Chart.AppVersion }}'"
    )
    done = subprocess.run([helm_binary, "template", "x", tmp_path], capture_output=True, text=True, check=True)
    assert f"'{expected.name}|{expected.version}|{expected.app_version or ''}'" in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "not a mapping"),
        ("name: a\n", "version is missing"),
        ("version: 1.0.0\n", "name is missing"),
        ("name: [a]\nversion: 1.0.0\n", "name is missing"),
        (f"name: {'a' * 300}\nversion: 1.0.0\n", "name is longer than 253"),
    ],
)
def test_name_and_version_are_required(text: str, words: str) -> None:
    with pytest.raises(ChartError, match=words):
        parse_chart_yaml(text.encode(), origin="x")


def test_helm_does_not_follow_links_in_an_archive(helm_binary: str, tmp_path: Path) -> None:
    """So the links of an archive need no check: helm treats them as empty files."""
    secret = tmp_path / "secret.yaml"
    secret.write_text("stolen: hunter2\n")
    packed = archive(
        {"web/Chart.yaml": CHART_YAML, "web/templates/b.yaml": b'a: {{ .Files.Get "link" | quote }}\n'},
        {"web/templates/a.yaml": str(secret), "web/link": str(secret), "web/values.yaml": str(secret)},
    )
    (tmp_path / "web.tgz").write_bytes(packed)
    done = subprocess.run(
        [helm_binary, "template", "x", tmp_path / "web.tgz"], capture_output=True, text=True, check=True
    )
    assert "hunter2" not in done.stdout
    assert 'a: ""' in done.stdout
