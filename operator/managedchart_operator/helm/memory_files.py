"""Files in memory that one helm process reads, so that values appear neither in its arguments nor on a disk.

An argument that names such a file is a `FileArgument`; `memory_files` makes the files for one start of helm. The descriptors
are closed on exec, so only the process that is started with `pass_fds` inherits them. helm opens /proc/self/fd/N, which is an
open file description of its own, so it can read a file repeatedly. The files are sealed, because helm's child processes inherit
them and must not change what helm reads.
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
# Lower numbers belong to the standard streams and to files that a shell script in place of helm opens itself.
_LOWEST = 10
# A field with the name of a file in it; both together are usually shorter.
_ORIGIN_LENGTH = 400


@dataclass(frozen=True, slots=True)
class FileArgument:
    """An option whose value is the path of a file with this content.

    `origin` is a name for people, like spec.values; it replaces the path in helm's texts.
    """

    option: str
    content: bytes = field(repr=False)
    origin: str


Argument = str | FileArgument


@dataclass(frozen=True, slots=True)
class MemoryFiles:
    """Arguments with the paths of their files, and the origin of each file descriptor."""

    arguments: Sequence[str]
    origins: Mapping[int, str]

    def with_origins(self, text: str) -> str:
        """Return a text of helm with each file's path replaced by its origin."""
        return _PATH.sub(lambda found: self.origins.get(int(found[1]), found[0]), text)


@contextmanager
def memory_files(arguments: Sequence[Argument]) -> Iterator[MemoryFiles]:
    """Make the files that the arguments need; they are closed at the end. Raises OSError."""
    with ExitStack() as stack:
        written, origins = [], {}
        for argument in arguments:
            if isinstance(argument, str):
                written.append(argument)
                continue
            descriptor = _memory_file(argument.content)
            stack.callback(os.close, descriptor)
            origins[descriptor] = one_line(argument.origin, _ORIGIN_LENGTH)
            written.append(f"{argument.option}=/proc/self/fd/{descriptor}")
        yield MemoryFiles(written, origins)


def _memory_file(content: bytes) -> int:
    """Return the descriptor of a new sealed file. Raises OSError."""
    with os.fdopen(os.memfd_create("helm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
        file.write(content)
        file.flush()
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, _SEALS)
        return fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, _LOWEST)
