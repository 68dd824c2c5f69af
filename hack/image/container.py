"""Runs the operator's image in a container: a program of it to its end, or the operator for as long as a test lasts.

It knows nothing of clusters. Every wait has a deadline, and the container is always removed.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import Confinement, Engine, ImageError

# A start takes a second or two; this is for an overloaded machine.
START_SECONDS = 120


@dataclass
class Operator:
    """The running operator: a client of the engine in the foreground. Use `operator`."""

    engine: Engine
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, url: str) -> None:
        """Return when the URL answers with 200. Raises ImageError when it does not, or the operator ends."""
        deadline = time.monotonic() + START_SECONDS
        # An HTTP answer cannot be watched, only asked for; a kubelet does the same.
        while not _answers(url):
            if self.process.poll() is not None:
                raise ImageError(f"the operator ended with exit code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise ImageError(f"{url} was not answered within {START_SECONDS} s")
            time.sleep(0.1)

    def stop(self, *, grace: int) -> float:
        """Send SIGTERM as a kubelet does and return the seconds until the end.

        Raises ImageError when the operator does not end within the grace, or not with exit code 0.
        """
        started = time.monotonic()
        os.kill(self._signalled(), signal.SIGTERM)
        try:
            code = self.process.wait(timeout=grace)
        except subprocess.TimeoutExpired as error:
            raise ImageError(f"the operator still runs {grace} s after SIGTERM") from error
        if code:
            raise ImageError(f"the operator ended with exit code {code} after SIGTERM")
        return time.monotonic() - started

    def log_end(self) -> str:
        """The last lines that the operator wrote, each cut: one JSON line can hold a whole traceback."""
        return "\n".join(line[:1000] for line in self.log.read_text(errors="replace").splitlines()[-40:])

    def _signalled(self) -> int:
        """Whom to send a signal: docker and podman pass it on; buildah would kill, so the operator itself."""
        if self.engine.passes_signals_on:
            return self.process.pid
        for pid in _descendants(self.process.pid):
            # Between the client and the program are further processes of buildah, named buildah-chroot-…
            if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"buildah"):
                return pid
        raise ImageError("the operator's process cannot be found")


@contextmanager
def operator(engine: Engine, image: str, confinement: Confinement, *, log: Path) -> Iterator[Operator]:
    """The operator's container for the length of the block; on an error the end of its log is shown."""
    name = f"managedchart-image-test-{os.getpid()}"
    engine.prepare(image, name=name)
    command = engine.command(image, name=name, confinement=confinement, arguments=("run",))
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    running = Operator(engine, process, log)
    try:
        yield running
    except ImageError:
        print(f"The operator's log ends with:\n{running.log_end()}", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        engine.remove(name)


def output_of(engine: Engine, image: str, confinement: Confinement, *, program: Sequence[str]) -> str:
    """Run a program of the image to its end and return what it prints. Raises ImageError."""
    name = f"managedchart-image-proof-{os.getpid()}"
    engine.prepare(image, name=name)
    try:
        command = engine.command(image, name=name, confinement=confinement, program=program)
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    finally:
        engine.remove(name)
    if done.returncode:
        raise ImageError(f"{program[0]} in the image ended with exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _descendants(pid: int) -> list[int]:
    # Of each thread: a Go program starts its children from any.
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for words in lists for child in words.split()]
    return children + [further for child in children for further in _descendants(child)]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
