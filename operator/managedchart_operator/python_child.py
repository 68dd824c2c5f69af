"""Starts a module of this package as a process of its own, at the other end of a socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

# What a Python process needs; nothing else of the operator's environment, which may have secrets.
_NAMES = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_PREFIXES = ("PYTHON",)


def start(
    module: str, end: socket.socket, *, names: Sequence[str] = (), prefixes: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start a module with two arguments: the number of its end of a socket, and the process id of the operator.

    Its standard output is the operator's stderr, its session is its own, and of the environment it gets what Python needs and
    the variables of these names and prefixes. Raises OSError.
    """

    def is_passed_on(name: str) -> bool:
        return name in {*_NAMES, *names} or name.startswith(_PREFIXES + prefixes)

    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(end.fileno()), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={name: value for name, value in os.environ.items() if is_passed_on(name)},
        start_new_session=True,
        pass_fds=(end.fileno(),),
    )
