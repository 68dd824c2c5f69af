"""One pass over a chart answers all questions about it, within one budget for everything that is packed in it."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import CHARTS
from managedchart_operator.charts import archive
from managedchart_operator.charts.crd_folders import CrdFolders
from managedchart_operator.charts.search import ChartSearch
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

HOOK = b'annotations:\n  "helm.sh/hook": post-install\n'
JOB = b"kind: Job\nspec: {ttlSecondsAfterFinished: 0}\n"
LEFT_OUT = b'managedchart.dev/wait: "false"'
BAD_SCHEMA = json.dumps({"$ref": "file:///etc/passwd"}).encode()
CHART = {"web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.0.0\n"}


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as open_tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            open_tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def packed(files: dict[str, bytes]) -> bytes:
    """Build a .tgz."""
    return gzip.compress(tar(files), mtime=0)


def searched(data: bytes) -> ChartSearch:
    found = ChartSearch("chart web")
    found.add_archive(data)
    return found


def with_subchart(data: bytes) -> ChartSearch:
    return searched(packed({**CHART, "web/charts/sub-1.0.tgz": data}))


def refused(data: bytes) -> str:
    with pytest.raises(ChartError) as caught:
        searched(data)
    assert (caught.value.reason, caught.value.transient) == (Reason.CHART_INVALID, False)
    assert caught.value.message.startswith("chart web: ")
    return caught.value.message.removeprefix("chart web: ")


def test_one_pass_answers_all_questions() -> None:
    found = searched(
        packed({**CHART, "web/templates/a.yaml": HOOK + b"---\n" + JOB + LEFT_OUT, "web/crds/a.yaml": b"kind: A\n"})
    )
    assert found.chart_yaml == CHART["web/Chart.yaml"]
    assert (found.late_hooks, found.ttl_jobs, found.leaves_out) == (True, True, True)
    assert (found.references.refused, found.crds) == (None, CrdFolders.OWN)


def test_a_quiet_chart_has_nothing() -> None:
    found = with_subchart(packed({"sub/templates/a.yaml": b"kind: A\n", "sub/README.md": HOOK + JOB + LEFT_OUT}))
    assert (found.late_hooks, found.ttl_jobs, found.leaves_out) == (False, False, False)
    assert (found.references.refused, found.crds) == (None, CrdFolders.NONE)


def test_packaged_subcharts_are_searched_as_deep_as_they_are_nested() -> None:
    inner = packed(
        {
            "x/templates/a.yaml": HOOK + b"---\n" + JOB + LEFT_OUT,
            "x/crds/a.yaml": b"kind: A\n",
            "x/values.schema.json": BAD_SCHEMA,
        }
    )
    for _ in range(archive.MAX_NESTED - 1):
        inner = packed({"x/charts/x.tgz": inner})
    found = with_subchart(inner)
    assert (found.late_hooks, found.ttl_jobs, found.leaves_out) == (True, True, True)
    assert found.crds is CrdFolders.SUBCHARTS
    where = "its charts/sub-1.0.tgz/charts/x.tgz/charts/x.tgz/charts/x.tgz/values.schema.json"
    assert (found.references.refused or "").startswith(f"{where} refers to")


def test_a_file_of_a_folder_may_be_a_packaged_subchart() -> None:
    found = ChartSearch("web")
    found.add("charts/sub.tgz", packed({"sub/templates/a.yaml": HOOK}))
    assert (found.late_hooks, found.chart_yaml) == (True, None)


NESTED_TOO_DEEP = packed({"a.yaml": b""})
for _ in range(archive.MAX_NESTED + 1):
    NESTED_TOO_DEEP = packed({"x/charts/a.tgz": NESTED_TOO_DEEP})
UNREADABLE = {
    "no archive": b"no archive",
    "nested too deep": NESTED_TOO_DEEP,
    "cut off": packed({"x/a.yaml": bytes(range(256)) * 100})[:-40],
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_subchart_is_in_doubt(data: bytes) -> None:
    """helm reports what is wrong. What it leaves out of the wait matters with late hooks only, which then run after it."""
    found = with_subchart(data)
    assert (found.late_hooks, found.ttl_jobs, found.leaves_out) == (True, True, False)
    assert found.crds is CrdFolders.SUBCHARTS
    assert "cannot be searched" in (found.references.refused or "")


def test_other_archives_in_a_chart_are_data() -> None:
    """helm unpacks what is directly in charts/, and nothing else."""
    loud = packed({"sub/templates/a.yaml": HOOK, "sub/crds/a.yaml": b"kind: A\n"})
    found = searched(packed({**CHART, "web/files/data.tgz": loud, "web/files/more.tgz": b"no archive"}))
    assert (found.late_hooks, found.references.refused, found.crds) == (False, None, CrdFolders.NONE)


@pytest.mark.parametrize(("chart", "late"), [("hooks", True), ("web", False), ("raw", False)])
def test_the_charts_of_the_tests(chart: str, *, late: bool) -> None:
    folder: Path = CHARTS / chart
    found = ChartSearch(chart)
    for file in folder.rglob("*"):
        if file.is_file():
            found.add(str(file.relative_to(folder)), file.read_bytes())
    assert found.late_hooks is late


def test_headers_about_headers_are_refused() -> None:
    """S17: tarfile follows them by recursion; 1,200 of them are 5 KB."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 5
    header = name.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(tarfile.BLOCKSIZE, b"\0")
    assert refused(gzip.compress(header * 1200 + tar(CHART))) == "the archive is damaged or cut off"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_what_is_compressed_twice_is_not_unpacked_twice(compress: Callable[[bytes], bytes]) -> None:
    """tarfile would do so by default, and a chart of 833 bytes would take any amount of memory."""
    assert searched(gzip.compress(tar(CHART))).chart_yaml
    assert refused(gzip.compress(compress(tar(CHART)))) == "the archive is damaged or cut off"


def sparse(size: int) -> bytes:
    """A .tgz of a few bytes that claims to contain a huge file (a GNU sparse file with one missing piece)."""
    header = tarfile.TarInfo("web/templates/a.yaml")
    header.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:398], block[398:410] = b"%011o\0" % size, b"%011o\0" % 0
    block[482:483], block[483:495] = b"\0", b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return gzip.compress(bytes(block) + tar(CHART))


def pax_sparse(size: int) -> bytes:
    """The same in the form of POSIX headers."""
    header = tarfile.TarInfo("web/templates/a.yaml")
    header.pax_headers = {"GNU.sparse.map": f"{size},0", "GNU.sparse.realsize": str(size), "GNU.sparse.size": str(size)}
    return gzip.compress(header.tobuf(tarfile.PAX_FORMAT) + tar(CHART))


@pytest.mark.parametrize("make", [sparse, pax_sparse])
def test_a_claimed_size_is_not_allocated(make: Callable[[int], bytes]) -> None:
    """S6: a few hundred bytes would take any amount of memory."""
    data = make(2**31)
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        assert opened.next().size == 2**31, "the test's own archive"  # type: ignore[union-attr]
    tracemalloc.start()
    assert refused(data) == "it has a member that is neither a plain file nor a folder"
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_file_larger_than_helm_reads_is_refused_by_its_claim() -> None:
    """S6: also where the size is a lie."""
    header = tarfile.TarInfo("web/a.yaml")
    header.size = 8**11 - 1
    message = "it has a file that is larger than 5 MiB, helm's limit"
    assert refused(gzip.compress(header.tobuf() + b"x" * 512)) == message


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"V"])
def test_members_that_are_no_files_are_refused(kind: bytes) -> None:
    header = tarfile.TarInfo("web/a.yaml")
    header.type = kind
    assert refused(gzip.compress(header.tobuf() + tar(CHART))).startswith("it has a member that is")


def test_links_and_folders_do_not_count() -> None:
    """helm takes links for empty files."""
    headers = b""
    for name, kind in (
        ("web/values.schema.json", tarfile.SYMTYPE),
        ("web/crds/a.yaml", tarfile.LNKTYPE),
        ("web", tarfile.DIRTYPE),
    ):
        header = tarfile.TarInfo(name)
        header.type, header.linkname = kind, "web/Chart.yaml"
        headers += header.tobuf()
    found = searched(gzip.compress(headers + tar(CHART)))
    assert (found.references.refused, found.crds) == (None, CrdFolders.NONE)


def test_a_chart_with_too_many_files_is_refused() -> None:
    """S7: each costs time; the largest public charts have some 1,000."""
    headers = b"".join(tarfile.TarInfo(f"web/{number}").tobuf() for number in range(archive.MAX_FILES + 1))
    assert refused(gzip.compress(headers)) == "it has more than 10000 files"


def test_nested_archives_share_one_budget() -> None:
    """S7: 10,000 leaves of 31 MiB each, in an archive of 60 KB, cost what one chart of 100 MiB costs."""
    leaf = packed({f"x/{number}": bytes(4 << 20) for number in range(7)})
    inner = packed({f"x/charts/{number}.tgz": leaf for number in range(500)})
    outer = packed({**CHART, **{f"web/charts/{number}.tgz": inner for number in range(20)}})
    started = time.process_time()
    assert refused(outer) == "it decompresses to more than 100 MiB"
    assert time.process_time() - started < 20
