"""`make run` works on the cluster of the current context, and leaves nothing behind but what it says."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conftest import DEVCLUSTER, REPOSITORY

RUN = REPOSITORY / "hack" / "run" / "run.py"
NAME = f"make-run-{os.getpid()}"


@pytest.fixture
def environment(tmp_path: Path, tools: Path) -> Iterator[dict[str, str]]:
    """A cluster without an operator and without the CRD, and the environment in which its context is the current one."""
    made = os.environ | {
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "DEVCLUSTER_BIN": str(tools),
        "TMPDIR": str(tmp_path),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "MANAGEDCHART_CHART_ROOTS": f'["{REPOSITORY}/examples/charts"]',
    }
    subprocess.run([DEVCLUSTER, "create", "cluster", "--name", NAME], env=made, check=True, capture_output=True)
    yield made
    subprocess.run([DEVCLUSTER, "delete", "cluster", "--name", NAME], env=made, check=True, capture_output=True)


def test_the_operator_runs_against_the_current_context(environment: dict[str, str], tmp_path: Path) -> None:
    chart = yaml.safe_load((REPOSITORY / "examples" / "01-path.yaml").read_text())
    chart["spec"]["chart"]["path"] = f"{REPOSITORY}/examples/charts/hello"

    with subprocess.Popen(
        [sys.executable, str(RUN)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        said = ""
        for line in run.stdout:
            said += line
            if "http port" in line:
                break
        assert run.poll() is None, said
        assert f"kind-{NAME} (looks local)" in said
        for arguments in (
            ["apply", "--server-side", "--filename=-"],
            ["wait", "managedchart", "--all", "--for=condition=Ready", "--timeout=60s"],
        ):
            subprocess.run(["kubectl", *arguments], env=environment, input=yaml.safe_dump(chart), text=True, check=True)
        # It is logged after the status is written, so a signal may come before it.
        assert any("Deployed: hello" in line for line in run.stdout)
        run.send_signal(signal.SIGTERM)
        run.stdout.read()

    assert run.returncode == 0
    assert list(tmp_path.glob("managedchart-run-*")) == []
