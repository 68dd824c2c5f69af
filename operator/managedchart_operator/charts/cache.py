"""The charts that helm reads: a folder of files named by their content.

This is blocking file work, called from threads; `store` decides what is added. An entry appears by one rename, complete, and
never changes. An entry stays while somebody holds a `Lease` of it; of the others the most recently used are kept within bounds.
The folder belongs to one operator process: the first use removes what an earlier process left, so nothing that a crash left
half-written is ever used.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from managedchart_operator.errors import ChartError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.reasons import Reason

# A chart is 10 to 500 kB packed and some hundred kB as a folder; a platform runs a few dozen in two or three versions.
MAX_CHARTS = 256
# Together with helm's own files and what is being pulled it fits into the 1 GiB of a small emptyDir.
MAX_BYTES = 512 * 1024 * 1024
_BLOCK_BYTES = 4096


class Lease:
    """An entry that is in use: it stays in the cache until nothing refers to this object any more."""

    __slots__ = ("__weakref__", "path")

    def __init__(self, path: Path) -> None:
        self.path = path


class ChartCache:
    """Charts on disk by the sha256 of their content, as `sha256-<hex>` (folders) and `sha256-<hex>.tgz`."""

    def __init__(self, directory: Path, *, share: float = 1.0) -> None:
        """`share` is which part of MAX_BYTES the charts in use by one namespace may have."""
        self._directory = directory / "charts"
        self._share = share
        self._lock = threading.RLock()
        self._ready = False
        self._leases: WeakValueDictionary[str, Lease] = WeakValueDictionary()
        self._sizes: dict[str, int] = {}
        self._payers: dict[str, str] = {}
        """By entry, the namespace that was the first to use it, of those that use it now."""

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

    def find(self, name: str) -> Lease | None:
        """Return the entry of this name and mark it as used now; None if there is none.

        Raises ChartError, also where the charts in use by the PAYER have its share.
        """
        path = self._directory / name
        with _disk_errors(), self._lock:
            self._prepare()
            with suppress(FileNotFoundError):
                os.utime(path)
                self._check_share(name)
                return self._lease(path)
        return None

    def add(self, source: Path, name: str) -> Lease:
        """Move a finished file or folder from a workspace into the cache, which may have the same content already.

        Raises ChartError, also where the charts in use leave no room for it.
        """
        target = self._directory / name
        size = _size(source)
        with _disk_errors(), self._lock:
            try:
                source.rename(target)
            except OSError:
                # A folder cannot be renamed onto another: a faster thread has added the same content.
                if not target.exists():
                    raise
            os.utime(target)
            self._sizes[name] = size
            try:
                self._check_share(name)
            except ChartError:
                _remove(target)
                raise
            lease = self._lease(target)
            if not self._evict():
                del lease
                _remove(target)
                raise _full(f"the charts in use have {MAX_BYTES >> 20} MiB")
        return lease

    def _lease(self, path: Path) -> Lease:
        lease = self._leases.get(path.name)
        if lease is None:
            lease = self._leases[path.name] = Lease(path)
            self._payers[path.name] = PAYER.get()
        return lease

    def _check_share(self, name: str) -> None:
        """Raise ChartError if the PAYER has its share of the cache in use, with an entry that it is about to use.

        Else the charts of one namespace, which wait for slots or for objects that never become ready, would fill the cache. An
        entry that several use counts for the first of them.
        """
        if name in self._leases:
            return
        payer, most = PAYER.get(), int(MAX_BYTES * self._share)
        used = [other for other in list(self._leases) if self._payers.get(other) == payer]
        if used and sum(self._sizes.get(each, 0) for each in [*used, name]) > most:
            raise _full(f"those in use by namespace {payer} have {most >> 20} MiB, its share")

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

    def _evict(self) -> bool:
        """Remove what is neither in use nor within the bounds; False if what is in use has too many bytes itself."""
        entries = sorted(((path.stat().st_mtime, path) for path in self._directory.glob("sha256-*")), reverse=True)
        # What is in use counts first. A reference holds it meanwhile.
        in_use = {name: lease for name, lease in self._leases.items() if lease is not None}
        entries.sort(key=lambda entry: entry[1].name not in in_use)
        total = in_use_bytes = 0
        for count, (_, path) in enumerate(entries, start=1):
            total += self._sizes.get(path.name) or _size(path)
            if path.name in in_use:
                in_use_bytes = total
            elif count > MAX_CHARTS or total > MAX_BYTES:
                _remove(path)
                self._sizes.pop(path.name, None)
                self._payers.pop(path.name, None)
        return in_use_bytes <= MAX_BYTES


def _full(why: str) -> ChartError:
    return ChartError(
        f"The operator's chart cache is full: {why}", reason=Reason.CHART_SOURCE_UNAVAILABLE, transient=True
    )


def _size(path: Path) -> int:
    """Return the bytes that an entry takes on disk, where also an empty folder and a file of one byte take a block."""
    return sum(_BLOCK_BYTES + file.stat().st_size // _BLOCK_BYTES * _BLOCK_BYTES for file in (path, *path.rglob("*")))


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
