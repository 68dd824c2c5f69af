"""The process from which the processes of plug-ins are forked: it has imported the operator's API, and runs no plug-in itself.

    python -P -m managedchart_operator.lifecycle.plugins.fork_server DESCRIPTOR PARENT

To import the API takes 0.7 s and 60 MiB, a phase in a forked process 50 ms and 5 MiB (measured on a busy machine). So this
process imports once, and forks one for each phase. It is ended with the operator, by the kernel, and its children with it. What
a plug-in has started is ended with the plug-in: first its process group, then whatever has left the group, which becomes a
child of this process.

A request is one packet: `{"id", "memory"}` with two descriptors (the connection to the operator, and where output goes) starts
a process, `{"id", "end": pid}` ends it. The answer has the id, and the process id or the exit code. This process has one
thread, and waits for nothing that a plug-in does.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

_PACKET_BYTES = 4096
_NICE = 10
# The kernel ends a process with a high score first when memory runs out; the operator has 0 or less, and helm less than these.
_OOM_SCORE, _OOM_SCORE_OF_PLUGINS = "500", "950"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# A process that has closed its connection is about to end, and its exit code says more than that of a killed one.
_ENDING_SECONDS = 0.2
# A process that forks all the time is ended by ending its children faster than it forks them; this many suffice for a bomb
# that has filled a table of 10,000 processes.
_ROUNDS = 20_000


def main(descriptor: int, parent: int) -> None:
    """Fork and end processes as requested until the operator has closed the socket."""
    _end_with(parent)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for the operator
    _set_oom_score(_OOM_SCORE)
    # For the children; what plug-ins import most.
    from managedchart_operator.kube import objects  # noqa: F401
    from managedchart_operator.lifecycle.plugins import phase_process  # noqa: F401

    os.nice(_NICE)
    gc.collect()
    gc.freeze()  # what is never collected is never copied
    running: set[int] = set()
    with socket.socket(fileno=descriptor) as control:
        while True:
            data, descriptors, _, _ = socket.recv_fds(control, _PACKET_BYTES, 2)
            if not data:
                return
            request = json.loads(data)
            if "end" in request:
                answer = _end(request["end"], running)
            else:
                answer = _start(control, descriptors, request["memory"])
                running.add(answer)
            control.send(json.dumps({"id": request["id"], "answer": answer}).encode())


def _start(control: socket.socket, descriptors: list[int], memory: int) -> int:
    """Fork a process that runs a phase, and return its id; 0 if the kernel refuses."""
    own = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        pid = 0
        for each in descriptors:
            os.close(each)
        return 0
    if pid:
        for each in descriptors:
            os.close(each)
        return pid
    code = 1
    try:
        control.close()
        os.setsid()
        _end_with(own)
        _set_oom_score(_OOM_SCORE_OF_PLUGINS)
        connection, output = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.set_inheritable(connection, False)
        for limit, value in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
            resource.setrlimit(limit, (value, value))
        from managedchart_operator.lifecycle.plugins import phase_process

        phase_process.serve(connection)
        code = 0
    except BaseException:  # noqa: BLE001 -- nothing may return into the loop above
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _end(pid: int, running: set[int]) -> int:
    """End a process and all that it has started; returns its exit code, negative for a signal."""
    if pid not in running:
        return -signal.SIGKILL
    code = None
    deadline = time.monotonic() + _ENDING_SECONDS
    while code is None and time.monotonic() < deadline and _closed(pid):
        code = _reap(pid, os.WNOHANG)
        if code is None:
            time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if code is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = _reap(pid, 0)
    running.discard(pid)
    _end_orphans(running)
    return -signal.SIGKILL if code is None else code


def _closed(pid: int) -> bool:
    """Whether a process is about to end or has ended: the kernel has closed its descriptors."""
    try:
        return next(Path(f"/proc/{pid}/fd").iterdir(), None) is None
    except OSError:
        return True


def _reap(pid: int, options: int) -> int | None:
    done, status = os.waitpid(pid, options)
    return os.waitstatus_to_exitcode(status) if done else None


def _end_orphans(running: set[int]) -> None:
    """End whatever has become a child of this process because its parent has ended."""
    for _ in range(_ROUNDS):
        orphans = [pid for pid in _children() if pid not in running]
        if not orphans:
            return
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it has ended before the kernel knew


def _set_oom_score(score: str) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(score)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
