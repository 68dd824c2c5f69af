"""`make demo` and `make demo-stop`: what needs no cluster. The rest is in tests/e2e/test_demo.py."""

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from managedchart_operator.helm import runner

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "hack" / "demo" / "demo.py"
sys.path.append(str(DEMO.parent))

import background  # noqa: E402 -- after the path to it
import start  # noqa: E402
from cluster import Cluster  # noqa: E402
from controlplane.toolchain import PROGRAMS  # noqa: E402

ENTRY_POINTS = "[managedchart.lifecycles]\nmine = my_lifecycles.mine:Mine\n"


def _demo(command: str, folder: Path, *, isolated: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"XDG_STATE_HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")} | more
    # -S: without the installed packages, as a Python outside of .venv.
    python = [sys.executable, *(["-S"] if isolated else [])]
    return subprocess.run(
        [*python, str(DEMO), command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def _script(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def test_stop_needs_no_package(tmp_path: Path) -> None:
    """`make clean` removes .venv while a demo may be running."""
    done = _demo("stop", tmp_path, isolated=True)

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "managedchart-demo").exists()


def test_a_state_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "managedchart-demo"
    file.touch()

    done = _demo("stop", tmp_path)

    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["\x7fELF cut off", "#!/bin/sh\nkill -SEGV $$\n"])
def test_a_damaged_program_is_named_with_its_remedy(tmp_path: Path, content: str) -> None:
    programs = tmp_path / "bin"
    for name in PROGRAMS:
        _script(programs / name, content if name == "etcd" else "#!/bin/sh\n")

    done = _demo("start", tmp_path, DEVCLUSTER_BIN=str(programs))

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"rm {programs / 'etcd'}" in done.stderr


def test_a_damaged_kubectl_is_named_with_its_remedy(tmp_path: Path) -> None:
    _script(tmp_path / "bin" / "kubectl", "#!/bin/sh\nkill -SEGV $$\n")

    with pytest.raises(background.DemoError, match=f"SIGSEGV.*\n  rm {tmp_path}/bin/kubectl"):
        Cluster(tmp_path / "bin", tmp_path).kubectl("version")


def test_last_failure_shows_the_remedy_before_the_evidence() -> None:
    stored = dict.fromkeys(sorted((*start.FIRST, "containers", "events", "helmError")), "x")

    assert list(start.ordered(stored, whole=True))[:4] == ["reason", "message", "hint", "rootCause"]
    assert list(start.ordered(stored, whole=True))[-3:] == ["containers", "events", "helmError"]
    assert list(start.ordered(stored, whole=False)) == list(start.FIRST)


def test_a_line_says_what_an_action_has_done() -> None:
    done = {"name": "new-pods", "state": "Succeeded", "message": "Restarted Deployment demo/a"}
    phases = [{"name": "Exec"}, {"name": "PostExec", "actions": [done, {"name": "later", "state": "Running"}]}]

    assert start.actions({"status": {"phases": phases}}) == [
        "PostExec  new-pods: Succeeded, Restarted Deployment demo/a",
        "PostExec  later: Running, ",
    ]


def test_helm_processes_are_found_by_the_operators_variable() -> None:
    assert background.HELM_OF == runner._MARKER


def test_a_helm_that_outlived_its_operator_is_ended(tmp_path: Path) -> None:
    environment = os.environ | {background.HELM_OF: str(tmp_path)}
    with (
        subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True) as helm,
        subprocess.Popen(["sleep", "60"], start_new_session=True) as other,
    ):
        background.end_children_of_the_operator(tmp_path)

        assert helm.wait(timeout=10) < 0
        assert other.poll() is None
        other.kill()


def test_a_changed_plugin_makes_another_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make demo` after `pip install` of a corrected package has to restart the operator."""
    package = tmp_path / "my_lifecycles"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").touch()
    info = tmp_path / "my_lifecycles-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lifecycles\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    assert package / "mine.py" not in start.plugin_files()

    monkeypatch.syspath_prepend(tmp_path)
    assert any(found.name == "my-lifecycles" for found in distributions())

    assert {package / "__init__.py", package / "mine.py"} <= set(start.plugin_files())
    assert "my_lifecycles.mine" not in sys.modules


def test_a_changed_module_makes_another_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make demo` after a change in the folder of MANAGEDCHART_PLUGIN_DIR has to restart the operator, too."""
    (tmp_path / "mine.py").touch()
    assert tmp_path / "mine.py" not in start.plugin_files()

    monkeypatch.setenv("MANAGEDCHART_PLUGIN_DIR", str(tmp_path))

    assert tmp_path / "mine.py" in start.plugin_files()


class _Api(Cluster):
    """A cluster in which only the first token of the operator's ServiceAccount is refused."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        if arguments[:2] == ("auth", "whoami") and "old" in self.operator_kubeconfig.read_text():
            raise background.DemoError("kubectl auth whoami: error: You must be logged in to the server (Unauthorized)")
        if arguments[:2] == ("config", "view"):
            return '{"contexts": [{"context": {}}]}'
        return "new"


def test_a_recreated_service_account_gets_a_new_token(tmp_path: Path) -> None:
    cluster = _Api(tmp_path, tmp_path)
    cluster.operator_kubeconfig.write_text("old")
    cluster.install()
    renewed = cluster.operator_kubeconfig.read_text()
    assert '"token": "new"' in renewed

    cluster.operator_kubeconfig.write_text(renewed + " ")
    cluster.install()

    assert cluster.operator_kubeconfig.read_text() == renewed + " "
