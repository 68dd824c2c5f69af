"""`make upgrade-path OLD=<commit>`.

Boundary: the command line. Exit code 1 if a check has failed; then the logs of both operators stay.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from conftest import DEVCLUSTER
from upgrade_path.old_operator import commit_of
from upgrade_path.run import run


def main() -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(prog="upgrade_path", description="Upgrades the operator from an earlier commit.")
    parser.add_argument("--old", required=True, help="the commit of the earlier operator")
    arguments = parser.parse_args()
    try:
        commit = commit_of(arguments.old)
    except subprocess.CalledProcessError:
        parser.error(f'"{arguments.old}" is not a commit of this repository; write OLD=<commit>')
    programs = Path(subprocess.check_output([str(DEVCLUSTER), "bin"], text=True).strip())
    checks = run(commit, kind=DEVCLUSTER, kubectl=programs / "kubectl", helm=programs / "helm", say=progress)
    print(f"upgrade from {commit}")
    for check in checks:
        print(check)
    return 0 if all(check.good for check in checks) else 1


def progress(text: str) -> None:
    """Print what goes on; the table goes to stdout."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
