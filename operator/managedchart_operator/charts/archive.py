"""Reads the metadata of a packaged chart (.tgz) without unpacking it.

Only Chart.yaml is read; nothing is ever extracted. A hostile archive costs bounded memory and time: it is read as a stream, up
to helm's own limit. Links inside an archive do no harm: helm 4.3.1 treats them as empty files (measured,
tests/unit/charts/test_archive.py).
"""

import gzip
import tarfile
import zlib
from typing import IO, Protocol

from managedchart_operator.charts.metadata import MAX_CHART_YAML_BYTES, ChartMetadata, invalid, parse_chart_yaml
from managedchart_operator.errors import UNREADABLE

# helm refuses larger ones ("decompressed chart is larger than the maximum size", pkg/chart/loader/archive).
MAX_DECOMPRESSED_BYTES = 100 * 1024 * 1024


class _TooLargeError(Exception):
    """The archive decompresses to more than helm accepts."""


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Bounded:
    """A file that raises an error when too much is read from it."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._left = MAX_DECOMPRESSED_BYTES

    def read(self, size: int = -1) -> bytes:
        """Read like a file; tarfile asks for 10 KiB at a time."""
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _TooLargeError
        return data


def read_archive_metadata(file: IO[bytes], *, origin: str) -> ChartMetadata:
    """Find and read Chart.yaml in a packaged chart. `origin` names it in errors. Raises ChartError (CHART_INVALID)."""
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unzipped, _tar(_Bounded(unzipped)) as archive:
            for member in archive:
                # helm strips the first folder, whatever its name, and accepts archives made on Windows.
                if member.name.replace("\\", "/").split("/")[1:] != ["Chart.yaml"] or not member.isfile():
                    continue
                if member.size > MAX_CHART_YAML_BYTES:
                    raise invalid(f"{origin}: Chart.yaml is larger than {MAX_CHART_YAML_BYTES >> 20} MiB")
                content = archive.extractfile(member)
                return parse_chart_yaml(content.read() if content else b"", origin=origin)
    except _TooLargeError as error:
        raise invalid(f"{origin}: it decompresses to more than {MAX_DECOMPRESSED_BYTES >> 20} MiB") from error
    except gzip.BadGzipFile as error:
        raise invalid(f"{origin}: it is not a packaged chart (a .tgz as helm package makes it)") from error
    except (*UNREADABLE, tarfile.TarError, EOFError, zlib.error) as error:
        # RecursionError included: tarfile follows headers that describe the next header.
        raise invalid(f"{origin}: the archive is damaged or cut off") from error
    raise invalid(f"{origin}: the archive contains no chart: Chart.yaml is missing in its top folder")


def _tar(file: _Bounded) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|")  # type: ignore[call-overload, no-any-return]
