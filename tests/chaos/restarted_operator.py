"""The operator, started again whenever it ends, as a kubelet does.

Purpose: kills at any moment, also while it starts. Boundary: one process at a time. Invariant: an end that nobody asked for
is kept as a surprise, but for a start that finds no API server: that is what it should say, and end.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.operator_process import OperatorProcess

# What a start says that finds none, or one that has just started and refuses everybody until it has read its roles.
_NO_API_SERVER = (
    "Cannot start: Cannot list",
    "Cannot start: Cannot read",
    "Cannot start: The API server does not answer",
)
# A kubelet waits longer with each restart; here more restarts are better.
_PAUSE_SECONDS = 0.3


class RestartedOperator(OperatorProcess):
    """Starts, kills and restarts the operator from a thread of its own; use `kept_running`."""

    surprises: list[str]
    refused_starts = 0
    """Starts that ended because there was no API server."""

    @contextmanager
    def kept_running(self) -> Iterator[None]:
        """Keep it running until the block ends, then stop it."""
        self.surprises = []
        self._closing, self._pause = threading.Event(), threading.Event()
        self._asked = False
        self._down = 0.0
        thread = threading.Thread(target=self._keep, name="operator")
        thread.start()
        try:
            yield
        finally:
            self._closing.set()
            self.end(signal.SIGTERM, down=0.0)
            self._pause.set()
            thread.join()

    @property
    def logs(self) -> list[Path]:
        """The logs of all runs."""
        return sorted(self._folder.glob("operator-*.log"), key=lambda path: path.stat().st_mtime)

    def end(self, number: signal.Signals, *, down: float) -> bool:
        """Send a signal, and start again `down` seconds after it has ended; False where it does not run or ends already."""
        process = self._process
        if process is None or process.poll() is not None or (self._asked and number is signal.SIGTERM):
            return False
        self._down, self._asked = down, True
        process.send_signal(number)
        return True

    def _keep(self) -> None:
        while not self._closing.is_set():
            self._asked = False
            try:
                self.start()
            except AssertionError as error:
                self._ended(str(error))
                self._pause.wait(_PAUSE_SECONDS)
                continue
            assert self._process is not None
            if self._closing.is_set():  # it was told to end before there was a process to tell
                self.end(signal.SIGTERM, down=0.0)
            code = self._process.wait()
            self._ended(f"the operator ended by itself with exit code {code}:\n{self.log[-2000:]}")
            self._pause.wait(self._down)

    def _ended(self, what: str) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._asked:
            return
        if any(text in self.log for text in _NO_API_SERVER):
            self.refused_starts += 1
        else:
            self.surprises.append(what)
