"""Calls in worker processes: what they return and raise, and that none outlives its deadline, its caller or the operator."""

import asyncio
import io
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

import pytest

from managedchart_operator import errors
from managedchart_operator.errors import OperatorError, WorkerError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.reasons import Reason
from managedchart_operator.worker import WORKERS, run_in_worker
from managedchart_operator.worker_process import MEMORY_BYTES

# It holds the interpreter's lock, so that no thread and no signal handler of the process runs.
ENDLESS = (re.fullmatch, "(a+)+b", "a" * 60)


def exists(pid: int) -> bool:
    """Whether a process runs: one that has ended may be waiting for somebody who asks for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition of another process is true; nothing signals it."""

    def poll() -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    await asyncio.to_thread(poll)


def cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


async def test_a_call_returns_its_result_from_another_process() -> None:
    """Calls one after another are answered by the same process."""
    first = await run_in_worker(os.getpid, seconds=20)
    assert first != os.getpid()
    assert await run_in_worker(os.getpid, seconds=20) == first


async def test_large_arguments_and_results_arrive() -> None:
    data = os.urandom(20 << 20)
    assert await run_in_worker(bytes.upper, data, seconds=20) == data.upper()


async def test_a_call_raises_what_the_function_raises() -> None:
    """Where it was raised is in a note."""
    with pytest.raises(ValueError, match="invalid literal for int") as caught:
        await run_in_worker(int, "x", seconds=20)
    assert "In the worker process" in caught.value.__notes__[0]


async def test_a_result_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises(TypeError, match="open returned a "):
        await run_in_worker(io.open, os.devnull, seconds=20)


@pytest.mark.parametrize("kind", [each for each in vars(errors).values() if isinstance(each, type)], ids=str)
def test_errors_survive_the_way_between_processes(kind: type[Exception]) -> None:
    """Also those whose constructor needs more than a message."""
    if not issubclass(kind, OperatorError):
        return
    error = kind.__new__(kind, "why")
    error.__dict__.update(message="why", reason=Reason.CHART_INVALID, hint="Do this.", transient=True, more=(1,))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (kind, "why", error.__dict__)


async def test_a_call_that_overruns_its_deadline_is_ended() -> None:
    """Also one that never lets another thread of its process run. The next call gets a fresh worker."""
    before = await run_in_worker(os.getpid, seconds=20)
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"It did not end within 0\.3 s") as caught:
        await run_in_worker(*ENDLESS, seconds=0.3)
    assert caught.value.why == "time"
    assert time.monotonic() - began < 10
    assert not exists(before)
    assert await run_in_worker(os.getpid, seconds=20) != before


async def test_a_call_cannot_take_more_memory_than_its_limit() -> None:
    """What it asks for is refused, and a worker that was left large is replaced."""
    before = await run_in_worker(os.getpid, seconds=20)
    with pytest.raises(WorkerError, match="It needs more than 256 MiB of memory") as caught:
        await run_in_worker(bytes, MEMORY_BYTES, seconds=20)
    assert caught.value.why == "memory"
    assert not exists(before)
    assert len(await run_in_worker(bytes, MEMORY_BYTES // 8, seconds=20)) == MEMORY_BYTES // 8


async def test_a_worker_that_dies_is_replaced() -> None:
    with pytest.raises(WorkerError, match="The worker process ended with exit code 3") as caught:
        await run_in_worker(os._exit, 3, seconds=20)
    assert caught.value.why == "died"
    killed = await run_in_worker(os.getpid, seconds=20)
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not exists(killed))
    assert await run_in_worker(os.getpid, seconds=20) != killed


async def test_a_worker_has_a_low_priority_and_limits() -> None:
    pid = await run_in_worker(os.getpid, seconds=20)
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
    assert resource.prlimit(pid, resource.RLIMIT_DATA) == (MEMORY_BYTES, MEMORY_BYTES)
    assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
    assert await asyncio.to_thread(Path(f"/proc/{pid}/oom_score_adj").read_text) == "900\n"
    assert os.getpgid(pid) == pid


async def test_a_worker_sees_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what an administrator sets nor descriptors of the operator, which may be memory files of other tenants."""
    with pytest.raises(WorkerError):
        await run_in_worker(os._exit, 1, seconds=20)
    monkeypatch.setenv("MANAGEDCHART_PASSWORD", "secret")
    secret = os.memfd_create("values", 0)
    assert await run_in_worker(os.getenv, "MANAGEDCHART_PASSWORD", seconds=20) is None
    opened = await run_in_worker(os.listdir, "/proc/self/fd", seconds=20)
    os.close(secret)
    assert len(opened) <= 5  # standard descriptors, the socket, the folder itself


async def test_cancelling_the_caller_ends_the_call() -> None:
    pid = await run_in_worker(os.getpid, seconds=20)
    before = cpu_ticks(pid)
    call = asyncio.create_task(run_in_worker(*ENDLESS, seconds=600))
    await until(lambda: cpu_ticks(pid) > before)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not exists(pid))
    assert await run_in_worker(os.getpid, seconds=20) != pid


async def test_few_run_at_once_and_the_others_wait() -> None:
    """The deadline of those that wait has not begun."""
    calls = [run_in_worker(time.sleep, 0.2, seconds=20) for _ in range(2 * WORKERS)]
    began = time.monotonic()
    await asyncio.gather(*calls)
    assert time.monotonic() - began >= 0.4
    assert len({await run_in_worker(os.getpid, seconds=20) for _ in range(10)}) <= WORKERS


async def test_a_namespace_has_one_worker_at_a_time() -> None:
    """S7: while its archives use up their time, those of others are read."""

    def call(namespace: str, seconds: float) -> "asyncio.Task[None]":
        context = copy_context()
        context.run(PAYER.set, namespace)
        return asyncio.create_task(run_in_worker(time.sleep, seconds, seconds=20), context=context)

    hostile = [call("a", 20.0) for _ in range(3)]
    await asyncio.wait_for(call("b", 0.0), 10)
    for task in hostile:
        task.cancel()
    assert await asyncio.gather(*hostile, return_exceptions=True)


OPERATOR = textwrap.dedent(
    """
    import asyncio, os, re, sys
    from managedchart_operator.worker import run_in_worker
    async def main():
        pid = await run_in_worker(os.getpid, seconds=20)
        print(pid, flush=True)
        if sys.argv[1] != "idle":
            call = asyncio.ensure_future(run_in_worker(re.fullmatch, "(a+)+b", "a" * 60, seconds=600))
            await asyncio.sleep(0.1)
        if sys.argv[1].endswith("killed"):
            await asyncio.sleep(600)
    asyncio.run(main())
    """
)


@pytest.mark.parametrize("how", ["idle", "hung", "idle killed", "hung killed"])
def test_no_worker_outlives_the_operator_or_delays_its_end(how: str) -> None:
    """Neither an idle one nor a hung one, neither after the operator's own end nor after `kill -9`."""
    with subprocess.Popen([sys.executable, "-P", "-c", OPERATOR, how], stdout=subprocess.PIPE, text=True) as operator:
        assert operator.stdout is not None
        pid = int(operator.stdout.readline())
        assert exists(pid)
        if how.endswith("killed"):
            operator.kill()
        operator.wait(timeout=20)
    deadline = time.monotonic() + 10
    while exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_importing_starts_no_worker() -> None:
    """An operator in sync, or one that has just been started, pays nothing."""
    program = f"import os; {OPERATOR.splitlines()[2]}; print(open(f'/proc/self/task/{{os.getpid()}}/children').read())"
    found = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == ""
