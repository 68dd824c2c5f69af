"""Stands between the operator and helm, and finds helm's processes.

Purpose: proves that no two helms worked on one release at once, and lets a test kill one. Boundary: knows helm's command
line as the operator writes it. Invariant: each helm holds the lock of its release exactly as long as it lives: the script takes
it and *becomes* helm, which inherits the open file, so that a kill -9 frees the lock as any other end does.
"""

import contextlib
import os
import signal
from pathlib import Path

# Only these change a release; `pull` and `version` may run at any time.
CHANGING = (b"upgrade", b"rollback", b"uninstall")
_MARKER = b"MANAGEDCHART_HELM_OF="
_SCRIPT = """#!/bin/sh
case "$1" in
upgrade | rollback | uninstall) ;;
*) exec '{helm}' "$@" ;;
esac
for argument; do
    case "$argument" in --namespace=*) release="${{argument#--namespace=}}/$2" ;; esac
done
exec 9>>'{folder}'/"$(echo "$release" | tr / +)"
flock --nonblock 9 || echo "OVERLAP $release: $1 (pid $$) began while another helm worked on it" >>'{folder}/log'
echo "$release $1 $$" >>'{folder}/log'
exec '{helm}' "$@"
"""


class HelmGuard:
    """The script that the operator takes for helm, and what it has seen. `identity` is the operator's cache folder."""

    def __init__(self, folder: Path, *, helm: str, identity: Path) -> None:
        folder.mkdir(parents=True)
        self._log = folder / "log"
        self._log.touch()
        self._marker = _MARKER + os.fsencode(identity.resolve())
        self.program = folder / "helm"
        self.program.write_text(_SCRIPT.format(helm=helm, folder=folder))
        self.program.chmod(0o755)

    @property
    def overlaps(self) -> list[str]:
        """What was begun on a release while another helm worked on it."""
        return [line for line in self._lines() if line.startswith("OVERLAP")]

    @property
    def started(self) -> int:
        """How many helms that change a release were started."""
        return len(self._lines()) - len(self.overlaps)

    def running(self) -> list[tuple[int, str]]:
        """Return the processes of helms that change a release, with what they do, oldest first.

        Each leads a session. What the script forks looks the same for a moment; killed, its `flock` told of an overlap.
        """
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            pid = int(folder.name)
            with contextlib.suppress(OSError):  # it has ended meanwhile
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                verb = next((i for i, text in enumerate(arguments[:3]) if text in CHANGING), None)
                if verb is None or os.getsid(pid) != pid:
                    continue
                if self._marker in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((pid, b" ".join(arguments[verb : verb + 2]).decode()))
        return sorted(found)

    def kill(self, chance: float) -> str | None:
        """`kill -9` one of the helms that run; returns what it did, or None where none runs."""
        running = self.running()
        if not running:
            return None
        pid, what = running[int(chance * len(running))]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return what

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines()
