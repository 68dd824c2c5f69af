"""The errors that a user can act on; everything else is a bug and keeps its traceback.

DevclusterError
├── BuildError        a program could not be built or found
├── ComponentError    a component died or never became healthy; carries the end of its log
│   └── PortTakenError    … because another process took its port: retried with other ports
└── ClusterStateError the cluster exists already, or does not exist
"""

import errno
import shlex
import signal
from pathlib import Path


class DevclusterError(Exception):
    """A failure that is shown to the user as one sentence, without a traceback."""


class BuildError(DevclusterError):
    """A program could not be built or found."""


class ComponentError(DevclusterError):
    """A component died or never became healthy; the message ends with the end of its log."""


class PortTakenError(ComponentError):
    """A component found its port taken: another process took it after it was chosen."""


class ClusterStateError(DevclusterError):
    """The cluster exists already where it must not, or does not where it must."""


def in_words(error: OSError) -> str:
    """Return an error of the operating system as a sentence with its path, for output without a traceback."""
    if error.errno == errno.ENOEXEC:
        return damaged(Path(str(error.filename)), "it is not a program for this machine")
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


def exit_in_words(program: Path, code: int) -> str:
    """Return how a program ended without printing a reason; if a signal ended it, its file is likely damaged."""
    if code >= 0:
        return f"exit code {code}, without any output"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return damaged(program, f"{name} ended it")


def damaged(program: Path, why: str) -> str:
    """Say that a program's file is damaged, most likely truncated, and how to fix it."""
    return (
        f"{program} cannot be run: {why}. Its file seems to be damaged. Remove it; the next call builds it again:\n"
        f"  rm {shlex.quote(str(program))}"
    )
