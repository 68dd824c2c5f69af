"""Charts that need no network: files of the operator's pod, and archives as bytes.

These are blocking functions for threads, without state; `store` remembers what they find. The digest of an `Identified` is that
of the same bytes from which its metadata was read.
"""

import hashlib
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from managedchart_operator.charts.archive import read_archive_metadata
from managedchart_operator.charts.cache import ChartCache
from managedchart_operator.charts.confinement import ChartRoots, IrregularFileError, OutsideError, read_up_to
from managedchart_operator.charts.folder import FolderEntry, list_folder, outside, read_folder, unreadable
from managedchart_operator.charts.late_hooks import archive_has, text_has_late_hooks, text_has_ttl_jobs
from managedchart_operator.charts.metadata import ChartMetadata, invalid
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

# The release Secret contains the chart too, in 1 MiB compressed: a larger one could never be installed.
MAX_ARCHIVE_BYTES = 20 * 1024 * 1024
# A file that changed so recently may change again, unnoticed, within the same tick of its file system's clock.
SETTLED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Identified:
    """What a chart is, and the state of its files when that was read."""

    digest: str
    metadata: ChartMetadata
    archive: bool
    late_hooks: bool
    """Whether it may have hooks that run after an install or an upgrade."""
    ttl_jobs: bool
    """Whether it may have Jobs that Kubernetes deletes once they have finished."""
    entries: tuple[FolderEntry, ...] = ()
    settled: bool = False
    """Whether equal entries prove that nothing has changed."""

    @property
    def cache_name(self) -> str:
        """Name of the chart's entry in the cache."""
        return f"sha256-{self.digest}" + (".tgz" if self.archive else "")


def identify_archive(data: bytes, *, origin: str) -> Identified:
    """Identify a packaged chart. Raises ChartError (CHART_INVALID)."""
    if len(data) > MAX_ARCHIVE_BYTES:
        raise invalid(f"{origin}: it is larger than {MAX_ARCHIVE_BYTES >> 20} MiB")
    metadata = read_archive_metadata(BytesIO(data), origin=origin)
    return Identified(
        digest=hashlib.sha256(data).hexdigest(),
        metadata=metadata,
        archive=True,
        late_hooks=archive_has(data, text_has_late_hooks),
        ttl_jobs=archive_has(data, text_has_ttl_jobs),
    )


def cache_archive(data: bytes, identified: Identified, cache: ChartCache) -> Path:
    """Return a packaged chart's path in the cache, and add it if it is not there."""
    if present := cache.find(identified.cache_name):
        return present
    with cache.workspace() as workspace:
        file = workspace / "chart.tgz"
        file.write_bytes(data)
        return cache.add(file, identified.cache_name)


def identify_path(path: str, roots: ChartRoots, *, field: str, known: Identified | None) -> Identified:
    """Identify the chart at a path; only lists its files if `known` is still valid. Raises ChartError."""
    return _LocalChart(path, roots, field).identify(known)


def obtain_path(
    path: str, roots: ChartRoots, cache: ChartCache, *, field: str, known: Identified | None
) -> tuple[Identified, Path]:
    """Identify the chart at a path and copy it into the cache. Raises ChartError."""
    chart = _LocalChart(path, roots, field)
    identified = chart.identify(known)
    if present := cache.find(identified.cache_name):
        return identified, present
    # Read again: the files may have changed since, and what is copied counts.
    return chart.copy(cache)


class _LocalChart:
    """A folder or a .tgz below the roots, in its current state."""

    def __init__(self, path: str, roots: ChartRoots, field: str) -> None:
        self._roots = roots
        self._origin = f"{field} {path}"
        self._path = roots.resolve(path, field=field)
        try:
            self._is_folder = self._path.is_dir()
            self._entries = self._list()
        except FileNotFoundError as error:
            raise ChartError(
                f"{field}: there is no chart at {path}",
                reason=Reason.CHART_NOT_FOUND,
                transient=True,
                hint="Mount the chart into the operator's pod; check the volume, its mountPath and spec.chart.path.",
            ) from error
        except OSError as error:
            raise unreadable(self._origin, error) from error

    def identify(self, known: Identified | None) -> Identified:
        if known is not None and known.settled and known.entries == self._entries:
            return known
        if self._is_folder:
            return self._identified(*read_folder(self._entries, self._roots, origin=self._origin))
        return self._archive()[1]

    def copy(self, cache: ChartCache) -> tuple[Identified, Path]:
        if not self._is_folder:
            data, identified = self._archive()
            return identified, cache_archive(data, identified, cache)
        with cache.workspace() as workspace:
            folder = workspace / "chart"
            folder.mkdir()
            identified = self._identified(*read_folder(self._entries, self._roots, origin=self._origin, copy_to=folder))
            return identified, cache.add(folder, identified.cache_name)

    def _list(self) -> tuple[FolderEntry, ...]:
        if self._is_folder:
            return list_folder(self._path, self._roots, origin=self._origin)
        return (FolderEntry.of(self._path.name, str(self._path), self._path.stat()),)

    def _archive(self) -> tuple[bytes, Identified]:
        try:
            with self._roots.open(self._path) as file:
                data = read_up_to(file, MAX_ARCHIVE_BYTES + 1)
        except OutsideError as error:
            raise outside(f"{self._origin} leads out of the operator's chart roots") from error
        except IrregularFileError as error:
            raise invalid(f"{self._origin} is neither a file nor a folder") from error
        except OSError as error:
            raise unreadable(self._origin, error) from error
        found = identify_archive(data, origin=self._origin)
        return data, self._identified(
            found.digest, found.metadata, late_hooks=found.late_hooks, ttl_jobs=found.ttl_jobs
        )

    def _identified(self, digest: str, metadata: ChartMetadata, late_hooks: bool, ttl_jobs: bool) -> Identified:
        newest = max(entry.ctime_ns for entry in self._entries) / 1e9
        return Identified(
            digest=digest,
            metadata=metadata,
            archive=not self._is_folder,
            late_hooks=late_hooks,
            ttl_jobs=ttl_jobs,
            entries=self._entries,
            settled=newest < time.time() - SETTLED_SECONDS,
        )
