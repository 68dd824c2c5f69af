"""The charts that helm reads: a folder of files named by their content.

This is blocking file work, called from threads; `store` decides what is added. An entry appears by one rename, complete, and
never changes. The most recently used entries are kept within bounds, and one that was returned a moment ago stays. The folder
belongs to one operator process: the first use removes what an earlier process left, so nothing that a crash left half-written
is ever used.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

# A chart is 10 to 500 kB packed and some hundred kB as a folder; a platform runs a few dozen in two or three versions.
MAX_CHARTS = 256
# Together with helm's own files it fits into the 1 GiB of a small emptyDir.
MAX_BYTES = 512 * 1024 * 1024
# helm opens a chart within a second of its start, but may wait for a slot before; a chart that was evicted is fetched again.
IN_USE_SECONDS = 600.0


class ChartCache:
    """Charts on disk by the sha256 of their content, as `sha256-<hex>` (folders) and `sha256-<hex>.tgz`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "charts"
        self._lock = threading.Lock()
        self._ready = False

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Return a folder to work in, which is deleted afterwards. Raises ChartError if it cannot be written."""
        with _disk_errors():
            self._prepare()
            folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=self._directory))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def find(self, name: str) -> Path | None:
        """Return the entry of this name and mark it as used now; None if there is none."""
        path = self._directory / name
        with _disk_errors():
            self._prepare()
            with suppress(FileNotFoundError):
                os.utime(path)
                return path
        return None

    def add(self, source: Path, name: str) -> Path:
        """Move a finished file or folder from a workspace into the cache, which may have the same content already."""
        target = self._directory / name
        with _disk_errors():
            try:
                source.rename(target)
            except OSError:
                # A folder cannot be renamed onto another: a faster thread has added the same content.
                if not target.exists():
                    raise
            os.utime(target)
            self._evict()
        return target

    def _prepare(self) -> None:
        with self._lock:
            if self._ready:
                return
            self._directory.mkdir(parents=True, exist_ok=True)
            for left in self._directory.iterdir():
                # Only the cache's own names: the setting may point at a folder that has other files.
                if left.name.startswith(("sha256-", "tmp-")):
                    _remove(left)
            self._ready = True

    def _evict(self) -> None:
        with self._lock:
            entries = [(path.stat().st_mtime, _size(path), path) for path in self._directory.glob("sha256-*")]
            oldest_in_use = time.time() - IN_USE_SECONDS
            total = 0
            for count, (used, size, path) in enumerate(sorted(entries, reverse=True), start=1):
                total += size
                if (count > MAX_CHARTS or total > MAX_BYTES) and used < oldest_in_use:
                    _remove(path)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Renamed first, so that nobody finds a half-deleted folder.
    doomed = path if path.name.startswith("tmp-") else path.rename(path.with_name(f"tmp-{path.name}"))
    shutil.rmtree(doomed, ignore_errors=True)


def write(file: Path, data: bytes) -> None:
    """Write a file of a workspace, and the folders that it needs. Raises ChartError, such as for a full disk."""
    with _disk_errors():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ChartError(
            f"Cannot write the operator's chart cache: {why}",
            reason=Reason.CHART_SOURCE_UNAVAILABLE,
            transient=True,
        ) from error
