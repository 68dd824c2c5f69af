"""The charts that helm gets to see: a folder of files named by their content.

Boundary: blocking file work, called from threads; what goes in is decided by `charts`. Invariants: an entry appears by
one rename and is complete from then on; entries never change; the newest are kept within bounds, and one that was
handed out a moment ago stays. The folder belongs to one operator process: what an earlier one left is removed at the
first use, so that nothing half-written by a crash can ever be met.
"""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

# A chart is 10 to 500 kB packed and some hundred kB as a folder; a platform runs a few dozen in two or three versions.
MAX_CHARTS = 256
# Fits beside helm's own files into the 1 GiB that a small emptyDir usually has.
MAX_BYTES = 512 * 1024 * 1024
# helm opens a chart within a second of its start, but may have to wait for a slot before; then it is fetched again.
IN_USE_SECONDS = 600.0


class ChartCache:
    """Charts on disk by the sha256 of their content, as `sha256-<hex>` (folders) and `sha256-<hex>.tgz`."""

    def __init__(self, directory: Path, *, max_charts: int = MAX_CHARTS, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory / "charts"
        self._max_charts = max_charts
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._ready = False

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a folder to work in, which is gone afterwards. Raises ChartError when the disk does not take it."""
        with _disk():
            self._prepare()
            folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=self._directory))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def find(self, name: str) -> Path | None:
        """Return the entry of this name, marked as used now."""
        path = self._directory / name
        with _disk():
            self._prepare()
            try:
                os.utime(path)
            except FileNotFoundError:
                return None
        return path

    def add(self, source: Path, name: str) -> Path:
        """Move a finished file or folder from a workspace in; the same content may be there already."""
        target = self._directory / name
        with _disk():
            try:
                source.rename(target)
            except OSError:
                # A folder cannot be renamed onto one: another thread was quicker with the same content.
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
                # Only names of our own: the setting may point at a folder with other things in it.
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
                if (count > self._max_charts or total > self._max_bytes) and used < oldest_in_use:
                    _remove(path)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Renamed first, so that no one finds a folder that is half gone.
    doomed = path if path.name.startswith("tmp-") else path.rename(path.with_name(f"tmp-{path.name}"))
    shutil.rmtree(doomed, ignore_errors=True)


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise ChartError(
            f"the operator's chart cache cannot be written: {why}",
            reason=Reason.CHART_SOURCE_UNAVAILABLE,
            transient=True,
        ) from error
