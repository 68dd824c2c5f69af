"""The worker process of `worker`: calls functions that read untrusted data, one call at a time.

    python -P -m managedchart_operator.worker_process DESCRIPTOR

It has little memory, a low priority, and a deadline for each call; the kernel ends it at any of these limits, also while C code
runs. It ends when its parent ends, when the other end of its socket is closed, and after a call that left it large. What a
function prints goes to the operator's stderr. This module imports little, since each worker pays for it: a worker that has
called nothing yet holds 14 MiB, half of it shared (measured with Python 3.11).

A message is its length in 8 bytes and a pickle: (function, arguments, seconds) one way, an `Answer` the other way.
"""

import contextlib
import ctypes
import os
import pickle
import resource
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

MIB = 1024 * 1024
# What the largest input that the operator accepts needs, with a factor of two; a pod has room for the workers beside helm.
MEMORY_BYTES = 256 * MIB
# A worker that holds more than this after a call ends: the next call gets a fresh one, with all of the memory.
_LARGE_BYTES = 64 * MIB
# An answer is unpickled in the operator itself.
MAX_ANSWER_BYTES = 64 * MIB
_LENGTH_BYTES = 8
# The operator ends a worker at the deadline; this is for an operator that cannot.
_LATE_SECONDS = 2.0
_NICE = 10
# The kernel ends a process with a high score first when memory runs out; the operator has 0 or less.
_OOM_SCORE = "900"
_PR_SET_PDEATHSIG = 1


class Answer(NamedTuple):
    """What became of a call: a result, or an exception, or neither if the memory did not suffice."""

    value: Any = None
    error: BaseException | None = None
    out_of_memory: bool = False
    last: bool = False
    """Whether the worker ends after it."""


_OUT_OF_MEMORY = pickle.dumps(Answer(out_of_memory=True, last=True))


def send(connection: socket.socket, data: bytes) -> None:
    """Send a message. Raises OSError, and TimeoutError if the connection has a timeout."""
    connection.sendall(len(data).to_bytes(_LENGTH_BYTES, "big"))
    connection.sendall(data)


def receive(connection: socket.socket, *, limit: int = 2**63) -> bytes | None:
    """Receive a message; None if the other end was closed. Raises OSError, ValueError for more than `limit` bytes."""
    header = _exactly(connection, _LENGTH_BYTES)
    if header is None:
        return None
    length = int.from_bytes(header, "big")
    if length > limit:
        raise ValueError(f"a message of {length} bytes")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    parts = []
    while length:
        part = connection.recv(min(length, MIB))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _answer_to(message: bytes) -> tuple[bytes, bool]:
    """Call what a message asks for, and return the answer, and whether it is the last one."""
    try:
        function, arguments, seconds = pickle.loads(message)  # noqa: S301 -- the operator's own
        signal.setitimer(signal.ITIMER_REAL, seconds + _LATE_SECONDS)
        answer = Answer(function(*arguments))
    except MemoryError:
        return _OUT_OF_MEMORY, True
    except Exception as error:  # noqa: BLE001 -- it is raised again in the operator
        error.add_note("In the worker process:\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip())
        answer = Answer(error=error)
    answer = answer._replace(last=_memory_in_use() > _LARGE_BYTES)
    try:
        data = pickle.dumps(answer)
        if answer.error:
            pickle.loads(data)  # noqa: S301 -- many exceptions can be written, and not read
    except MemoryError:
        return _OUT_OF_MEMORY, True
    except Exception as error:  # noqa: BLE001 -- a function that may not be called here; told to its developer
        what = f"raised {answer.error!r}" if answer.error else f"returned a {type(answer.value).__name__}"
        return pickle.dumps(Answer(error=TypeError(f"{function.__qualname__} {what}: {error}"[:1000]))), False
    return data, answer.last


def _memory_in_use() -> int:
    """Return how much of the memory limit is used, in bytes: what RLIMIT_DATA counts, and the stack."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def _limit(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()  # it has ended before the kernel knew
    for limit, value in ((resource.RLIMIT_DATA, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (value, value))
    os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    # Without a handler the kernel ends the process, whatever it does.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # A terminal's interrupt is for the operator, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main(descriptor: int, parent: int) -> None:
    """Answer the calls that arrive on a socket until its other end is closed."""
    _limit(parent)
    # A killed operator resets the connection if it has not read the last answer.
    with socket.socket(fileno=descriptor) as connection, contextlib.suppress(ConnectionError):
        while (message := receive(connection)) is not None:
            data, is_last = _answer_to(message)
            signal.setitimer(signal.ITIMER_REAL, 0)
            del message
            send(connection, data)
            if is_last:
                return
            del data


if __name__ == "__main__":
    # As the module that `worker` knows, so that both mean the same class by `Answer`.
    from managedchart_operator import worker_process  # noqa: PLW0406

    worker_process.main(int(sys.argv[1]), int(sys.argv[2]))
