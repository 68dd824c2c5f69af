"""Building the programs: once, whole, never twice at the same time, and not at all what the machine has already.

Go is played by a script, since a real build takes minutes; that the real one works is what all other tests rest on.
"""

import importlib
import os
import subprocess
from pathlib import Path

import pytest

from devcluster.driver import DEVCLUSTER

PROGRAMS = {
    "etcd", "helm", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "registry",
}  # fmt: skip

GO = """\
#!/bin/sh
case "$1" in
version) echo "go version go1.26.8 linux/amd64" ;;
list) echo "go: downloading a/module v1" >&2; echo a/package; echo another/package ;;
install)
  echo "$@" >> "$GO_CALLS"
  sleep "${GO_SECONDS:-0}"
  echo a/package >&2
  for argument; do
    case "$argument" in
    -*) ;;
    */server/v3) echo '#!/bin/sh' > "$GOBIN/server" ;;
    */*) echo '#!/bin/sh' > "$GOBIN/${argument##*/}" ;;
    esac
    case "$argument" in *"${GO_BREAKS_AT:-nothing}") echo "does not compile" >&2; exit 1 ;; esac
  done ;;
esac
"""


class Machine:
    """A machine with a fake Go, an empty cache, and no helm or kubectl but those that a test installs."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.path = folder / "path"
        self.path.mkdir()
        self.install("go", GO)
        self.environment = {
            "PATH": f"{self.path}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "GO_CALLS": str(self.calls),
            "HOME": str(folder),
        }
        # /usr/bin may hold a kubectl of any version; a misfit of our own stands before it.
        self.install("kubectl", '#!/bin/sh\necho \'{"gitVersion": "v1.20.0"}\'\n')
        self.install("helm", "#!/bin/sh\necho v3.19.0\n")

    def install(self, name: str, script: str) -> Path:
        file = self.path / name
        file.write_text(script)
        file.chmod(0o755)
        return file

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [DEVCLUSTER, *arguments], env=os.environ | self.environment | more,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **more)
        out, words = process.communicate(timeout=60)
        return process.returncode, out.strip(), words

    @property
    def installs(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A fresh machine."""
    monkeypatch.delenv("DEVCLUSTER_BIN", raising=False)
    return Machine(tmp_path)


def test_a_build_makes_every_program_and_says_where(machine: Machine) -> None:
    code, folder, words = machine.run("build")
    assert code == 0, words
    assert {path.name for path in Path(folder).iterdir()} == PROGRAMS
    assert machine.run("bin")[1] == folder


def test_what_is_built_is_not_built_again(machine: Machine) -> None:
    machine.run("build")
    calls = machine.installs
    assert machine.run("build")[::2] == (0, "")
    assert machine.installs == calls


def test_helm_is_built_first(machine: Machine) -> None:
    """It is small, and most work on the project needs nothing else."""
    code, _, words = machine.run("build", GO_BREAKS_AT="kwok")
    assert code == 1
    assert "does not compile" in words
    assert [path.name for path in Path(machine.run("bin")[1]).iterdir()] == ["helm"]


def test_a_half_done_build_is_continued_not_taken_for_a_whole_one(machine: Machine) -> None:
    machine.run("build", GO_BREAKS_AT="kwok")
    code, folder, words = machine.run("build")
    assert code == 0, words
    assert {path.name for path in Path(folder).iterdir()} == PROGRAMS
    assert "cmd/helm" not in machine.installs[-1]


def test_one_program_is_built_alone(machine: Machine) -> None:
    """`make run` needs helm and no control plane."""
    code, folder, words = machine.run("build", "helm")
    assert code == 0, words
    assert [path.name for path in Path(folder).iterdir()] == ["helm"]
    assert machine.run("build", "hlem")[0] == 1


def test_a_damaged_helm_on_path_is_passed_over(machine: Machine) -> None:
    machine.install("helm", "\x7fELF cut off")
    code, folder, words = machine.run("build", "helm")
    assert code == 0, words
    assert (Path(folder) / "helm").exists()


def test_a_cache_that_is_a_file_is_named(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    code, _, words = machine.run("build")
    assert code == 1
    assert str(tmp_path / "cache") in words
    assert "Traceback" not in words


def test_two_builds_at_once_build_once(machine: Machine) -> None:
    builds = [machine.start("build", GO_SECONDS="1") for _ in range(2)]
    words = [build.communicate(timeout=60)[1] for build in builds]
    assert [build.returncode for build in builds] == [0, 0], words
    assert len(machine.installs) == 2  # helm, then the others
    assert sum("waiting for another build" in text for text in words) == 1


def test_fitting_programs_of_the_machine_are_used_as_they_are(machine: Machine) -> None:
    helm = machine.install("helm", "#!/bin/sh\necho v4.3.0\n")
    kubectl = machine.install("kubectl", '#!/bin/sh\necho \'{"gitVersion": "v1.36.4"}\'\n')
    code, folder, words = machine.run("build")
    assert code == 0, words
    assert (Path(folder) / "helm").resolve() == helm
    assert (Path(folder) / "kubectl").resolve() == kubectl
    assert f"using helm of this machine: {helm}" in words
    assert "cmd/helm" not in " ".join(machine.installs)
    helm.unlink()
    _, _, words = machine.run("build")
    assert "cmd/helm" in machine.installs[-1], words


def test_the_long_build_tells_how_far_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also while the compiler is silent, as it is when it links."""
    monkeypatch.syspath_prepend(str(DEVCLUSTER.parent))
    toolchain = importlib.import_module("controlplane.toolchain")
    monkeypatch.setattr(toolchain, "PROGRESS_SECONDS", 0.4)
    for name, text in {**machine.environment, "GO_SECONDS": "1.4"}.items():
        monkeypatch.setenv(name, text)
    toolchain.build()
    words = capsys.readouterr().err
    assert "devcluster: building helm: 0 of at most 2 packages, 0:00" in words
    assert "kube-apiserver, kube-controller-manager, kube-scheduler, kwok: 0 of at most 2 packages, 0:01" in words


def test_the_pinned_versions_are_told_to_the_linker(machine: Machine) -> None:
    machine.run("build")
    (helm, others) = machine.installs
    assert "-X helm.sh/helm/v4/internal/version.version=v4.3.1" in helm
    assert "-X k8s.io/component-base/version.gitVersion=v1.37.2" in others
    assert "-trimpath" in others


def test_a_folder_of_programs_that_was_given_is_never_built_into(machine: Machine, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    code, _, words = machine.run("build", DEVCLUSTER_BIN=str(given))
    assert code == 1
    assert "lacks helm, registry, etcd" in words
    assert machine.installs == []
