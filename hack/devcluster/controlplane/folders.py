"""Decides where files are: programs in the cache folder, clusters in the state folder (XDG base directories).

No other module decides on a path. The environment is read when asked, not at import, so that tests can move both.
"""

import os
import re
from pathlib import Path

from .errors import DevclusterError

SOURCE = Path(__file__).resolve().parent.parent
"""The folder that holds go.mod, go.sum and the kwok stages."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
"""kind's rule without dots, which `kubectl config unset` treats as a path; <name>-control-plane must fit a label."""


def cache() -> Path:
    """Folder of everything that can be built again."""
    return _base("XDG_CACHE_HOME", ".cache") / "managedchart-devcluster"


def state() -> Path:
    """Folder with one sub-folder for each cluster."""
    return _base("XDG_STATE_HOME", ".local/state") / "managedchart-devcluster"


def cluster(name: str) -> Path:
    """Folder of the cluster `name`; raises DevclusterError when the name could not be a folder's or a node's name."""
    if not _NAME.fullmatch(name):
        raise DevclusterError(
            f'"{name}" is not a valid cluster name: use lower-case letters, digits and "-", at most 48 characters.'
        )
    return state() / name


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The XDG specification says that relative paths are invalid and to be ignored.
    return Path(value) if value.startswith("/") else Path.home() / default
