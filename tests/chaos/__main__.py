"""`make chaos`: one long run, or several with seeds that follow each other.

Boundary: the command line. Exit code 1 when anything was wrong, with the seed that shows it again.
"""

import argparse
import secrets
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from chaos.run import Chaos
from conftest import DEVCLUSTER


def main() -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(prog="chaos", description="Kills everything at random and looks what is left.")
    parser.add_argument("--seed", type=int, help="make the actions of an earlier run again; default: a new seed")
    parser.add_argument("--seconds", type=float, default=90.0, help="how long actions go on (90)")
    parser.add_argument("--resources", type=int, default=20, help="how many ManagedCharts (20)")
    parser.add_argument("--runs", type=int, default=1, help="how many runs, with seeds that follow each other (1)")
    parser.add_argument("--settle", type=float, default=180.0, help="seconds in which everything must settle (180)")
    arguments = parser.parse_args()
    programs = Path(subprocess.check_output([str(DEVCLUSTER), "bin"], text=True).strip())
    helm = str(programs / "helm") if (programs / "helm").exists() else shutil.which("helm")
    if helm is None:
        sys.exit("helm is not built yet: run `make tools`")
    # Six digits are easy to copy.
    first = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000)
    failed = 0
    for seed in range(first, first + arguments.runs):
        chaos = Chaos(
            seed=seed,
            number=arguments.resources,
            seconds=arguments.seconds,
            settle=arguments.settle,
            kind=DEVCLUSTER,
            kubectl=programs / "kubectl",
            helm=helm,
        )
        wrong = chaos.run(partial(print, flush=True))
        for text in wrong:
            print(f"WRONG {text}")
        failed += bool(wrong)
        print(f"seed {seed}: {'FAILED' if wrong else 'good'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
