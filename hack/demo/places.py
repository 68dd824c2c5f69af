"""Where the demo keeps its files, and the lock that lets one demo at a time use them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "examples" / "charts"


def state() -> Path:
    """The folder of everything that the demo makes (XDG base directories)."""
    value = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification says that relative paths are invalid and to be ignored.
    return (Path(value) if value.startswith("/") else Path.home() / ".local" / "state") / "managedchart-demo"


@contextmanager
def alone() -> Iterator[Path]:
    """Hold the folder for this process; another `make demo` waits. `stop` may remove the folder while it is held."""
    folder = state()
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_current(lock.fileno(), folder / "lock"):
                yield folder
                return


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at its path: a `stop` that held the lock before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
