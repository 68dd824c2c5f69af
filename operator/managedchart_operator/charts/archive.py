"""Reads packaged charts (.tgz) within one budget, together with the charts that are packed in them.

Whoever may create a ManagedChart makes the archive. What it claims is never allocated: a member is refused by its claimed size
before it is read, what is decompressed is counted while it arrives, and members that tarfile would fill up (sparse files) are
refused. Nothing is unpacked to disk. These are blocking functions for a worker process, which bounds their memory and time as
well.

Links are empty files to helm 4.3.1 (measured, tests/unit/charts/test_archive.py), so they are left out.
Source: helm 4.3.1, pkg/chart/loader/archive (limits, names of files) and pkg/chart/v2/loader (packaged subcharts).
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from posixpath import normpath

from managedchart_operator.errors import UNREADABLE

# helm's own limits for a packaged chart and for each of its files (MaxDecompressedChartSize, MaxDecompressedFileSize). Here the
# first one counts for a chart together with everything that is packed in it.
MAX_CHART_BYTES = 100 * 1024 * 1024
MAX_FILE_BYTES = 5 * 1024 * 1024
# The largest public charts have some 1,000 files; each costs 0.1 ms.
MAX_FILES = 10_000
# How deep packaged subcharts may be nested in each other. What is nested deeper is left to helm, unread.
MAX_NESTED = 4
# helm unpacks what is directly in a charts/ folder, and nothing else.
SUBCHART = re.compile(r"(?:^|/)charts/[^/]+\.(?:tgz|tar\.gz)$")
_READ_BYTES = 64 * 1024
_PLAIN = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_EMPTY = frozenset({tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE})


class ArchiveError(Exception):
    """An archive cannot be read; the text is the rest of a sentence about its chart."""


class BudgetError(ArchiveError):
    """A chart is larger than its budget, with everything that is packed in it."""


@dataclass(slots=True)
class Budget:
    """What may still be read of one chart and of everything that is packed in it."""

    bytes: int = MAX_CHART_BYTES
    files: int = MAX_FILES

    def take(self, count: int) -> None:
        """Count bytes that were decompressed. Raises BudgetError."""
        self.bytes -= count
        if self.bytes < 0:
            raise BudgetError(f"it decompresses to more than {MAX_CHART_BYTES >> 20} MiB")

    def take_file(self) -> None:
        """Count a member of an archive. Raises BudgetError."""
        self.files -= 1
        if self.files < 0:
            raise BudgetError(f"it has more than {MAX_FILES} files")


def files_in(data: bytes, budget: Budget) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a packaged chart: the path in the chart, as helm reads it, and the content. Raises ArchiveError."""
    try:
        with (
            _Counted(BytesIO(data), budget) as unzipped,
            tarfile.open(fileobj=unzipped, mode="r|", bufsize=_READ_BYTES) as archive,
        ):
            for member in archive:
                budget.take_file()
                if member.type in _EMPTY:
                    continue
                if member.type not in _PLAIN or member.issparse():
                    raise ArchiveError("it has a member that is neither a plain file nor a folder")
                if not 0 <= member.size <= MAX_FILE_BYTES:
                    raise ArchiveError(f"it has a file that is larger than {MAX_FILE_BYTES >> 20} MiB, helm's limit")
                content = archive.extractfile(member)
                yield _path(member.name), content.read() if content else b""
    except gzip.BadGzipFile as error:
        raise ArchiveError("it is not a packaged chart (a .tgz as helm package makes it)") from error
    except (*UNREADABLE, tarfile.TarError, EOFError, zlib.error) as error:
        # RecursionError included: tarfile follows headers that describe the next header.
        raise ArchiveError("the archive is damaged or cut off") from error


def _path(name: str) -> str:
    """Return the path in the chart. helm removes the first folder, whatever its name, and accepts archives made on Windows."""
    delimiter = "\\" if "\\" in name else "/"
    rest = name.partition(delimiter)[2].replace(delimiter, "/")
    return normpath(rest) if rest else ""


class _Counted(gzip.GzipFile):
    """A gzip file, of one or more parts as Go reads it, that takes what it decompresses from a budget."""

    def __init__(self, packed: BytesIO, budget: Budget) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._budget = budget

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._budget.take(len(data))
        return data
