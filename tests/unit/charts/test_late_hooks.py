"""Which charts have hooks that run after their objects are ready; in doubt, all."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import CHARTS
from managedchart_operator.charts import late_hooks
from managedchart_operator.charts.late_hooks import (
    archive_has,
    file_has,
    template_has_ttl_jobs,
    text_has_late_hooks,
    text_leaves_out,
)

LATE = [
    'annotations:\n  "helm.sh/hook": post-install,post-upgrade\n',
    "annotations:\n  helm.sh/hook: post-upgrade\n",
    "annotations:\n  'helm.sh/hook': \"pre-install, post-install\"\n",
    "annotations: {helm.sh/hook: post-install}\n",
    'annotations:\n  "helm.sh/hook": {{ .Values.hook | quote }}\n',
    "annotations:\n  helm.sh/hook: >-\n    post-install\n",
    "annotations:\n  helm.sh/hook:\n    post-install\n",
    '{{- $_ := set $annotations "helm.sh/hook" "post-install" }}\n',
    '{{ dict "helm.sh/hook" .Values.hook | toYaml }}\n',
    '{{ printf "helm.sh/%s" "hook" }}: post-install\n',
    "helm.sh/{{ .Values.name }}: post-install\n",
    '{"metadata":{"annotations":{"helm.sh/hook":"post-install"},"name":"a"}}',
    "helm.sh/hook: something-new\n",
    "annotations:\n  helm.sh/hook: pre-upgrade,\n    post-install\n",
    "annotations:\n  helm.sh/hook: pre-upgrade,\r\n    post-install\r\n",
    "annotations:\n  helm.sh/hook: pre-upgrade\n    , post-install\n",
    "annotations:\n  helm.sh/hook: pre-upgrade\n\n    , post-install\n",
    'annotations:\n  helm.sh/hook: "pre-upgrade,\n    post-install"\n',
    "annotations:\n  helm.sh/hook: 'pre-upgrade,\n    post-install'\n",
    'annotations:\n  helm.sh/hook: "pre-upgrade,\\\n    post-install"\n',
    "annotations:\n  helm.sh/hook: &hook pre-upgrade\n",
    "annotations:\n  helm.sh/hook: *hook\n",
    "annotations:\n  helm.sh/hook: !!str pre-upgrade\n",
    "annotations:\n  helm.sh/hook: |\n    pre-upgrade,\n    post-install\n",
    'annotations:\n  helm.sh/hook: "pre-upgrade,\\x70ost-install"\n',
    "annotations:\n  ? helm.sh/hook\n  : post-install\n",
    'annotations: {"helm.sh\\/hook": "post-install"}\n',
    "annotations: {helm.sh/hook: pre-upgrade, a: b}\n",
    "annotations: {helm.sh/hook: pre-upgrade,\n  a: b}\n",
    "annotations:\n  helm.sh/hook: pre-upgrade{{ .Values.more }}\n",
    "annotations:\n  helm.sh/hook: pre-upgrade#post-install\n",
    "annotations:\n  helm.sh/hook:\n",
]
EARLY = [
    "kind: ConfigMap\n",
    'annotations:\n  "helm.sh/hook": test\n',
    "annotations:\n  helm.sh/hook: pre-install,pre-upgrade # before all\n",
    'annotations:\n  "helm.sh/hook": "pre-delete, post-delete"\n',
    'annotations: {"helm.sh/hook": test-success}\n',
    "annotations:\n  helm.sh/hook-weight: '-5'\n  helm.sh/hook-delete-policy: hook-succeeded\n",
    "labels:\n  helm.sh/chart: web-1.0\n  helm.sh/resource-policy: keep\n",
    "# see https://helm.sh/docs/\n",
    'annotations:\n  helm.sh/hook: pre-install # before all\n\n  # the first\n  helm.sh/hook-weight: "-5"\n',
    "annotations:\n  helm.sh/hook: pre-install\n  {{- with .Values.more }}\n    {{- toYaml . | nindent 4 }}\n  {{- end }}\n",
    "annotations:\r\n  helm.sh/hook: pre-install\r\nspec: {}\r\n",
    '{\n  "annotations": {\n    "helm.sh/hook": "pre-install",\n    "a": "b"\n  }\n}\n',
    'annotations: {"helm.sh/hook": "test"}\n  # deeper\n',
    "annotations:\n  helm.sh/hook: pre-install",
]


@pytest.mark.parametrize("text", LATE)
def test_late_hooks_are_found(text: str) -> None:
    assert text_has_late_hooks(text.encode())


@pytest.mark.parametrize("text", EARLY)
def test_other_hooks_are_not_late(text: str) -> None:
    assert not text_has_late_hooks(text.encode())


def packed(files: dict[str, bytes]) -> bytes:
    """Build a .tgz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_a_readme_makes_no_hook() -> None:
    assert not file_has("README.md", LATE[0].encode(), text_has_late_hooks)


def test_a_packaged_subchart_is_searched() -> None:
    quiet, loud = packed({"sub/templates/a.yaml": b"kind: A\n"}), packed({"sub/templates/a.yaml": LATE[0].encode()})
    assert not archive_has(
        packed({"web/Chart.yaml": b"name: web\n", "web/charts/sub-1.0.tgz": quiet}), text_has_late_hooks
    )
    assert archive_has(packed({"web/Chart.yaml": b"name: web\n", "web/charts/sub-1.0.tgz": loud}), text_has_late_hooks)
    assert file_has("charts/sub-1.0.tgz", loud, text_has_late_hooks)


def test_an_unreadable_archive_counts_as_having_late_hooks() -> None:
    nested = packed({"a.yaml": b""})
    for _ in range(3):
        nested = packed({"charts/a.tgz": nested})
    assert archive_has(nested, text_has_late_hooks)
    assert archive_has(b"no archive", text_has_late_hooks)
    assert archive_has(packed({"a.yaml": b"kind: A\n" * 1000})[:-40], text_has_late_hooks)


def test_a_huge_archive_counts_as_having_late_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the unpacked part is a complete archive: tar may end at each of its blocks."""
    archive = packed({"a.yaml": b"a" * 512, "b.yaml": LATE[0].encode()})
    monkeypatch.setattr(late_hooks, "_UNPACKED_BYTES", 1024)
    assert archive_has(archive, text_has_late_hooks)


@pytest.mark.parametrize(("chart", "late"), [("hooks", True), ("web", False), ("raw", False)])
def test_the_charts_of_the_tests(chart: str, *, late: bool) -> None:
    folder: Path = CHARTS / chart
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert (
        any(file_has(str(file.relative_to(folder)), file.read_bytes(), text_has_late_hooks) for file in files) is late
    )


def test_headers_about_headers_count_as_a_late_hook() -> None:
    """tarfile follows them by recursion; helm reports what is wrong."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 5
    header = name.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(tarfile.BLOCKSIZE, b"\0")
    assert archive_has(gzip.compress(header * 1200 + b"\0" * 1024), text_has_late_hooks)


def sparse(size: int) -> bytes:
    """A .tgz of a few bytes that claims to contain a huge file (a GNU sparse file with one missing piece)."""
    header = tarfile.TarInfo("web/templates/a.yaml")
    header.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:398], block[398:410] = b"%011o\0" % size, b"%011o\0" % 0
    block[482:483], block[483:495] = b"\0", b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + b"\0" * 1024)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_what_is_compressed_twice_is_not_unpacked_twice(compress: Callable[[bytes], bytes]) -> None:
    """tarfile would do so by default, and a chart of 833 bytes would take any amount of memory. helm reports what is wrong."""
    archive = gzip.decompress(packed({"sub/templates/a.yaml": b"kind: A\n"}))
    assert not archive_has(gzip.compress(archive), text_has_late_hooks)
    assert archive_has(gzip.compress(compress(archive)), text_has_late_hooks)


def test_a_claimed_size_is_not_allocated() -> None:
    """Otherwise a few hundred bytes would take any amount of memory."""
    data = sparse(2**31)
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        assert [member.size for member in opened] == [2**31], "the test's own archive"
    tracemalloc.start()
    assert archive_has(data, text_has_late_hooks)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_an_annotation_that_leaves_out_is_found_in_packages() -> None:
    """What cannot be read leaves nothing out: in doubt late hooks run after helm's wait."""
    assert file_has("templates/a.yaml", b'managedchart.dev/wait: "false"', text_leaves_out)
    assert not file_has("README.md", b'managedchart.dev/wait: "false"', text_leaves_out)
    assert not archive_has(b"no archive", text_leaves_out, in_doubt=False)
    assert not file_has("charts/sub.tgz", b"no archive", text_leaves_out, in_doubt=False)


_JOB = b"kind: Job\nspec: {ttlSecondsAfterFinished: 0}\n"
_HOOK = b"metadata: {annotations: {helm.sh/hook: pre-install}}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (_JOB, True),
        (_HOOK + _JOB, False),
        (_HOOK + _JOB + b"---\n" + _JOB, True),
        (b"kind: Job", False),
    ],
)
def test_jobs_with_a_ttl_count_unless_they_are_hooks(text: bytes, found: bool) -> None:
    """Because of those of ingress-nginx helm waited as helm 3 does, for the address of a load balancer, up to its timeout."""
    assert template_has_ttl_jobs(text) is found
