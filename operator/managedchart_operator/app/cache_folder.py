"""Locks the cache folder, so that one operator at a time uses it.

The kernel releases the lock when the process ends, so a killed operator leaves nothing to clean up. The contents of the
folder belong to `charts` (fetched charts) and to helm (its home).
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from managedchart_operator.errors import StartupError


def helm_home(folder: Path) -> Path:
    """Return the folder that helm uses as its home."""
    return folder / "helm"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Lock the cache folder for this process; yields the identity that marks the helm processes of this operator.

    Raises StartupError when the folder cannot be written or another operator holds it.
    """
    try:
        helm_home(folder).mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StartupError(
            f"The cache folder {folder} cannot be written: {error.strerror or error}",
            hint="Set MANAGEDCHART_CACHE_DIR to a folder that this user can write.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartupError(
                f"Another operator uses the cache folder {folder}",
                hint="Stop it, or set MANAGEDCHART_CACHE_DIR to another folder.",
            ) from error
        yield str(folder.resolve())
