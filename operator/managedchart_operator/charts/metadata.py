"""Reads name and versions of a chart from its Chart.yaml, in a folder or in a packaged chart (.tgz).

These are the fields that the operator shows and compares; whether the rest is valid, helm decides. A field has the value that
helm gives it, also `version: 1.10` written as a number ("1.1"). A packaged chart is never unpacked to disk. A hostile one costs
bounded memory and time: it is read as a stream, up to helm's own limit. Links inside it do no harm: helm 4.3.1 treats them as
empty files (measured, tests/unit/charts/test_archive.py).
"""

import gzip
import tarfile
import zlib
from dataclasses import dataclass
from typing import IO

from managedchart_operator.api.resource import RETRY_ANNOTATION
from managedchart_operator.errors import UNREADABLE, ChartError
from managedchart_operator.helm.yaml_reader import YamlError, read_documents
from managedchart_operator.helm.yaml_scalars import as_string
from managedchart_operator.reasons import Reason

# helm refuses larger charts, packaged or not (pkg/chart/loader/archive, MaxDecompressedChartSize).
MAX_CHART_BYTES = 100 * 1024 * 1024
# Real ones are below 10 KiB; it is read into memory from untrusted charts.
_MAX_CHART_YAML_BYTES = 1024 * 1024
# The limit for names of Kubernetes objects; these texts are part of the status.
_MAX_FIELD = 253
# A Stalled resource is retried when its spec changes, and a correction of the chart's files does not change the spec.
_HINT = (
    "Name a folder that contains Chart.yaml, or a .tgz made by helm package. If you corrected the chart itself, change the "
    f"annotation {RETRY_ANNOTATION}."
)


@dataclass(frozen=True, slots=True)
class ChartMetadata:
    """Name and versions of a chart."""

    name: str
    version: str
    app_version: str | None


def parse_chart_yaml(data: bytes, *, origin: str) -> ChartMetadata:
    """Read Chart.yaml. `origin` names the chart in errors. Raises ChartError (CHART_INVALID)."""
    _check_size(len(data), origin)
    try:
        _, content = next(read_documents(data))
    except YamlError as error:
        raise invalid(f"{origin}: {error.at('Chart.yaml')}") from error
    if not isinstance(content, dict):
        raise invalid(f"{origin}: Chart.yaml is not a mapping")
    # helm decodes it with Go's JSON, which ignores case.
    fields = {key.lower(): as_string(value) for key, value in content.items()}
    name, version = fields.get("name"), fields.get("version")
    for field, value in (("name", name), ("version", version)):
        if not value or len(value) > _MAX_FIELD:
            problem = f"is longer than {_MAX_FIELD} characters" if value else "is missing"
            raise invalid(f"{origin}: {field} {problem} in Chart.yaml")
    app_version = fields.get("appversion")
    return ChartMetadata(name=name or "", version=version or "", app_version=app_version and app_version[:_MAX_FIELD])


def read_archive_metadata(file: IO[bytes], *, origin: str) -> ChartMetadata:
    """Find and read Chart.yaml in a packaged chart. `origin` names it in errors. Raises ChartError (CHART_INVALID)."""
    try:
        with _Bounded(fileobj=file, mode="rb") as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as archive:
            for member in archive:
                # helm strips the first folder, whatever its name, and accepts archives made on Windows.
                if member.name.replace("\\", "/").split("/")[1:] != ["Chart.yaml"] or not member.isfile():
                    continue
                _check_size(member.size, origin)
                content = archive.extractfile(member)
                return parse_chart_yaml(content.read() if content else b"", origin=origin)
    except _TooLargeError as error:
        raise invalid(f"{origin}: it decompresses to more than {MAX_CHART_BYTES >> 20} MiB") from error
    except gzip.BadGzipFile as error:
        raise invalid(f"{origin}: it is not a packaged chart (a .tgz as helm package makes it)") from error
    except (*UNREADABLE, tarfile.TarError, EOFError, zlib.error) as error:
        # RecursionError included: tarfile follows headers that describe the next header.
        raise invalid(f"{origin}: the archive is damaged or cut off") from error
    raise invalid(f"{origin}: the archive contains no chart: Chart.yaml is missing in its top folder")


def invalid(message: str) -> ChartError:
    """Return the error for something that is not a valid chart; a retry without a change would fail again."""
    return ChartError(message, reason=Reason.CHART_INVALID, hint=_HINT)


def _check_size(size: int, origin: str) -> None:
    if size > _MAX_CHART_YAML_BYTES:
        raise invalid(f"{origin}: Chart.yaml is larger than {_MAX_CHART_YAML_BYTES >> 20} MiB")


class _TooLargeError(Exception):
    """The archive decompresses to more than helm accepts."""


class _Bounded(gzip.GzipFile):
    """An unzipped file that raises an error when too much is read from it; tarfile reads 10 KiB at a time."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() > MAX_CHART_BYTES:
            raise _TooLargeError
        return data
