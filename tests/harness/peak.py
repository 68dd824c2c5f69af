"""A program that runs helm, and writes to a file how many bytes of memory that had at most, as the kernel counts them.

    python -I -S peak.py FILE PROGRAM ARGUMENT...

The peak that the kernel reports for a child (`ru_maxrss`) includes what its parent had in memory when it started the child, as
the two share their memory until the child executes its program (vfork(2); setmax_mm_hiwater_rss in Linux's exec.c). So the
parent has to be small, and a process that runs tests is not: it may have had hundreds of megabytes.
"""

import os
import sys
import time
from pathlib import Path


def through(file: Path) -> list[str]:
    """Return the words before a program's own that make it run in here."""
    return [sys.executable, "-I", "-S", __file__, str(file)]


def _run(file: str, program: str, *arguments: str) -> int:
    # The operator limits the process that it has started, and what that starts from then on: its last step is this score.
    while Path("/proc/self/oom_score_adj").read_text() != "1000\n":
        time.sleep(0.001)
    _, status, usage = os.wait4(os.posix_spawn(program, [program, *arguments], os.environ), 0)
    Path(file).write_text(str(usage.ru_maxrss * 1024))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
