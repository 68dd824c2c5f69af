"""Which files of the operator's pod a ManagedChart may name, and how they are read.

Whoever may create a ManagedChart chooses paths, and the pod also has tokens, settings and files of other tenants. No byte of a
file is returned unless the opened file itself, after all symbolic links, lies below one of the chart roots. The check is made
on the opened file (/proc/self/fd), so swapping a link at the right moment gains nothing. Messages never reveal where a link
leads, nor whether anything outside the roots exists. A root may be one for each namespace, like /charts/{namespace}. What a
chart is, `local` decides.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from managedchart_operator.errors import ChartError, ValuesError
from managedchart_operator.reasons import Reason

# Values are stored in the release Secret together with the manifests, and etcd accepts at most 1.5 MiB a request.
MAX_VALUES_FILE_BYTES = 1024 * 1024

_OPEN_FLAGS = (
    os.O_RDONLY
    | os.O_CLOEXEC
    | os.O_NOCTTY
    | os.O_NOFOLLOW  # the path is resolved already: a link that appears now is an attack
    | os.O_NONBLOCK  # a named pipe without a writer must not hang the operator
)


PLACEHOLDER = "{namespace}"
"""Stands for the namespace of the ManagedChart in a chart root."""


class OutsideError(Exception):
    """The path leads outside the chart roots."""


class IrregularFileError(OSError):
    """The path leads to something that is not a regular file: a folder, a named pipe, a device."""


class ChartRoots:
    """The folders below which charts and values files may lie.

    They are resolved again at each use: a root may itself be a link that moves, as with git-sync. Those with a PLACEHOLDER are
    folders only for a namespace, see `of`.
    """

    def __init__(self, roots: Sequence[Path], *, namespace: str | None = None) -> None:
        self._configured = tuple(roots)
        self._roots = tuple(
            Path(str(root).replace(PLACEHOLDER, namespace or ""))
            for root in roots
            if namespace is not None or PLACEHOLDER not in str(root)
        )

    def of(self, namespace: str) -> "ChartRoots":
        """Return the folders for ManagedCharts in this namespace."""
        return ChartRoots(self._configured, namespace=namespace)

    def __str__(self) -> str:
        return ", ".join(str(root) for root in self._roots) or "none is configured"

    def resolve(self, path: str, *, field: str) -> Path:
        """Return the real path of a chart that the spec names; it may not exist.

        `field` is the path of the field, like `spec.chart.path`. Raises ChartError (PATH_NOT_ALLOWED).
        """
        try:
            return self.real(path)
        except OutsideError as error:
            raise self._refused(ChartError, path, field) from error

    def real(self, path: str | Path) -> Path:
        """Return the path with all symbolic links resolved. Raises OutsideError if it is relative or not below a root."""
        if not Path(path).is_absolute() or "\0" in str(path):
            raise OutsideError
        real = os.path.realpath(path)
        if not self._contain(real):
            raise OutsideError
        return Path(real)

    @contextmanager
    def open(self, path: str | Path) -> Iterator[FileIO]:
        """Open a regular file below the roots. Raises OutsideError, or the system's OSError."""
        descriptor = os.open(self.real(path), _OPEN_FLAGS)
        try:
            if not self._contain(str(Path(f"/proc/self/fd/{descriptor}").readlink())):
                raise OutsideError
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IrregularFileError("it is not a regular file")
            with FileIO(descriptor, closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)

    def read_values_file(self, path: str, *, chart: str, field: str) -> bytes:
        """Read a values file of a chart.

        Raises ValuesError: PATH_NOT_ALLOWED outside the roots; VALUES_FILE_UNAVAILABLE (transient, since a volume may bring
        the file later) when it is missing, unreadable, not a regular file or larger than 1 MiB.
        """
        try:
            with self.open(path) as file:
                data = read_up_to(file, MAX_VALUES_FILE_BYTES + 1)
        except OutsideError as error:
            raise self._refused(ValuesError, path, field) from error
        except OSError as error:
            raise _unavailable(path, chart, error.strerror or str(error)) from error
        if len(data) > MAX_VALUES_FILE_BYTES:
            raise _unavailable(path, chart, f"it is larger than {MAX_VALUES_FILE_BYTES >> 20} MiB")
        return data

    def _contain(self, real: str) -> bool:
        return any(os.path.commonpath((real, root)) == root for root in map(os.path.realpath, self._roots))

    def _refused(self, error: type[ChartError | ValuesError], path: str, field: str) -> ChartError | ValuesError:
        problem = f"is not below one of the operator's chart roots ({self})"
        if not Path(path).is_absolute():
            problem = f"is not an absolute path; charts and values files are read from below {self}"
        hint = (
            f"Put the file below one of the operator's chart roots ({self}); symbolic links must not lead out of them."
        )
        return error(f"{field}: {path!r} {problem}", reason=Reason.PATH_NOT_ALLOWED, hint=hint)


def _unavailable(path: str, chart: str, why: str) -> ValuesError:
    message = f"""Can't access helm chart override file "{path}" for chart "{chart}": {why}"""
    hint = "Mount the file into the operator's pod; check the volume, its mountPath and spec.valuesFiles."
    return ValuesError(message, reason=Reason.VALUES_FILE_UNAVAILABLE, transient=True, hint=hint)


def read_up_to(file: FileIO, limit: int) -> bytes:
    """Read at most `limit` bytes of a file, even if it grows meanwhile."""
    parts: list[bytes] = []
    # A read allocates the size that it asks for, and most files of a chart are small.
    while limit > 0 and (part := file.read(min(limit, 64 * 1024))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)
