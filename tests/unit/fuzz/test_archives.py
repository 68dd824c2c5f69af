"""S6, S7: any bytes are a chart, or a ChartError says why not."""

import contextlib
import gzip
import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from harness.fuzzing import bounded_time, fuzzed, texts
from managedchart_operator.charts.local import identify_archive
from managedchart_operator.errors import ChartError

NAMES = [
    "a/Chart.yaml",
    "a/values.yaml",
    "a/templates/x.yaml",
    "a/charts/b.tgz",
    "a/crds/c.yaml",
    "../x",
    "/etc/x",
    "a//b",
    "a/.helmignore",
]
CONTENT = [
    "apiVersion: v2\n",
    "name: a\n",
    "version: 1.0.0\n",
    "{{ .Values }}",
    '"helm.sh/hook": post-install',
    "ttlSecondsAfterFinished",
    "\0",
]
MEMBER = st.tuples(
    st.one_of(st.sampled_from(NAMES), st.text(max_size=20)),
    st.one_of(texts(CONTENT, longest=500).map(lambda text: text.encode(errors="replace")), st.binary(max_size=100)),
    st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE, tarfile.FIFOTYPE]
    ),
)


def packed(members: list[tuple[str, bytes, bytes]]) -> bytes:
    """Make an archive, also of what no chart has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content) if kind == tarfile.REGTYPE else 0, "x"
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def identify(data: bytes) -> None:
    """Read an archive as the operator does, in this process."""
    with bounded_time(), contextlib.suppress(ChartError):
        identify_archive(data, "spec.chart.contents")


@fuzzed
@given(members=st.lists(MEMBER, max_size=6))
def test_any_archive_is_a_chart_or_refused(members: list[tuple[str, bytes, bytes]]) -> None:
    try:
        data = packed(members)
    except (ValueError, UnicodeError, tarfile.TarError):
        return  # tarfile itself cannot write it
    identify(data)


@fuzzed
@given(
    members=st.lists(MEMBER, min_size=1, max_size=3), place=st.integers(0, 5000), byte=st.binary(min_size=1, max_size=4)
)
def test_any_damaged_archive_is_a_chart_or_refused(
    members: list[tuple[str, bytes, bytes]], place: int, byte: bytes
) -> None:
    try:
        data = bytearray(gzip.decompress(packed(members)))
    except (ValueError, UnicodeError, tarfile.TarError):
        return
    place %= len(data)
    data[place : place + len(byte)] = byte
    identify(gzip.compress(bytes(data)))


@fuzzed
@given(data=st.binary(max_size=300), compressed=st.booleans())
def test_any_bytes_are_refused(data: bytes, compressed: bool) -> None:
    identify(gzip.compress(data) if compressed else data)
