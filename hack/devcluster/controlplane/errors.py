"""What can go wrong in a way its reader can act on; everything else is a bug and keeps its traceback.

DevclusterError
├── BuildError        a program could not be built or found
├── ComponentError    a component died or never became healthy; carries the end of its log
│   └── PortTakenError    … because somebody else took its port first: worth another try with other ports
└── ClusterStateError the cluster exists already, or does not exist
"""

import errno
import shlex
import signal
from pathlib import Path


class DevclusterError(Exception):
    """A failure that is told to the user as one sentence, without a traceback."""


class BuildError(DevclusterError):
    """A program could not be built or found."""


class ComponentError(DevclusterError):
    """A component died or never became healthy; the message ends with the end of its log."""


class PortTakenError(ComponentError):
    """A component found its port taken: between choosing a free port and using it somebody else was faster."""


class ClusterStateError(DevclusterError):
    """The cluster exists already where it must not, or does not where it must."""


def in_words(error: OSError) -> str:
    """An error of the operating system as a sentence with its path, for whoever shows no traceback."""
    if error.errno == errno.ENOEXEC:
        return damaged(Path(str(error.filename)), "it is not a program of this machine")
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)


def exit_in_words(program: Path, code: int) -> str:
    """How a program ended that printed no reason; a signal on its own account means that its file is damaged."""
    if code >= 0:
        return f"exit code {code}, without a word"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return damaged(program, f"it ended by {name}")


def damaged(program: Path, why: str) -> str:
    """Say that a program's file is broken, most likely cut off, and what mends it."""
    return (
        f"{program} cannot be run: {why}. Its file seems to be damaged. Remove it, and the next call builds it again:\n"
        f"  rm {shlex.quote(str(program))}"
    )
