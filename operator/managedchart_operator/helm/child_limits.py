"""The limits of a helm process and of what it starts, and what it means when one of them ends it.

A chart's templates, values and index of a repository decide what helm needs, so its author could take the memory of the whole
pod, whose containers the kernel ends together (memory.oom.group), or a CPU for ever. A process that exceeds a limit ends alone,
and its chart is reported as too large.

The limits are set on the process right after its start, before any other callback of the event loop: helm has used 0.1 ms of
CPU by then. With limits that come 60 ms late a template can take any amount of memory, with 40 ms it cannot (measured, 4.3.1).
A function that Python runs in the child before the program would make every start a fork of the operator, which is slow and
not safe with threads; a program in between that limits itself would be a shell, which the image does not need otherwise, or a
start of Python. What helm starts later inherits them.

RLIMIT_DATA counts the memory that a process may write to. The kernel does not check it when Go makes reserved addresses
writable, as it does for its heap, but at the next request for memory: one that grows in small steps ends at the limit, and one
large text of any size is allocated (measured, Linux 6.18). So the addresses are limited too (RLIMIT_AS), by as much as Go
reserves in addition. kube-prometheus-stack renders within 192 MiB (measured with 4.3.1). GOMEMLIMIT makes the garbage collector
work harder before the limit is reached.
Source: Go's runtime (malloc.go, signal_unix.go, sigtab_linux_generic.go), getrlimit(2).
"""

import contextlib
import os
import re
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from managedchart_operator.api import annotations
from managedchart_operator.errors import HelmError
from managedchart_operator.reasons import Reason

MIB = 1024 * 1024
DEFAULT_MEMORY_BYTES = 512 * MIB
# Pulls and listing CRDs need less (the CRDs of kube-prometheus-stack 128 MiB, measured), and there are more of them at once.
# One that needs more runs once again in an apply slot.
LIGHT_MEMORY_BYTES = 192 * MIB
SMALLEST_MEMORY_BYTES = LIGHT_MEMORY_BYTES
# The addresses that helm reserves and cannot write to: 1188 to 1236 MiB (measured with 4.3.1, built with Go 1.26 for amd64; the
# heap's arenas have 64 MiB each). With too few Go does not start, which `binary.check_version` would notice.
_RESERVED_BYTES = 1250 * MIB
# The largest known index of a repository has 30 MB. helm writes such files, charts (20 MiB at most) and what the API server
# serves; the output goes through pipes, which do not count.
FILE_BYTES = 64 * MIB
# Rendering and applying the largest charts takes 2 s of CPU; waiting for hooks for a day takes less than this.
CPU_SECONDS = 900
# The operator's own process goes first where both want the CPU; among helm processes nothing changes.
_NICE = 5
# The kernel ends those with the highest score first; 1000 is the highest.
_OOM_SCORE = "1000"
# Rendering the largest public charts takes 1 s, and `lookup` asks the API server.
RENDER_SECONDS = 120.0
# helm may have to wait for an API server that is slow, and builds and compares all objects after it has rendered them.
_DRY_RUN_ALLOWANCE_SECONDS = 120.0

_OUT_OF_MEMORY = re.compile(
    r"^(?:fatal error|runtime): [^\n]{0,80}(?:out of memory|cannot allocate memory)", re.MULTILINE
)
_FILE_TOO_LARGE = re.compile(r"^SIGXFSZ: |: file too large$", re.MULTILINE)
_SMALLER = "Make the chart or its values smaller"


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a helm process may use. `memory` is in bytes, for one that renders or applies."""

    memory: int = DEFAULT_MEMORY_BYTES
    render_seconds: float = RENDER_SECONDS
    """How long helm may render a chart, whatever its `--timeout`."""

    @property
    def dry_run_seconds(self) -> float:
        """How long a command may take that renders and waits for nothing."""
        return self.render_seconds + _DRY_RUN_ALLOWANCE_SECONDS

    def memory_of(self, *, applies: bool) -> int:
        """Return the memory of a process with an apply slot, or without one."""
        return self.memory if applies else min(LIGHT_MEMORY_BYTES, self.memory)

    def apply_to(self, pid: int, *, memory: int) -> None:
        """Limit a process that has just been started, and what it will start; do nothing if it has ended."""
        limits = {
            resource.RLIMIT_DATA: (memory, memory),
            resource.RLIMIT_AS: (_RESERVED_BYTES + memory, _RESERVED_BYTES + memory),
            resource.RLIMIT_FSIZE: (FILE_BYTES, FILE_BYTES),
            # At the first of the two Go would get a signal, which it ignores (measured).
            resource.RLIMIT_CPU: (CPU_SECONDS, CPU_SECONDS),
            resource.RLIMIT_CORE: (0, 0),
        }
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for name, value in limits.items():
                resource.prlimit(pid, name, value)
            # The group has all threads of the process; by its id only the first one would be meant.
            os.setpriority(os.PRIO_PGRP, pid, _NICE)
            Path(f"/proc/{pid}/oom_score_adj").write_text(_OOM_SCORE)

    def check(self, stderr: str, *, exit_code: int, command: str, memory: int, cpu_seconds: float) -> None:
        """Raise HelmError (CHART_TOO_LARGE) if a limit has ended a process.

        `cpu_seconds` is what all processes have used that have ended since this one started, since its own part is not known.
        """
        if exit_code == 0:
            return
        if exit_code == 2 and _OUT_OF_MEMORY.search(stderr):
            raise too_large(
                f"Helm {command} needs more than {memory // MIB} MiB of memory for this chart",
                hint=f"{_SMALLER}, or raise the operator's setting MANAGEDCHART_HELM_MEMORY.",
                text=stderr,
            )
        if exit_code == -signal.SIGKILL and cpu_seconds > CPU_SECONDS - 1:
            raise too_large(
                f"Helm {command} needs more than {CPU_SECONDS} s of CPU time for this chart",
                hint=f"{_SMALLER}.",
                text=stderr,
            )
        if _FILE_TOO_LARGE.search(stderr):
            raise too_large(
                f"Helm {command} tried to write a file of more than {FILE_BYTES // MIB} MiB",
                hint="Use a repository with a smaller index, an OCI registry, or a smaller chart.",
                text=stderr,
            )

    def not_rendered(self, command: str) -> HelmError:
        """Return the error for a chart that is not rendered in time."""
        return too_large(
            f"Helm {command} did not finish rendering within {self.render_seconds:g} s and was stopped",
            hint=f"{_SMALLER}, or raise the operator's setting MANAGEDCHART_RENDER_SECONDS. If the API server was slow, set "
            f"the annotation {annotations.RETRY} to a new value.",
        )


def memory_environment(memory: int) -> dict[str, str]:
    """Return the variable by which Go's garbage collector keeps within a limit; it does not count what is not its heap."""
    return {"GOMEMLIMIT": f"{memory * 4 // 5 // MIB}MiB"}


def too_large(message: str, *, hint: str, text: str = "") -> HelmError:
    """Return the error for a chart that needs more than helm may use; of helm's text only the first line is kept."""
    first = next((line for line in text.splitlines() if line.startswith(("fatal error", "runtime:", "SIGX"))), "")
    return HelmError(message, reason=Reason.CHART_TOO_LARGE, transient=False, text=first[:200], exit_code=2, hint=hint)
