"""Calls functions that read untrusted data in worker processes, which have limits and can be ended at any time.

A thread cannot be ended, and what a hostile archive or YAML text makes of a few bytes would be the operator's own memory. So
whatever parses what a tenant wrote is a plain function of a module, and is called by `run_in_worker`. A worker is started at
the first call, kept for the next ones, and ended after a minute without calls: an operator that only compares has none.

Not `concurrent.futures` or `multiprocessing`: a pool there cannot end one call, a process that dies breaks the pool for all
others, and both wait for hung processes when the interpreter ends. Not `pebble` (LGPL; it polls) or `loky` (no deadline for a
call); neither limits memory.

Each worker has a thread of its own here, which starts it, talks to it and waits for its end: the kernel ends a worker when the
thread that started it has ended, and pipes of asyncio would belong to one event loop.
"""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, TypeVarTuple, cast

from managedchart_operator import python_child
from managedchart_operator.errors import WorkerError
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.worker_process import MAX_ANSWER_BYTES, MEMORY_BYTES, MIB, Answer, receive, send

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# Two use the CPU of a small pod. More would only be needed against hostile input, which each call's deadline bounds.
WORKERS = 2
# Starting another one costs 0.03 s, and the imports of what it calls.
_IDLE_SECONDS = 60.0


async def run_in_worker(function: Callable[[*Arguments], Result], *args: *Arguments, seconds: float) -> Result:
    """Call a function of a module in a worker process, and return what it returns or raise what it raises.

    The function, its arguments and its result must be picklable; no file is used on the way. The result is built in the
    operator's own memory, so it must be small. At most WORKERS calls run at once, and one for each namespace (`fair_slots`);
    `seconds` count from the start of the call. An exception that cannot be pickled arrives as a TypeError that names it.

    Raises WorkerError when the call takes longer, needs more than MEMORY_BYTES of memory, or ends the worker; callers say
    what that means for their input. When cancelled, the worker is ended.
    """
    async with _slots.hold():
        call = _Call(function, args, seconds)
        _workers.submit(call)
        try:
            return cast("Result", await asyncio.wrap_future(call.result))
        except asyncio.CancelledError:
            call.cancel()
            raise


class _Call:
    """A call that waits for a worker, or runs in one."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> None:
        self.result: Future[Any] = Future()
        self.function, self.arguments, self.seconds = function, arguments, seconds
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._worker: _Worker | None = None

    def cancel(self) -> None:
        """End the worker that runs it, if any."""
        with self._lock:
            self._cancelled.set()
            if self._worker is not None:
                self._worker.kill()

    def run(self, worker: "_Worker") -> Callable[[], None]:
        """Run it in a worker. Returns a function that sets its result."""
        with self._lock:
            if self._cancelled.is_set() or not self.result.set_running_or_notify_cancel():
                return lambda: None
            self._worker = worker
        try:
            answer = worker.ask(self.function, self.arguments, self.seconds)
        except BaseException as error:  # noqa: BLE001 -- whoever waits for the call raises it
            answer = Answer(error=error)
        with self._lock:
            self._worker = None
        if self._cancelled.is_set():
            worker.end()
        if answer.error is None:
            return partial(self.result.set_result, answer.value)
        return partial(self.result.set_exception, answer.error)


class _Worker:
    """A worker process, started when it is first asked and again after it has ended. Used by one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket

    def ask(self, function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Answer:
        """Send a call and wait for its answer. Raises WorkerError."""
        message = pickle.dumps((function, arguments, seconds))
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._start()
        deadline = time.monotonic() + seconds
        answer = None
        try:
            self._connection.settimeout(seconds)
            send(self._connection, message)
            self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
            data = receive(self._connection, limit=MAX_ANSWER_BYTES)
            answer = cast("Answer", pickle.loads(data)) if data else None  # noqa: S301 -- a worker runs code of the operator only
        except OSError:
            pass  # the deadline, or the worker has ended
        except ValueError as error:
            raise WorkerError("It returns too much", why="memory") from error
        finally:
            if answer is None or answer.last:
                code = self.end()
        if answer is None:
            if time.monotonic() >= deadline or code == -signal.SIGALRM:
                raise WorkerError(f"It did not end within {seconds:g} s", why="time")
            raise WorkerError(f"The worker process ended with exit code {code}", why="died")
        if answer.out_of_memory:
            raise WorkerError(f"It needs more than {MEMORY_BYTES // MIB} MiB of memory", why="memory")
        return answer

    def kill(self) -> None:
        """End the process at once. May be called in any thread."""
        with self._lock:
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> int:
        """End the process, whatever it does, and return its exit code."""
        if self._process is None:
            return 0
        self._connection.close()
        self.kill()
        code = self._process.wait()
        with self._lock:
            self._process = None
        return code

    def _start(self) -> None:
        """Start the process. Raises WorkerError."""
        own, other = socket.socketpair()
        try:
            with other:
                process = python_child.start(_PROCESS, other)
        except OSError as error:
            own.close()
            raise WorkerError(f"A worker process cannot be started: {error.strerror}", why="died") from error
        with self._lock:
            self._process, self._connection = process, own


_PROCESS = "managedchart_operator.worker_process"


class _Workers:
    """The threads that have a worker each. They are daemons, so that none holds up the end of the operator."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._idle: list[SimpleQueue[_Call]] = []
        """Where the threads without a call take the next one; the last one's worker was used last, and goes first."""
        self._threads = 0

    def submit(self, call: _Call) -> None:
        """Run a call as soon as a worker is free."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(call)
            elif self._threads < WORKERS:
                self._threads += 1
                threading.Thread(target=self._serve, args=(call,), name="worker", daemon=True).start()
            else:
                self._waiting.append(call)

    def _serve(self, call: _Call | None) -> None:
        worker, inbox = _Worker(), SimpleQueue[_Call]()
        while call is not None:
            publish = call.run(worker)
            with self._lock:
                call = self._waiting.popleft() if self._waiting else None
                if call is None:
                    self._idle.append(inbox)
            # Last, so that whoever makes the next call finds this worker free.
            publish()
            del publish
            call = call or self._next(inbox)
        worker.end()

    def _next(self, inbox: "SimpleQueue[_Call]") -> _Call | None:
        """Return the next call for a thread; None if there was none for so long that it has to end."""
        with contextlib.suppress(Empty):
            return inbox.get(timeout=_IDLE_SECONDS)
        with self._lock:
            if inbox in self._idle:
                self._idle.remove(inbox)
                self._threads -= 1
                return None
        return inbox.get()


_workers = _Workers()
# Whatever the share of a namespace is: one whose archives use up the time that a call has must leave a worker to the others.
_slots = FairSlots(WORKERS, share=0.5)
