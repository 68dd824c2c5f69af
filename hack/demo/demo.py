#!/usr/bin/env python3
"""`make demo` and `make demo-stop`: the operator at work on a real control plane, without Docker.

    demo.py start    bring up what is missing, apply examples/, wait, show the outcome
    demo.py stop     end everything, and remove the folder

Everything is in ${XDG_STATE_HOME:-~/.local/state}/managedchart-demo and in the devcluster `managedchart-demo`. `stop` needs the
standard library only, so that it works after `make clean` and in another clone.
"""

import argparse
import shutil
import sys

import background
import cluster as clusters
from background import DemoError
from controlplane.errors import DevclusterError, in_words
from places import alone


def main() -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Show the operator at work on a development cluster.")
    parser.add_argument("command", choices=["start", "stop"])
    command = parser.parse_args().command
    try:
        if command == "stop":
            return stop()
        from start import start  # here, since it needs .venv

        return start()
    except (DemoError, DevclusterError) as error:
        return _failed(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        return _failed(in_words(error))
    except KeyboardInterrupt:
        print("\nInterrupted. `make demo` continues from here, `make demo-stop` cleans up.", file=sys.stderr)
        return 130


def stop() -> int:
    """End every process and remove everything that `start` has made."""
    with alone() as folder:
        for name in ("operator", "repository", "registry"):
            if process := background.find(name, folder):
                print(f"ending the {name}", flush=True)
                background.stop(process)
        background.end_children_of_the_operator(folder / "cache")
        clusters.take_down(folder)
        shutil.rmtree(folder)
    print("Nothing of the demo is left. (The programs that were built stay in the cache for the next time.)")
    return 0


def _failed(why: str) -> int:
    print(f"\nThe demo failed: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
