"""The operator as a process of its own, with the identity that deploy/ creates.

Purpose: e2e tests run the real program against the real API server and may kill it. Boundary: no shortcuts into its memory.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import urlopen

import yaml

from harness.cluster import WAIT_SECONDS, Cluster

SYSTEM_NAMESPACE = "managedchart-system"
SERVICE_ACCOUNT = "managedchart-operator"
# It takes 2 s on idle cores.
_START_SECONDS = 90.0
# For answers of the operator about itself, which take milliseconds.
_ANSWER_SECONDS = 30.0


def service_account_kubeconfig(cluster: Cluster, path: Path) -> Path:
    """Write a kubeconfig with a token of the operator's ServiceAccount."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = cluster.token(SYSTEM_NAMESPACE, SERVICE_ACCOUNT)
    entry = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(entry))
    path.chmod(0o600)
    return path


@dataclass(slots=True)
class Delays:
    """How long the event loop of an operator was blocked at most, in seconds, rounded up to a bucket of its metric."""

    longest: float = 0.0


class OperatorProcess:
    """Starts the operator, knows its log and its metrics, and ends it."""

    def __init__(
        self,
        *,
        kubeconfig: Path,
        folder: Path,
        helm: str,
        chart_roots: list[Path],
        python: Path = Path(sys.executable),
        **settings: str,
    ) -> None:
        self._folder = folder
        self._command = [str(python), "-P", "-m", "managedchart_operator", "run"]
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "MANAGEDCHART_HELM_BINARY": helm,
            "MANAGEDCHART_CACHE_DIR": str(folder / "cache"),
            "MANAGEDCHART_CHART_ROOTS": "[" + ",".join(f'"{root}"' for root in chart_roots) + "]",
            # The repositories and registries of the tests are on this machine.
            "MANAGEDCHART_CHART_ADDRESSES": '["127.0.0.1"]',
            "MANAGEDCHART_HTTP_HOST": "127.0.0.1",
            "MANAGEDCHART_HTTP_PORT": "0",
            "MANAGEDCHART_LOG_FORMAT": "text",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self.port = 0

    @property
    def log_path(self) -> Path:
        """The log of the present run."""
        return self._folder / f"operator-{self._starts}.log"

    @property
    def log(self) -> str:
        """What the present run has logged so far."""
        return self.log_path.read_text()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the operator and return when it is ready."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._starts += 1
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if (code := self._process.poll()) is not None or time.monotonic() > deadline:
                self.kill()  # `__exit__` is not called for a start that failed
                raise AssertionError(f"the operator did not start (exit code {code}):\n{self.log}")
            time.sleep(0.05)  # its port is known from its log only, and a file cannot be waited on
        return self

    def refusal(self, timeout: float = _START_SECONDS) -> str:
        """Start an operator that must refuse to, and return what it says; it ends with exit code 1 and no traceback."""
        self._folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            self._command,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1, f"exit code {done.returncode}:\n{said}"
        assert "Traceback" not in said, said
        return said

    def _ready(self) -> bool:
        if found := re.search(r"http port (\d+)", self.log):
            self.port = int(found[1])
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False
        return False

    def wait_logged(self, text: str) -> str:
        """Return the line of the present run's log with this text once it is there; it must be the only one."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := [line for line in self.log.splitlines() if text in line]):
            assert time.monotonic() < deadline, f"the operator does not log {text}:\n{self.log}"
            time.sleep(0.05)  # a file cannot be waited on
        [line] = found
        return line

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=_ANSWER_SECONDS) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found, f"there is no metric {name}"
        return float(found[1])

    @contextmanager
    def watching(self) -> Iterator["Delays"]:
        """Measure how long its event loop is blocked meanwhile, and print it."""
        found, before = Delays(), self._delays()
        yield found
        for limit, count in self._delays().items():
            if count > before[limit]:
                found.longest = limit
        print(f"event loop blocked for {found.longest} s at most")

    def _delays(self) -> dict[float, float]:
        """Return how often the loop was blocked for up to so many seconds, and for longer than the limit before."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=_ANSWER_SECONDS) as answer:
            text = answer.read().decode()
        buckets = re.findall(r'^managedchart_loop_blocked_seconds_bucket\{le="(\S+)"\} (\S+)$', text, re.MULTILINE)
        counts = [float(count) for _, count in buckets]
        return {
            float(limit): count - below
            for (limit, _), count, below in zip(buckets, counts, [0.0, *counts], strict=False)
        }

    def kill(self) -> None:
        """`kill -9` the operator."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = _START_SECONDS) -> int:
        """Return the exit code of an operator that ends by itself."""
        assert self._process is not None
        return self._process.wait(timeout)

    def stop(self, timeout: float = 40.0) -> int:
        """End the operator as Kubernetes does, and return its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
