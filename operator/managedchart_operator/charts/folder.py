"""Lists, identifies and copies a chart that is an unpacked folder.

Listing is a cheap way to see whether the folder has changed. `confinement` decides what may be read; the digest and the copy
contain exactly the bytes that were read through it. helm follows links in a chart's folder, so it only reads the copy, which
has none and does not change.

Every file of the folder is part of the chart, except the folders of version control; helm applies .helmignore.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from managedchart_operator.charts.confinement import ChartRoots, IrregularFileError, OutsideError, read_up_to
from managedchart_operator.charts.late_hooks import file_has, text_has_late_hooks, text_has_ttl_jobs
from managedchart_operator.charts.metadata import MAX_CHART_YAML_BYTES, ChartMetadata, invalid, parse_chart_yaml
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

# helm refuses larger charts (pkg/chart/loader/archive, MaxDecompressedChartSize).
MAX_BYTES = 100 * 1024 * 1024
# The largest public charts have some 1,000 files; links to folders could multiply them without limit.
MAX_ENTRIES = 10_000
# Charts do not use these; they are large and change with every fetch.
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr"})


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file of the chart: its name within the chart, and the state of its inode. Equal entries mean an unchanged file."""

    name: str
    path: str
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    device: int

    @classmethod
    def of(cls, name: str, path: str, status: os.stat_result) -> "FolderEntry":
        """Return the entry of a file with the parts of its status that change with its content."""
        return cls(
            name=name,
            path=path,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            size=status.st_size,
            inode=status.st_ino,
            device=status.st_dev,
        )


def list_folder(folder: Path, roots: ChartRoots, *, origin: str) -> tuple[FolderEntry, ...]:
    """List the files of a chart, links followed, sorted by name.

    Raises ChartError: PATH_NOT_ALLOWED for a link that leads out of the roots, CHART_INVALID for what helm cannot load,
    CHART_SOURCE_UNAVAILABLE (transient) for what cannot be read.
    """
    found: list[FolderEntry] = []
    size = 0
    with _file_errors(origin):
        for count, entry in enumerate(_walk(str(folder), "", roots, origin, ancestors=()), start=1):
            if entry is not None:
                size += entry.size
                found.append(entry)
            if count > MAX_ENTRIES or size > MAX_BYTES:
                limit = f"{MAX_ENTRIES} files or {MAX_BYTES >> 20} MiB"
                raise invalid(f"{origin}: more than {limit}; name a folder that contains only the chart")
    return tuple(sorted(found, key=lambda entry: entry.name))


class FolderContent(NamedTuple):
    """The digest of the names and contents of a chart's folder (sha256, hex), and what they show."""

    digest: str
    metadata: ChartMetadata
    late_hooks: bool
    ttl_jobs: bool


def read_folder(
    entries: Sequence[FolderEntry], roots: ChartRoots, *, origin: str, copy_to: Path | None = None
) -> FolderContent:
    """Read the listed files.

    With `copy_to`, an existing empty folder, the files are copied there. Raises ChartError as `list_folder` does.
    """
    digest = hashlib.sha256()
    chart_yaml: bytes | None = None
    late_hooks = ttl_jobs = False
    left = MAX_BYTES
    for entry in entries:
        with _file_errors(f"{origin}: {entry.name}"), roots.open(entry.path) as file:
            data = read_up_to(file, left + 1)
        left -= len(data)
        if left < 0:
            raise invalid(f"{origin}: more than {MAX_BYTES >> 20} MiB")
        name = os.fsencode(entry.name)
        # With the lengths: otherwise bytes could move from one file to the next unnoticed.
        digest.update(b"%d %d " % (len(name), len(data)) + name)
        digest.update(data)
        late_hooks = late_hooks or file_has(entry.name, data, text_has_late_hooks)
        ttl_jobs = ttl_jobs or file_has(entry.name, data, text_has_ttl_jobs)
        if entry.name == "Chart.yaml":
            chart_yaml = data
        if copy_to is not None:
            target = copy_to / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    if chart_yaml is None:
        raise invalid(f"{origin}: the folder contains no chart: Chart.yaml is missing")
    if len(chart_yaml) > MAX_CHART_YAML_BYTES:
        raise invalid(f"{origin}: Chart.yaml is larger than {MAX_CHART_YAML_BYTES >> 20} MiB")
    return FolderContent(digest.hexdigest(), parse_chart_yaml(chart_yaml, origin=origin), late_hooks, ttl_jobs)


def _walk(
    folder: str, prefix: str, roots: ChartRoots, origin: str, *, ancestors: tuple[tuple[int, int], ...]
) -> Iterator[FolderEntry | None]:
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
                path = _target(child, name, roots, origin)
                status = Path(path).stat()
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(path, f"{name}/", roots, origin, ancestors=(*ancestors, identity))
            elif stat.S_ISREG(status.st_mode):
                yield FolderEntry.of(name, path, status)
            else:
                raise invalid(f"{origin}: {name} is neither a file nor a folder")


def _target(link: os.DirEntry[str], name: str, roots: ChartRoots, origin: str) -> str:
    try:
        target = str(roots.real(link.path))
    except OutsideError as error:
        raise outside(f"{origin}: the link {name} leads out of the operator's chart roots") from error
    if not Path(target).exists():
        raise invalid(f"{origin}: the link {name} is broken")
    return target


@contextmanager
def _file_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OutsideError as error:
        raise outside(f"{what} leads out of the operator's chart roots") from error
    except IrregularFileError as error:
        raise invalid(f"{what} is neither a file nor a folder") from error
    except RecursionError as error:
        raise invalid(f"{what}: its folders are nested too deep") from error
    except OSError as error:
        raise unreadable(what, error) from error


def outside(message: str) -> ChartError:
    """Return the error for a link that leads out of the chart roots; it does not say where to."""
    return ChartError(
        message,
        reason=Reason.PATH_NOT_ALLOWED,
        hint="Replace the link by its target; links must stay below the operator's chart roots.",
    )


def unreadable(what: str, error: OSError) -> ChartError:
    """Return the error for what the system cannot read; transient, since that may pass without a change of the spec."""
    why = error.strerror or str(error)
    return ChartError(f"{what} cannot be read: {why}", reason=Reason.CHART_SOURCE_UNAVAILABLE, transient=True)
