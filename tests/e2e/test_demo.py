"""`make demo` works, is quick the second time, heals what was killed, and `make demo-stop` leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY

DEMO = REPOSITORY / "hack" / "demo" / "demo.py"
# Two clusters may run beside this one on two cores.
COMMAND_SECONDS = 240.0


class Demo:
    """The demo with a state folder of the test's own, so that a demo of the user's goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "managedchart-demo"
        self._environment = os.environ | {"XDG_STATE_HOME": str(folder)}

    def __call__(self, command: str) -> str:
        done = subprocess.run(
            [sys.executable, str(DEMO), command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def processes(self) -> list[int]:
        """Every process that has our folder in its command line or environment, but for those that are ending."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                except OSError:
                    continue  # it has ended, or is not ours
                if str(self.folder.parent).encode() in text:
                    found.append(int(entry.name))
        return found

    def pids(self) -> dict[str, str]:
        """What is recorded of each process of the demo and of its cluster, by file."""
        return {file.name: file.read_text() for file in self.folder.parent.rglob("*.pid")}

    def pid(self, name: str) -> int:
        """The id of one of the demo's processes."""
        pid: int = json.loads((self.folder / f"{name}.pid").read_text())["pid"]
        return pid


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, helm_binary: str) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("state"))
    try:
        made("start")
        yield made
    finally:
        if made.folder.exists():
            made("stop")


@pytest.mark.timeout(300)
def test_the_demo_shows_charts_of_all_sources_and_why_one_failed(demo: Demo) -> None:
    answer = demo("start")

    table = [line.split() for line in answer.splitlines() if line.startswith("demo ")]
    ready = {columns[1] for columns in table if columns[2] == "True"}
    assert {"hello-from-path", "hello-from-repository", "hello-from-oci"} <= ready
    failed = {columns[1] for columns in table if columns[2] == "False"}
    assert failed == {"broken-image", "broken-crash", "broken-hook", "broken-size", "broken-values"}
    assert "PostExec  new-pods: Succeeded, Restarted Deployment demo/hello-restarted" in answer
    assert "there-is-no-such-image:1.0" in answer.partition("lastFailure:")[2]
    assert f"export KUBECONFIG={demo.folder / 'kubeconfig'}" in answer


@pytest.mark.timeout(300)
def test_a_second_start_reuses_what_runs(demo: Demo) -> None:
    """Its own three processes and those of the cluster, which makes it quick: 2 s on idle cores."""
    before = demo.pids()
    assert {"operator.pid", "repository.pid", "registry.pid", "etcd.pid", "kube-apiserver.pid"} <= before.keys()

    demo("start")

    assert demo.pids() == before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["operator", "repository", "registry"])
def test_a_start_brings_back_what_was_killed(demo: Demo, name: str) -> None:
    before = demo.pid(name)
    os.kill(before, signal.SIGKILL)

    demo("start")

    assert demo.pid(name) != before


@pytest.mark.timeout(300)
def test_stop_leaves_no_process_and_no_folder(demo: Demo) -> None:
    """Also where the operator was killed while it ran helm. Last, because it ends the demo of this module."""
    os.kill(demo.pid("operator"), signal.SIGKILL)

    demo("stop")

    assert not demo.folder.exists()
    assert demo.processes() == []
    assert list((demo.folder.parent / "managedchart-devcluster").glob("managedchart-demo*")) == []
