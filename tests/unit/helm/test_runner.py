"""helm processes are fed, limited, timed out and ended cleanly, held with small programs in helm's place."""

import asyncio
import errno
import os
import resource
import secrets
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.helm import process as process_module
from managedchart_operator.helm import runner as runner_module
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.memory_files import FileArgument
from managedchart_operator.helm.process import STDERR_HEAD_BYTES, STDERR_TAIL_BYTES
from managedchart_operator.helm.runner import HelmOutput, HelmRunner
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import CUT_OUT

# Longer than any test: a process that still runs at a test's end has not ended on its own.
FOR_EVER = 300
DEADLINE = 30.0

Make = Callable[..., HelmRunner]


@pytest.fixture
def helm(tmp_path: Path) -> Make:
    """Make a runner of a shell script (or of Python) that plays helm; it works in `tmp_path`."""

    def make(script: str, *, python: bool = False, processes: int = 8, applies: int = 8) -> HelmRunner:
        interpreter = sys.executable if python else "/bin/sh"
        program = tmp_path / "helm"
        program.write_text(f"#!{interpreter}\n{script}\n")
        program.chmod(0o755)
        slots = HelmSlots(processes=processes, applies=applies, free_memory=lambda: sys.maxsize)
        environment = {"PATH": os.defpath, "HERE": str(tmp_path)}
        return HelmRunner(str(program), environment, slots, identity=str(tmp_path))

    return make


async def until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Wait until something outside of this process is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that init has not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def in_time(run: Awaitable[HelmOutput]) -> HelmOutput:
    """Return the result, well before the deadline."""
    return await asyncio.wait_for(run, DEADLINE / 4)


def pid_in(file: Path) -> int:
    return int(file.read_text())


def written(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")


@asynccontextmanager
async def started(
    helm: HelmRunner, sign: Path, *, values: Sequence[FileArgument] = ()
) -> AsyncIterator[asyncio.Task[object]]:
    """A run under way whose program has written a file to say that it is ready."""
    task: asyncio.Task[object] = asyncio.create_task(helm.run(["upgrade", *values], deadline=DEADLINE))
    await until(lambda: written(sign))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def all_children() -> list[int]:
    """The processes that this one has started and not reaped."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


_others: set[int] = set()


@pytest.fixture(autouse=True)
def _note_children_of_other_tests() -> None:
    """Workers that parse wait for the next call, after the tests that have called them."""
    _others.clear()
    _others.update(all_children())


def children() -> list[int]:
    """The processes that the test has started and not reaped."""
    return [pid for pid in all_children() if pid not in _others]


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ---- in and out


def file(content: bytes, origin: str = "spec.values") -> FileArgument:
    return FileArgument("--values", content, origin)


def memory_files_open() -> list[str]:
    """The memory files that this process has open."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(descriptor.readlink()))
    return [link for link in links if "memfd:helm" in link]


# Prints the content of each file that an argument names.
READ_FILES = 'for argument; do case $argument in --values=*) cat "${argument#--values=}" ;; esac; done'


async def test_memory_files_reach_helm_whole_and_in_order(helm: Make) -> None:
    values = bytes(range(256)) * 16_384
    output = await helm(READ_FILES).run(["upgrade", file(values), file(b"last")], keep_stdout=True, deadline=DEADLINE)
    assert output.stdout == values + b"last"


async def test_a_memory_file_is_readable_twice_and_sealed(helm: Make) -> None:
    script = f'{READ_FILES}; {READ_FILES}; echo more 2>/dev/null >>"${{2#--values=}}" || echo sealed'
    output = await helm(script).run(["upgrade", file(b"a: 1\n")], keep_stdout=True, deadline=DEADLINE)
    assert output.stdout == b"a: 1\na: 1\nsealed\n"


async def test_a_wrapper_script_may_open_files(helm: Make) -> None:
    """A shell knows the descriptors 0 to 9, and would close those of the values that it does not know of."""
    script = 'for n in 3 4 5 6 7 8 9; do eval "exec $n>/dev/null"; done\n' + READ_FILES
    output = await helm(script).run(["upgrade", file(b"a: 1\n")], keep_stdout=True, deadline=DEADLINE)
    assert output.stdout == b"a: 1\n"


async def test_only_its_own_helm_sees_a_memory_file(helm: Make, tmp_path: Path) -> None:
    listing = "ls -l /proc/self/fd | grep -c memfd; [ $1 = next ] || { echo $$ > $HERE/pid; sleep 300; }"
    async with started(helm(listing), tmp_path / "pid", values=[file(b"secret")]):
        await until(lambda: not memory_files_open())  # helm may run before its start has returned here
        output = await helm(listing).run(["next"], keep_stdout=True, deadline=DEADLINE)
        assert output.stdout.strip() == b"0"


async def test_a_failed_start_closes_the_memory_files(helm: Make, tmp_path: Path) -> None:
    runner = helm("exit 0")
    (tmp_path / "helm").chmod(0o644)
    with pytest.raises(HelmError, match="Helm cannot be started"):
        await runner.run(["upgrade", file(b"secret")], deadline=DEADLINE)
    assert memory_files_open() == []


async def test_a_cancel_during_the_start_closes_the_memory_files(helm: Make) -> None:
    task = asyncio.create_task(helm("sleep 300").run(["upgrade", file(b"secret")], deadline=DEADLINE))
    while not children():  # noqa: ASYNC110 -- until helm is started, and no further
        await asyncio.sleep(0)
    await cancelled(task)
    assert memory_files_open() == []


async def test_too_many_open_files_is_transient(helm: Make) -> None:
    """And those that were opened before are closed again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with pytest.raises(HelmError, match="Helm cannot be started: Too many open files") as caught:
            await helm("exit 0").run(["upgrade", *[file(b"x")] * 100], deadline=DEADLINE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.transient
    assert memory_files_open() == []


async def test_an_error_names_a_memory_file_by_its_origin(helm: Make) -> None:
    """Also where the number of one file begins like that of another."""
    script = 'echo "Error: ${2#--values=}: no; ${2#--values=}0, /proc/self/fd/999" >&2; exit 1'
    output = await helm(script).run(["upgrade", file(b"", "spec.yamlFilesContent[0] (a\nb)")], deadline=DEADLINE)
    named, rest = output.stderr.split("; ")
    assert named == "Error: spec.yamlFilesContent[0] (a b): no"
    assert rest.startswith("/proc/self/fd/")
    assert rest.endswith("/proc/self/fd/999\n")


async def test_the_real_helm_names_the_broken_source(helm_binary: str, tmp_path: Path) -> None:
    slots = HelmSlots(processes=1, applies=1, free_memory=lambda: sys.maxsize)
    runner = HelmRunner(helm_binary, {"HOME": str(tmp_path)}, slots, identity=str(tmp_path))
    chart = Path(__file__).parents[2] / "charts" / "print-values"
    sources = [file(b"a: 1\n"), file(b"b: [\n", "spec.yamlFilesContent[0] (extra.yaml)")]
    output = await runner.run(["template", "x", str(chart), *sources], deadline=DEADLINE)
    error = classify(output.stderr, exit_code=output.exit_code, command="template")
    assert error.reason is Reason.VALUES_INVALID
    assert error.message.startswith("Helm cannot read spec.yamlFilesContent[0] (extra.yaml): line 1: ")


async def test_helm_reads_an_empty_stdin(helm: Make) -> None:
    """It is never the operator's stdin, for which helm would wait forever."""
    output = await helm("wc -c").run(["list"], keep_stdout=True, deadline=DEADLINE)
    assert output.stdout.strip() == b"0"


async def test_the_check_before_helm_may_stop_it(helm: Make, tmp_path: Path) -> None:
    """The last look before something is destroyed is taken when nothing has to be waited for any more."""
    runner = helm('touch "$HERE/started"')
    seen: list[int] = []

    async def refuse() -> None:
        seen.append(runner.slots.running)
        raise HelmError("no", reason=Reason.HELM_FAILED, transient=True)

    with pytest.raises(HelmError, match="no"):
        await runner.run(["uninstall"], deadline=DEADLINE, before=refuse)
    assert seen == [1]
    assert not (tmp_path / "started").exists()
    assert runner.slots.running == runner.started == 0


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -9 $$", -9)])
async def test_the_exit_code_is_returned(helm: Make, script: str, code: int) -> None:
    assert (await helm(script).run(["upgrade"], deadline=DEADLINE)).exit_code == code


async def test_arguments_arrive_as_they_are(helm: Make, tmp_path: Path) -> None:
    """There is no shell that could interpret them."""
    arguments = ["upgrade", "a b", "", "$(touch pwned)", "; touch pwned", "--set=x=`touch pwned`", "ü*?"]
    output = await helm('cd "$HERE"; printf "%s\\n" "$@"').run(arguments, keep_stdout=True, deadline=DEADLINE)
    assert output.stdout.decode().split("\n")[:-1] == arguments
    assert not (tmp_path / "pwned").exists()


async def test_helm_sees_only_the_given_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the operator's own, which may have passwords; added are the process's mark and its memory limit for Go."""
    monkeypatch.setenv("OPERATOR_PASSWORD", "secret")
    slots = HelmSlots(processes=1, applies=1, free_memory=lambda: sys.maxsize)
    helm = HelmRunner("/usr/bin/env", {"HOME": "/nowhere", "A": "1"}, slots, identity="/cache")
    output = await helm.run(["--null"], keep_stdout=True, deadline=DEADLINE)
    seen = dict(entry.split("=", 1) for entry in output.stdout.decode().split("\0") if entry)
    assert seen == {"HOME": "/nowhere", "A": "1", "MANAGEDCHART_HELM_OF": "/cache", "GOMEMLIMIT": "409MiB"}


async def test_a_watch_stops_helm_with_its_error(helm: Make) -> None:
    async def watch() -> Exception:
        await asyncio.sleep(0)
        return ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await in_time(helm("sleep 60").run(["upgrade"], deadline=DEADLINE, watch=watch))
    assert children() == []


async def test_a_watch_ends_with_helm(helm: Make) -> None:
    """Also one that fails: that is logged, and helm goes on."""
    ended = asyncio.Event()

    async def watch() -> Exception:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    assert (await in_time(helm("exit 0").run(["upgrade"], deadline=DEADLINE, watch=watch))).exit_code == 0
    assert ended.is_set()


async def test_helm_impersonates_the_user_on_whose_behalf_it_runs() -> None:
    """All share slots and counters; the runner from which they were made still runs as the operator."""
    slots = HelmSlots(processes=1, applies=1, free_memory=lambda: sys.maxsize)
    own = HelmRunner("/usr/bin/env", {"HOME": "/nowhere"}, slots, identity="/cache")
    users = ("system:serviceaccount:team-a:deployer", "system:serviceaccount:team-b:deployer", None)
    seen = []
    for helm in (*(own.on_behalf_of("team-a", user=user) for user in users), own):
        output = await helm.run(["--null"], keep_stdout=True, deadline=DEADLINE)
        seen.append(dict(entry.split("=", 1) for entry in output.stdout.decode().split("\0") if entry))
        assert helm.slots is slots
    assert [environment.get("HELM_KUBEASUSER") for environment in seen] == [*users, None]
    assert own.started == 4


async def test_a_flood_keeps_its_beginning_and_end(helm: Make) -> None:
    """The head shows what began, the tail why it ended; the rest is dropped, and no pipe is ever full."""
    script = (
        "import sys\n"
        "sys.stderr.write('begin ' + 'e' * 8_000_000 + ' end')\n"
        "sys.stdout.write('o' * 8_000_000)\n"
        "sys.stderr.write(' last')"
    )
    output = await helm(script, python=True).run(["upgrade"], keep_stdout=True, deadline=DEADLINE)
    assert output.exit_code == 0
    assert output.stderr.startswith("begin ee")
    assert output.stderr.endswith("ee end last")
    assert len(output.stderr) == STDERR_HEAD_BYTES + STDERR_TAIL_BYTES + len(CUT_OUT)
    assert output.stderr.count(CUT_OUT) == 1, "a part of a secret is looked for there"
    assert output.stdout == b"o" * 8_000_000


async def test_a_text_within_the_limits_is_complete(helm: Make) -> None:
    """A text that fits is unchanged, wherever the chunks end."""
    size = STDERR_HEAD_BYTES + STDERR_TAIL_BYTES
    script = f"import sys\nfor i in range({size // 8}): sys.stderr.write(f'{{i:07d}},')"
    output = await helm(script, python=True).run(["upgrade"], deadline=DEADLINE)
    assert output.stderr == "".join(f"{i:07d}," for i in range(size // 8))


async def test_helm_that_renders_too_much_is_ended(helm: Make) -> None:
    """S10: no release Secret could hold it, so nothing of it is read, and helm does not go on for its deadline."""
    with pytest.raises(HelmError) as raised:
        await helm("cat /dev/zero").run(["template"], keep_stdout=True, deadline=DEADLINE)
    assert raised.value.message == "The chart renders more than 16 MiB, which no release Secret can hold"
    assert (raised.value.reason, raised.value.transient) == (Reason.RELEASE_TOO_LARGE, False)


async def test_stdout_is_not_kept_unless_requested(helm: Make) -> None:
    output = await helm("echo notes").run(["upgrade"], deadline=DEADLINE)
    assert output.stdout == b""


async def test_invalid_utf8_is_read(helm: Make) -> None:
    output = await helm("printf 'bad \\377 byte' >&2").run(["upgrade"], deadline=DEADLINE)
    assert output.stderr == "bad � byte"


async def test_a_failed_start_is_transient(helm: Make, tmp_path: Path) -> None:
    """No memory or no process left is a moment's trouble; it must not stall the resource."""
    runner = helm("exit 0")
    (tmp_path / "helm").chmod(0o644)
    with pytest.raises(HelmError, match="Helm cannot be started: Permission denied") as caught:
        await runner.run(["upgrade"], deadline=DEADLINE)
    assert caught.value.transient
    assert (runner.started, runner.slots.running, runner.slots.applying) == (0, 0, 0)


# ---- the end


async def test_the_end_is_noticed_without_the_call_for_it(helm: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may lack pidfd_open(2)."""

    def missing(_: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", missing)
    output = await helm("echo out; exit 3").run(["upgrade"], keep_stdout=True, deadline=DEADLINE)
    assert (output.stdout, output.exit_code) == (b"out\n", 3)


STUBBORN = "trap '' TERM; echo $$ > $HERE/pid; while :; do sleep 0.05; done"
POLITE = "trap 'echo > $HERE/told; exit 1' TERM; echo $$ > $HERE/pid; while :; do sleep 0.02; done"


async def test_a_deadline_ends_helm(helm: Make, tmp_path: Path) -> None:
    with pytest.raises(HelmError, match="Helm upgrade did not finish within 0 s and was stopped") as caught:
        await helm(POLITE).run(["upgrade"], deadline=0.3)
    assert caught.value.reason is Reason.TIMEOUT
    assert caught.value.transient
    assert (tmp_path / "told").exists()
    assert not alive(pid_in(tmp_path / "pid"))


async def test_a_cancel_terminates_helm_and_waits(helm: Make, tmp_path: Path) -> None:
    """SIGTERM makes helm mark its release failed; SIGKILL would leave it pending."""
    async with started(helm(POLITE), tmp_path / "pid") as task:
        await cancelled(task)
        assert (tmp_path / "told").exists()
        assert not alive(pid_in(tmp_path / "pid"))


async def test_a_cancel_during_the_start_terminates_helm(helm: Make, tmp_path: Path) -> None:
    """asyncio kills a process that is just starting; under load helm gets far in that time."""
    task = asyncio.create_task(helm(POLITE).run(["upgrade"], deadline=DEADLINE))
    end = time.monotonic() + 10
    while not written(tmp_path / "pid"):
        await asyncio.sleep(0)  # until helm is started, and no further
        if children():
            while not written(tmp_path / "pid"):
                assert time.monotonic() < end
                time.sleep(0.01)  # noqa: ASYNC251 -- to block the event loop
    await cancelled(task)
    assert (tmp_path / "told").exists()
    assert not alive(pid_in(tmp_path / "pid"))


async def test_helm_is_killed_after_the_grace(
    helm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process_module, "TERM_GRACE_SECONDS", 0.2)
    async with started(helm(STUBBORN), tmp_path / "pid") as task:
        begin = time.monotonic()
        await cancelled(task)
        assert 0.2 <= time.monotonic() - begin < 10, "the grace of the operator itself"
    assert not alive(pid_in(tmp_path / "pid"))
    assert "is killed" in caplog.text


async def test_a_second_cancel_changes_nothing(helm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is cancelled, `run` returns only when helm has ended."""
    monkeypatch.setattr(process_module, "TERM_GRACE_SECONDS", 60.0)
    async with started(helm(STUBBORN), tmp_path / "pid") as task:
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.05)
            assert not task.done()
            assert alive(pid_in(tmp_path / "pid"))
        os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not alive(pid_in(tmp_path / "pid"))


async def test_output_after_sigterm_is_kept(helm: Make, tmp_path: Path) -> None:
    """Its output is still read, so that a full pipe does not block its end until the kill."""
    script = "trap 'head -c 3000000 /dev/zero >&2; echo > $HERE/said; exit 1' TERM\n"
    script += "echo $$ > $HERE/pid; while :; do sleep 0.02; done"
    async with started(helm(script), tmp_path / "pid") as task:
        await cancelled(task)
    assert (tmp_path / "said").exists()


@pytest.mark.parametrize(
    "child",
    [f"sleep {FOR_EVER}", f"(trap '' TERM; sleep {FOR_EVER}) >/dev/null 2>&1"],
    ids=["that would end", "that would not"],
)
async def test_a_cancel_ends_helms_children_too(
    helm: Make, tmp_path: Path, child: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin or a credential helper must not outlive its helm."""
    monkeypatch.setattr(process_module, "TERM_GRACE_SECONDS", 1.0)
    script = f"{child} & echo $! > $HERE/child; wait"
    async with started(helm(script), tmp_path / "child") as task:
        assert alive(pid_in(tmp_path / "child"))
        await cancelled(task)
    await until(lambda: not alive(pid_in(tmp_path / "child")))


async def test_children_that_outlive_helm_are_ended(helm: Make, tmp_path: Path) -> None:
    script = f"sleep {FOR_EVER} >/dev/null 2>&1 & echo $! > $HERE/child"
    assert (await helm(script).run(["upgrade"], deadline=DEADLINE)).exit_code == 0
    await until(lambda: not alive(pid_in(tmp_path / "child")))


@pytest.mark.parametrize("code", [0, 1])
async def test_a_child_with_the_pipes_does_not_delay_the_result(helm: Make, tmp_path: Path, code: int) -> None:
    """helm's own end counts; a successful run once failed at its deadline."""
    script = f"sleep {FOR_EVER} & echo $! > $HERE/child; echo done; echo 'Error: no' >&2; exit {code}"
    output = await in_time(helm(script).run(["upgrade"], keep_stdout=True, deadline=DEADLINE))
    assert (output.exit_code, output.stdout, output.stderr) == (code, b"done\n", "Error: no\n")
    await until(lambda: not alive(pid_in(tmp_path / "child")))


async def test_a_child_in_its_own_session_does_not_delay_the_result(helm: Make, tmp_path: Path) -> None:
    """It is not in helm's process group, so its pipe stays open; helm's output is read nevertheless."""
    script = f"setsid sh -c 'echo $$ > $HERE/child; exec sleep {FOR_EVER}' & while [ ! -s $HERE/child ]; do :; done\n"
    output = await in_time(helm(script + "head -c 60000 /dev/zero >&2").run(["upgrade"], deadline=DEADLINE))
    assert (output.exit_code, len(output.stderr)) == (0, 60_000)
    os.kill(pid_in(tmp_path / "child"), signal.SIGKILL)


async def test_a_cancel_does_not_wait_for_the_pipes(
    helm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """helm has ended immediately; the grace was once spent on its child, which ignores SIGTERM."""
    monkeypatch.setattr(process_module, "TERM_GRACE_SECONDS", 60.0)
    script = f"(trap '' TERM; sleep {FOR_EVER}) & echo $$ > $HERE/pid; wait"
    async with started(helm(script), tmp_path / "pid") as task:
        begin = time.monotonic()
        await cancelled(task)
        assert time.monotonic() - begin < process_module.TERM_GRACE_SECONDS / 2


# ---- slots

WAITS = "echo $$ > $HERE/pid; while [ ! -e $HERE/go ]; do sleep 0.02; done"


@pytest.mark.parametrize(
    "mark",
    [
        "echo 'level=DEBUG msg=\"waiting for resources\" count=3' >&2",
        "echo 'beginning wait for 3 resources with timeout of 3m0s' >&2",
        "printf 'x waiting for' >&2; sleep 0.05; printf ' resources\\n' >&2",
        "for c in w a i t i n g \\  f o r \\  r e s o u r c e s '\n'; do printf \"$c\" >&2; sleep 0.005; done",
    ],
    ids=["helm 4.3", "helm 4.2", "split in two", "split in single bytes"],
)
async def test_a_waiting_helm_releases_its_apply_slot(helm: Make, tmp_path: Path, mark: str) -> None:
    """A release that takes minutes to become ready must not block the others."""
    runner = helm(f"[ $1 = next ] && exit 0\n{mark}\n{WAITS}", applies=1)
    async with started(runner, tmp_path / "pid"):
        output = await asyncio.wait_for(runner.run(["next"], deadline=DEADLINE), DEADLINE)
        assert output.exit_code == 0
        assert (runner.slots.running, runner.slots.applying) == (1, 0)


async def test_an_applying_helm_keeps_its_apply_slot(helm: Make, tmp_path: Path) -> None:
    """A word that only resembles the mark gives nothing away."""
    runner = helm(f"[ $1 = next ] && exit 0\necho 'waiting for nothing' >&2\n{WAITS}", applies=1)
    async with started(runner, tmp_path / "pid"):
        follower = asyncio.create_task(runner.run(["next"], deadline=DEADLINE))
        await asyncio.sleep(0.1)
        assert (runner.started, runner.slots.applying, follower.done()) == (1, 1, False)
        (tmp_path / "go").touch()
        assert (await follower).exit_code == 0


async def test_each_wait_is_reported_once(helm: Make) -> None:
    """helm logs it for each hook and for the release, so the count shows what it waits for."""
    waits: list[None] = []
    script = "for i in 1 2 3; do echo 'waiting for resources'; echo other; done >&2"
    await helm(script).run(["upgrade"], deadline=DEADLINE, on_waiting=lambda: waits.append(None))
    assert len(waits) == 3


async def test_a_call_that_applies_nothing_needs_no_apply_slot(helm: Make, tmp_path: Path) -> None:
    runner = helm(f"[ $1 = pull ] && exit 0\n{WAITS}", applies=1)
    async with started(runner, tmp_path / "pid"):
        output = await asyncio.wait_for(runner.run(["pull"], deadline=DEADLINE, applies=False), DEADLINE)
        assert output.exit_code == 0


async def test_no_more_processes_run_than_there_are_slots(helm: Make) -> None:
    runner = helm("sleep 0.05", processes=2)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, runner.slots.running)
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(runner.run(["upgrade"], deadline=DEADLINE) for _ in range(6)))
    watching.cancel()
    assert most == 2
    assert (runner.started, runner.slots.running, runner.slots.applying) == (6, 0, 0)


async def test_a_cancel_while_waiting_for_a_slot_starts_nothing(helm: Make, tmp_path: Path) -> None:
    """And takes no slot away from those that come after."""
    runner = helm(f"[ $1 = next ] && exit 0\n{WAITS}", applies=1)
    async with started(runner, tmp_path / "pid"):
        follower = asyncio.create_task(runner.run(["upgrade"], deadline=DEADLINE))
        await asyncio.sleep(0.05)
        await cancelled(follower)
        assert runner.started == 1
        (tmp_path / "go").touch()
        assert (await asyncio.wait_for(runner.run(["next"], deadline=DEADLINE), DEADLINE)).exit_code == 0


async def test_the_deadline_does_not_count_the_wait_for_a_slot(helm: Make, tmp_path: Path) -> None:
    runner = helm(f"[ $1 = next ] && exit 0\n{WAITS}", applies=1)
    async with started(runner, tmp_path / "pid"):
        follower = asyncio.create_task(runner.run(["next"], deadline=2.0))
        await asyncio.sleep(2.1)
        (tmp_path / "go").touch()
        assert (await follower).exit_code == 0


@pytest.mark.parametrize("end", ["well", "error", "deadline", "cancel"])
async def test_every_end_of_a_run_frees_its_slots(helm: Make, tmp_path: Path, end: str) -> None:
    runner = helm({"well": "exit 0", "error": "exit 1"}.get(end, POLITE), processes=1, applies=1)
    task = asyncio.create_task(runner.run(["upgrade"], deadline=0.2 if end == "deadline" else DEADLINE))
    if end == "cancel":
        await until(lambda: written(tmp_path / "pid"))
        task.cancel()
    with suppress(HelmError, asyncio.CancelledError):
        await task
    assert (runner.started, runner.slots.running, runner.slots.applying) == (1, 0, 0)
    async with asyncio.timeout(10), runner.slots.process(applies=True):
        assert (runner.slots.running, runner.slots.applying) == (1, 1)


# ---- what a killed operator left


async def orphan(folder: Path, script: str, *, identity: str) -> int:
    """A process of an earlier operator: in its own session, and not a child of this process."""
    sign = folder / f"orphan-{secrets.token_hex(4)}"
    environment = {"PATH": os.defpath, "SIGN": str(sign), "MANAGEDCHART_HELM_OF": identity}
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f"setsid sh -c {shlex.quote(script)} >/dev/null 2>&1 &", env=environment
    )
    await shell.wait()
    await until(lambda: written(sign))
    return pid_in(sign)


async def test_only_orphaned_helm_processes_are_ended(helm: Make, tmp_path: Path) -> None:
    """Not those of another operator on the same machine, and not its own."""
    script = f"echo $$ > $SIGN; exec sleep {FOR_EVER}"
    ours = await orphan(tmp_path, script, identity=str(tmp_path))
    others = await orphan(tmp_path, script, identity=f"{tmp_path}-other")
    try:
        async with started(helm(WAITS), tmp_path / "pid") as task:
            assert await runner_module.end_orphans(str(tmp_path)) == 1
            assert (alive(ours), alive(others), task.done()) == (False, True, False)
            assert await runner_module.end_orphans(str(tmp_path)) == 0
    finally:
        os.kill(others, signal.SIGKILL)


async def test_children_of_this_operators_helm_are_not_orphans(helm: Make, tmp_path: Path) -> None:
    async with started(helm(f"sleep {FOR_EVER} & echo $! > $HERE/child; wait"), tmp_path / "child"):
        assert await runner_module.end_orphans(str(tmp_path)) == 0
        assert alive(pid_in(tmp_path / "child"))


async def test_an_orphan_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "TERM_GRACE_SECONDS", 0.2)
    stubborn = await orphan(
        tmp_path, "trap '' TERM; echo $$ > $SIGN; while :; do sleep 0.05; done", identity=str(tmp_path)
    )
    assert await runner_module.end_orphans(str(tmp_path)) >= 1
    assert not alive(stubborn)


async def test_children_of_an_orphan_do_not_delay_the_start(tmp_path: Path) -> None:
    """Its helm has ended and it leads no process group; waiting for it once never ended."""
    child = await orphan(tmp_path, f"sleep {FOR_EVER} & echo $! > $SIGN", identity=str(tmp_path))
    await until(lambda: Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid()))
    assert await asyncio.wait_for(runner_module.end_orphans(str(tmp_path)), DEADLINE) == 1
    assert not alive(child)


async def test_without_orphans_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_sleep(_: float) -> None:
        pytest.fail("it waits")

    monkeypatch.setattr(asyncio, "sleep", no_sleep)
    assert await runner_module.end_orphans(str(tmp_path)) == 0
