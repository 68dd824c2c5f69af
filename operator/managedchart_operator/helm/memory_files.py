"""Files in memory that one helm process reads, so that no value stands among its arguments or on a disk.

An argument that names such a file is a `FileArgument`; `memory_files` makes the files for one start of helm. The descriptors
are closed on exec, so no other process inherits them: only the process that is started with `pass_fds` does. helm opens
/proc/self/fd/N, which is a description of its own, so it may read a file as often as it likes. The files are sealed: what helm
starts inherits them too and cannot change what helm reads.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from managedchart_operator.shortening import one_line

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_PATH = re.compile(r"/proc/self/fd/(\d+)")
# Lower numbers are those of the standard streams, and of what a shell script in helm's place may open itself.
_LOWEST = 10
# Of a field with a file's name in it; both together are shorter as a rule.
_ORIGIN_LENGTH = 400


@dataclass(frozen=True, slots=True)
class FileArgument:
    """An option whose value is the path of a file with this content.

    `origin` is what a person calls the content, like spec.values; it takes the path's place in helm's texts.
    """

    option: str
    content: bytes = field(repr=False)
    origin: str


Argument = str | FileArgument


@dataclass(frozen=True, slots=True)
class MemoryFiles:
    """Arguments with the paths of their files, and what each file descriptor is called."""

    arguments: Sequence[str]
    origins: Mapping[int, str]

    def name_in(self, text: str) -> str:
        """Return a text of helm in which each file's origin stands for its path."""
        return _PATH.sub(lambda found: self.origins.get(int(found[1]), found[0]), text)


@contextmanager
def memory_files(arguments: Sequence[Argument]) -> Iterator[MemoryFiles]:
    """Make the files that the arguments need; they are closed at the end. Raises OSError."""
    with ExitStack() as stack:
        spelled, origins = [], {}
        for argument in arguments:
            if isinstance(argument, str):
                spelled.append(argument)
                continue
            descriptor = _memory_file(argument.content)
            stack.callback(os.close, descriptor)
            origins[descriptor] = one_line(argument.origin, _ORIGIN_LENGTH)
            spelled.append(f"{argument.option}=/proc/self/fd/{descriptor}")
        yield MemoryFiles(spelled, origins)


def _memory_file(content: bytes) -> int:
    """Return the descriptor of a new sealed file. Raises OSError."""
    with os.fdopen(os.memfd_create("helm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
        file.write(content)
        file.flush()
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, _SEALS)
        return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, _LOWEST)
