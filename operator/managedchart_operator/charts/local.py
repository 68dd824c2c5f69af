"""Charts that need no network: folders and archives of the operator's pod, and archives as bytes.

These are blocking functions; `store` remembers what they find. `confinement` decides what may be read. Listing the files of a
folder, in a thread, is a cheap way to see whether it has changed. They are read in a worker process, since a chart is
untrusted; its digest and its copy contain exactly the bytes that were read. helm follows links in a chart's folder, so it only
reads the copy, which has none and does not change.

Every file of a folder is part of the chart, except the folders of version control; helm applies .helmignore.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from managedchart_operator.charts.archive import MAX_CHART_BYTES
from managedchart_operator.charts.cache import write
from managedchart_operator.charts.confinement import ChartRoots, IrregularFileError, OutsideError, read_up_to
from managedchart_operator.charts.crd_folders import CrdFolders
from managedchart_operator.charts.metadata import ChartMetadata, invalid, parse_chart_yaml
from managedchart_operator.charts.schema_references import References
from managedchart_operator.charts.search import ChartSearch
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

# The release Secret contains the chart too, in 1 MiB compressed: a larger one could never be installed.
MAX_ARCHIVE_BYTES = 20 * 1024 * 1024
# The largest public charts have some 1,000 files; links to folders could multiply them without limit.
MAX_ENTRIES = 10_000
COPY = "chart"
"""The name of a copied chart in its workspace."""
# A file that changed so recently may change again, unnoticed, within the same tick of its file system's clock.
SETTLED_SECONDS = 1.0
# Charts do not use these; they are large and change with every fetch.
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr"})


@dataclass(frozen=True, slots=True)
class ChartContent:
    """What a chart is. `digest` is the sha256 of its content in hex: of an archive's bytes, or of names and bytes of files."""

    digest: str
    metadata: ChartMetadata
    is_archive: bool
    late_hooks: bool
    """Whether it may have hooks that run after an install or an upgrade."""
    ttl_jobs: bool
    """Whether it may have Jobs that Kubernetes deletes once they have finished."""
    leaves_out: bool
    """Whether it may have objects that the wait leaves out."""
    references: References
    """What its schemas refer to outside of themselves."""
    crds: CrdFolders
    """Which parts of it have crds/ folders."""

    @property
    def cache_name(self) -> str:
        """Name of the chart's entry in the cache."""
        return f"sha256-{self.digest}" + (".tgz" if self.is_archive else "")


def identify_archive(data: bytes, origin: str) -> ChartContent:
    """Identify a packaged chart. Raises ChartError (CHART_INVALID)."""
    if len(data) > MAX_ARCHIVE_BYTES:
        raise too_large(origin)
    search = ChartSearch(origin)
    search.add_archive(data)
    if search.chart_yaml is None:
        raise invalid(f"{origin}: the archive contains no chart: Chart.yaml is missing in its top folder")
    return _content(search, search.chart_yaml, digest=hashlib.sha256(data).hexdigest(), is_archive=True)


def too_large(origin: str) -> ChartError:
    """Return the error for a packaged chart of more than MAX_ARCHIVE_BYTES."""
    return ChartError(
        f"{origin}: the packaged chart is larger than {MAX_ARCHIVE_BYTES >> 20} MiB",
        reason=Reason.CHART_TOO_LARGE,
        hint="Remove files that the templates do not need (.helmignore); helm stores a chart compressed, in at most 1 MiB.",
    )


def identify_file(file: Path, origin: str) -> ChartContent:
    """Identify a packaged chart of a workspace. Raises ChartError (CHART_INVALID)."""
    with file.open("rb", buffering=0) as opened:
        return identify_archive(read_up_to(opened, MAX_ARCHIVE_BYTES + 1), origin)


def _content(search: ChartSearch, chart_yaml: bytes, *, digest: str, is_archive: bool) -> ChartContent:
    return ChartContent(
        digest=digest,
        metadata=parse_chart_yaml(chart_yaml, origin=search.origin),
        is_archive=is_archive,
        late_hooks=search.late_hooks,
        ttl_jobs=search.ttl_jobs,
        leaves_out=search.leaves_out,
        references=search.references,
        crds=search.crds,
    )


@dataclass(frozen=True, slots=True)
class FileState:
    """A file of the chart: its name within the chart, and the state of its inode. Equal states mean an unchanged file."""

    name: str
    path: str
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    device: int

    @classmethod
    def of(cls, name: str, path: str, status: os.stat_result) -> "FileState":
        """Return the state of a file: the parts of its status that change with its content."""
        return cls(name, path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


@dataclass(frozen=True, slots=True)
class Identified:
    """The content at a path, and the files in which it was read; None where a change of them may go unnoticed."""

    content: ChartContent
    files: tuple[FileState, ...] | None

    def settled(self, read_at: float) -> "Identified":
        """Return what holds of a chart that was read after this time, in seconds since 1970."""
        newest = max((file.ctime_ns for file in self.files or ()), default=0) / 1e9
        return self if newest < read_at - SETTLED_SECONDS else Identified(self.content, None)


class LocalChart:
    """The folder or the .tgz that spec.chart.path names, in its current state.

    Raises ChartError: PATH_NOT_ALLOWED for what is outside the roots, CHART_NOT_FOUND (transient), CHART_INVALID for what helm
    cannot load, CHART_SOURCE_UNAVAILABLE (transient) for what cannot be read.
    """

    def __init__(self, path: str, roots: ChartRoots) -> None:
        self._roots = roots
        self._origin = f"spec.chart.path {path}"
        self._path = roots.resolve(path, field="spec.chart.path")
        with _file_errors(self._origin):
            self._is_folder = self._path.is_dir()
            try:
                self._files = self._list()
            except FileNotFoundError as error:
                raise ChartError(
                    f"spec.chart.path: there is no chart at {path}",
                    reason=Reason.CHART_NOT_FOUND,
                    transient=True,
                    hint="Mount the chart into the operator's pod; check the volume, its mountPath and spec.chart.path.",
                ) from error

    def is_still(self, known: Identified | None) -> bool:
        """Whether the chart is certain to be what is known of it."""
        return known is not None and known.files == self._files

    def read(self, copy_to: Path | None = None) -> Identified:
        """Identify the chart, and copy it into an empty workspace, as its entry COPY. To be called in a worker process."""
        if self._is_folder:
            if copy_to is not None:
                (copy_to / COPY).mkdir()
            copy = copy_to and copy_to / COPY
            return Identified(read_folder(self._files, self._roots, origin=self._origin, copy_to=copy), self._files)
        with _file_errors(self._origin), self._roots.open(self._path) as file:
            data = read_up_to(file, MAX_ARCHIVE_BYTES + 1)
        content = identify_archive(data, self._origin)
        if copy_to is not None:
            write(copy_to / COPY, data)
        return Identified(content, self._files)

    def _list(self) -> tuple[FileState, ...]:
        if self._is_folder:
            return list_folder(self._path, self._roots, origin=self._origin)
        return (FileState.of(self._path.name, str(self._path), self._path.stat()),)


def read_local(path: str, roots: ChartRoots, copy_to: Path | None = None) -> Identified:
    """Identify the chart at a path, and copy it into a workspace; for a worker process. Raises what LocalChart raises."""
    return LocalChart(path, roots).read(copy_to)


def list_folder(folder: Path, roots: ChartRoots, *, origin: str) -> tuple[FileState, ...]:
    """List the files of a chart, links followed, sorted by name. Raises ChartError, like `LocalChart`."""
    found: list[FileState] = []
    size = 0
    with _file_errors(origin):
        for count, entry in enumerate(_walk(str(folder), "", roots, origin, ancestors=()), start=1):
            if entry is not None:
                size += entry.size
                found.append(entry)
            if count > MAX_ENTRIES or size > MAX_CHART_BYTES:
                limit = f"{MAX_ENTRIES} files or {MAX_CHART_BYTES >> 20} MiB"
                raise invalid(f"{origin}: more than {limit}; name a folder that contains only the chart")
    return tuple(sorted(found, key=lambda entry: entry.name))


def read_folder(
    entries: Sequence[FileState], roots: ChartRoots, *, origin: str, copy_to: Path | None = None
) -> ChartContent:
    """Read the listed files.

    With `copy_to`, an existing empty folder, the files are copied there. Raises ChartError as `list_folder` does.
    """
    digest = hashlib.sha256()
    search = ChartSearch(origin)
    left = MAX_CHART_BYTES
    for entry in entries:
        with _file_errors(f"{origin}: {entry.name}"), roots.open(entry.path) as file:
            data = read_up_to(file, left + 1)
        left -= len(data)
        if left < 0:
            raise invalid(f"{origin}: more than {MAX_CHART_BYTES >> 20} MiB")
        name = os.fsencode(entry.name)
        # With the lengths: otherwise bytes could move from one file to the next unnoticed.
        digest.update(b"%d %d " % (len(name), len(data)) + name)
        digest.update(data)
        search.add(entry.name, data)
        if copy_to is not None:
            write(copy_to / entry.name, data)
    if search.chart_yaml is None:
        raise invalid(f"{origin}: the folder contains no chart: Chart.yaml is missing")
    return _content(search, search.chart_yaml, digest=digest.hexdigest(), is_archive=False)


def _walk(
    folder: str, prefix: str, roots: ChartRoots, origin: str, *, ancestors: tuple[tuple[int, int], ...]
) -> Iterator[FileState | None]:
    """Yield each file below a folder, and None for each folder, so that the caller can count both."""
    here = Path(folder).stat()
    identity = (here.st_dev, here.st_ino)
    if identity in ancestors:
        raise invalid(f"{origin}: {prefix.rstrip('/')} is a link to a folder that contains it")
    yield None
    with os.scandir(folder) as children:
        for child in children:
            if child.name in _VERSION_CONTROL:
                continue
            name, path = prefix + child.name, child.path
            status = child.stat(follow_symlinks=False)
            if child.is_symlink():
                with _file_errors(f"{origin}: the link {name}"):
                    path = str(roots.real(path))
                if not Path(path).exists():
                    raise invalid(f"{origin}: the link {name} is broken")
                status = Path(path).stat()
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(path, f"{name}/", roots, origin, ancestors=(*ancestors, identity))
            elif stat.S_ISREG(status.st_mode):
                yield FileState.of(name, path, status)
            else:
                raise invalid(f"{origin}: {name} is neither a file nor a folder")


@contextmanager
def _file_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OutsideError as error:
        # It is not said where to.
        raise ChartError(
            f"{what} leads out of the operator's chart roots",
            reason=Reason.PATH_NOT_ALLOWED,
            hint="Replace the link by its target; links must stay below the operator's chart roots.",
        ) from error
    except IrregularFileError as error:
        raise invalid(f"{what} is neither a file nor a folder") from error
    except RecursionError as error:
        raise invalid(f"{what}: its folders are nested too deep") from error
    except OSError as error:
        # Transient, since that may pass without a change of the spec.
        why = error.strerror or str(error)
        raise ChartError(
            f"{what} cannot be read: {why}", reason=Reason.CHART_SOURCE_UNAVAILABLE, transient=True
        ) from error
