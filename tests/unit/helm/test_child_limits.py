"""S11: a helm process ends at its limits, alone, and its chart is reported as too large. With the real helm."""

import os
import resource
import sys
from pathlib import Path

import pytest

from harness.chart_files import chart_files, write_chart
from managedchart_operator.errors import HelmError
from managedchart_operator.helm import child_limits
from managedchart_operator.helm.child_limits import MIB, ChildLimits
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots
from managedchart_operator.reasons import Reason

DEADLINE = 60.0
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


async def too_large(helm: HelmRunner, *arguments: str, applies: bool = True) -> HelmError:
    with pytest.raises(HelmError) as caught:
        pytest.fail(repr(await helm.run(arguments, deadline=DEADLINE, applies=applies)))
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
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    error = await too_large(helm, "template", "x", chart(tmp_path, template), applies=applies)
    assert error.message == f"Helm template needs more than {limit} MiB of memory for this chart"
    assert "MANAGEDCHART_HELM_MEMORY" in (error.hint or "")
    assert "memory" in error.text
    # ru_maxrss is the largest of all children, so one before it may have been larger. Helm's program is 40 MiB of it.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, (limit + 64 + 40) * 1024)


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
    assert error.message == "Helm package had to write a file of more than 1 MiB"


async def test_the_limits_hold_for_what_helm_starts(tmp_path: Path) -> None:
    """A post-renderer, a credential helper."""
    helm = runner(script(tmp_path, 'sleep 0.2; sh -c "ulimit -d; ulimit -f; ulimit -c; cat /proc/self/stat"'), tmp_path)
    output = await helm.run(["upgrade"], deadline=DEADLINE, keep_stdout=True)
    data, files, core, stat = output.stdout.decode().splitlines()
    assert (int(data) * 1024, int(files) * 512, core) == (512 * MIB, 64 * MIB, "0")
    assert int(stat.rpartition(")")[2].split()[16]) >= 5, "the nice value"


async def test_helm_is_ended_before_the_operator(tmp_path: Path) -> None:
    helm = runner(script(tmp_path, "sleep 0.2; cat /proc/self/oom_score_adj"), tmp_path)
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
