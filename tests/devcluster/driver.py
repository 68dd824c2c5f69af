"""How the tests drive devcluster: its command line with a state folder of its own, and a cluster seen through kubectl.

No test logic here, and nothing that imports devcluster's own code: the tests see what a user sees.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from peers import program

T = TypeVar("T")

DEVCLUSTER = Path(__file__).resolve().parents[2] / "hack" / "devcluster" / "devcluster"


@dataclass(frozen=True)
class Devcluster:
    """The command line, with a state folder and a kubeconfig of its own."""

    state: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    def folder(self, name: str) -> Path:
        return self.state / "managedchart-devcluster" / name

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = {"XDG_STATE_HOME": str(self.state), "KUBECONFIG": str(self.kubeconfig), **self.environment}
        return subprocess.run(
            [DEVCLUSTER, *arguments], env=os.environ | own, capture_output=True, text=True, timeout=150, check=False
        )

    def create(self, name: str) -> "Cluster":
        created = self("create", "cluster", "--name", name)
        assert created.returncode == 0, created.stderr
        return Cluster(name, self.kubeconfig, self.folder(name))

    def delete(self, name: str) -> None:
        deleted = self("delete", "cluster", "--name", name)
        assert deleted.returncode == 0, deleted.stderr


@dataclass(frozen=True)
class Cluster:
    """A running cluster, seen through kubectl."""

    name: str
    kubeconfig: Path
    folder: Path

    def kubectl(self, *arguments: str, body: object = None, options: tuple[str, ...] = ()) -> str:
        """Run kubectl and return what it prints; raises AssertionError with its words when it fails."""
        answer = self.try_kubectl(*arguments, body=body, options=options)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def try_kubectl(
        self, *arguments: str, body: object = None, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command, *options, *arguments],
            input=None if body is None else json.dumps(body),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` finds, decoded."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    @contextmanager
    def watch(self, *arguments: str) -> Iterator[Iterator[str]]:
        """The lines of `kubectl get --watch`, as they come; it is ended with the block."""
        command = [*self._command, "get", "--watch", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield iter(process.stdout)
            finally:
                process.terminate()

    @property
    def _command(self) -> list[str]:
        return [str(program("kubectl")), f"--kubeconfig={self.kubeconfig}", f"--context=kind-{self.name}"]

    def pids(self) -> dict[str, int]:
        """The recorded processes by name."""
        return {file.stem: json.loads(file.read_text())["pid"] for file in self.folder.glob("*.pid")}


def eventually(look: Callable[[], T], holds: Callable[[T], object], *, seconds: float = 15.0) -> T:
    """Look until it holds and return what was seen; the last look is in the failure's text."""
    deadline = time.monotonic() + seconds
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen}"
        time.sleep(0.1)
    return seen
