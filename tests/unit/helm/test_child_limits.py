"""S11: a helm process ends at its limits, alone, and its chart is reported as too large. With the real helm."""

import asyncio
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from harness import peak
from harness.chart_files import chart_files, write_chart
from managedchart_operator.errors import HelmError
from managedchart_operator.helm import child_limits
from managedchart_operator.helm.child_limits import MIB, ChildLimits
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason

# A niced helm may get a tenth of a core.
DEADLINE = 150.0
# The limits are set right after the start; their last step is this score.
LIMITED = "until [ $(cat /proc/$$/oom_score_adj) = 1000 ]; do :; done; "
# 1 GB, of a template with 100 bytes: in one piece, which the kernel does not count when it is made, and in many.
ONE_TEXT = 'a: {{ repeat 10000 (repeat 100000 "a") | len }}\n'
MANY_TEXTS = (
    '{{ $all := list }}{{ range until 10000 }}{{ $all = append $all (repeat 100000 "a") }}{{ end }}a: {{ len $all }}\n'
)
CPU = "{{ range until 1000000 }}{{ range until 1000000 }}{{ end }}{{ end }}"


def runner(program: str, tmp_path: Path, limits: ChildLimits | None = None) -> HelmRunner:
    slots = HelmSlots(processes=1, applies=1, free_memory=lambda: sys.maxsize)
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "HERE": str(tmp_path)}
    return HelmRunner(program, environment, slots, identity=str(tmp_path), limits=limits or ChildLimits())


def script(tmp_path: Path, text: str) -> str:
    program = tmp_path / "helm"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def children() -> set[int]:
    """Return the processes that this one has started; none is waited for in between."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            found |= set(map(int, (task / "children").read_text().split()))
    return found


async def too_large(helm: HelmRunner, *arguments: str, applies: bool = True, through: Sequence[str] = ()) -> HelmError:
    with pytest.raises(HelmError) as caught:
        pytest.fail(repr(await helm.run(arguments, deadline=DEADLINE, applies=applies, through=through)))
    assert (caught.value.reason, caught.value.transient) == (Reason.CHART_TOO_LARGE, False)
    assert len(caught.value.text) <= 200
    return caught.value


def chart(tmp_path: Path, template: str) -> str:
    return str(write_chart(tmp_path / "chart", {**chart_files(), "templates/bomb.yaml": template}))


@pytest.mark.parametrize("template", [ONE_TEXT, MANY_TEXTS], ids=["one text", "many texts"])
@pytest.mark.parametrize(("applies", "limit"), [(True, 256), (False, 192)])
async def test_a_template_cannot_take_more_memory_than_the_limit(
    helm_binary: str, tmp_path: Path, template: str, limit: int, *, applies: bool
) -> None:
    helm = runner(helm_binary, tmp_path, ChildLimits(memory=256 * MIB))
    measured = tmp_path / "peak"
    error = await too_large(
        helm, "template", "x", chart(tmp_path, template), applies=applies, through=peak.through(measured)
    )
    assert error.message == f"Helm template needs more than {limit} MiB of memory for this chart"
    assert "MANAGEDCHART_HELM_MEMORY" in (error.hint or "")
    assert "memory" in error.text
    assert int(measured.read_text()) <= (limit + 64) * MIB, "what docs/security.md promises"


async def test_the_peak_is_that_of_the_program(tmp_path: Path) -> None:
    """The kernel also counts what this process had in memory, which many tests before this one may have made large."""
    own = bytearray(os.urandom(MIB)) * 256
    measured = tmp_path / "peak"
    await runner(script(tmp_path, "exit 0"), tmp_path).run(["x"], deadline=DEADLINE, through=peak.through(measured))
    assert int(measured.read_text()) < 64 * MIB < len(own)


async def test_no_turn_of_the_event_loop_comes_before_the_limits(tmp_path: Path) -> None:
    """What else it does may take so long that helm would have rendered its chart by then."""
    loop, seen, before = asyncio.get_running_loop(), [], children()

    def turn() -> None:
        for pid in children() - before:
            with suppress(ProcessLookupError):
                seen.append(resource.prlimit(pid, resource.RLIMIT_AS)[0])
        if not done:
            loop.call_soon(turn)

    done = False
    loop.call_soon(turn)
    await runner(script(tmp_path, "sleep 0.1"), tmp_path).run(["x"], deadline=DEADLINE)
    done = True
    assert seen
    assert resource.RLIM_INFINITY not in seen


async def test_helm_does_not_run_without_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they cannot be set, it is ended."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "prlimit", refuse)
    before = children()
    with pytest.raises(HelmError, match="Helm cannot be started: Operation not permitted"):
        await runner(script(tmp_path, "sleep 300"), tmp_path).run(["x"], deadline=DEADLINE)
    assert children() <= before  # a worker of other tests may end meanwhile


async def test_a_template_cannot_use_the_cpu_for_ever(
    helm_binary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_limits, "CPU_SECONDS", 2)
    error = await too_large(runner(helm_binary, tmp_path), "template", "x", chart(tmp_path, CPU))
    assert error.message == "Helm template needs more than 2 s of CPU time for this chart"


async def test_helm_cannot_write_large_files(helm_binary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_limits, "FILE_BYTES", MIB)
    source = Path(chart(tmp_path, "a: b\n"))
    (source / "random").write_bytes(os.urandom(2 * MIB))
    error = await too_large(runner(helm_binary, tmp_path), "package", str(source), f"--destination={tmp_path}")
    assert error.message == "Helm package tried to write a file of more than 1 MiB"


async def test_the_limits_hold_for_what_helm_starts(tmp_path: Path) -> None:
    """A post-renderer, a credential helper."""
    helm = runner(script(tmp_path, LIMITED + 'sh -c "ulimit -d; ulimit -f; ulimit -c; cat /proc/self/stat"'), tmp_path)
    output = await helm.run(["upgrade"], deadline=DEADLINE, keep_stdout=True)
    data, files, core, stat = output.stdout.decode().splitlines()
    assert (int(data) * 1024, int(files) * 512, core) == (512 * MIB, 64 * MIB, "0")
    assert int(stat.rpartition(")")[2].split()[16]) >= 5, "the nice value"


async def test_helm_is_ended_before_the_operator(tmp_path: Path) -> None:
    helm = runner(script(tmp_path, LIMITED + "cat /proc/self/oom_score_adj"), tmp_path)
    assert (await helm.run(["upgrade"], deadline=DEADLINE, keep_stdout=True)).stdout == b"1000\n"


async def test_the_garbage_collector_knows_the_limit(tmp_path: Path) -> None:
    """An administrator's own GOMEMLIMIT stays."""
    program = script(tmp_path, "echo $GOMEMLIMIT")
    helm = runner(program, tmp_path, ChildLimits(memory=1000 * MIB))
    assert (await helm.run(["upgrade"], deadline=DEADLINE, keep_stdout=True)).stdout == b"800MiB\n"
    assert (await helm.run(["pull"], deadline=DEADLINE, keep_stdout=True, applies=False)).stdout == b"153MiB\n"
    own = HelmRunner(program, {**helm.environment, "GOMEMLIMIT": "64MiB"}, helm.slots, identity="x")
    assert (await own.run(["upgrade"], deadline=DEADLINE, keep_stdout=True)).stdout == b"64MiB\n"


async def test_the_words_of_a_chart_do_not_count(tmp_path: Path) -> None:
    """Go ends with exit code 2 when the memory is exhausted, helm with 1."""
    helm = runner(script(tmp_path, 'echo "fatal error: runtime: out of memory" >&2; exit 1'), tmp_path)
    assert (await helm.run(["upgrade"], deadline=DEADLINE)).exit_code == 1
