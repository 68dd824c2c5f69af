"""The command line: `python -m benchmark run | compare | scale | independence | failures | checks | impersonation`.

Prints a table and, as its last line, the same as JSON; progress goes to stderr.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark import checks, compare, failures, impersonation, independence, phases, results, scale


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 1 where a goal that the command knows is missed."""
    parser = argparse.ArgumentParser(
        prog="benchmark", description="The operator beside plain helm, on a fresh cluster."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="install, noop, upgrade, restart, delete, each beside plain helm")
    run.add_argument("--n", type=int, default=100, help="how many releases (100)")
    run.add_argument("--rounds", type=int, default=2, help="how often operator and helm alternate in a phase (2)")
    run.add_argument("--audit", action="store_true", help="let the API server log and count all requests")
    of = commands.add_parser("compare", help="the newest two runs, or two files")
    of.add_argument("files", nargs="*", type=Path, metavar="FILE", help="the old and the new run")
    many = commands.add_parser("scale", help="one operator with thousands of resources that are in sync")
    many.add_argument("--n", type=int, default=5000, help="how many resources (5000)")
    many.add_argument("--changes", type=int, default=100, help="how many single changes to measure (100)")
    apart = commands.add_parser("independence", help="releases that wait for ever beside others that do not")
    apart.add_argument("--waiting", type=int, default=30)
    apart.add_argument("--others", type=int, default=50)
    causes = commands.add_parser("failures", help="how soon a bad image is named, and how soon a fix is under way")
    causes.add_argument("--runs", type=int, default=10, help="how many of each (10)")
    again = commands.add_parser("checks", help="resources whose checks run again every minute")
    again.add_argument("--n", type=int, default=500, help="how many resources (500)")
    other = commands.add_parser("impersonation", help="installs as a ServiceAccount beside installs as the operator")
    other.add_argument("--n", type=int, default=100, help="how many installs in a turn (100)")
    other.add_argument("--pairs", type=int, default=5, help="how many pairs of turns (5)")
    given = parser.parse_args(arguments)
    match given.command:
        case "run":
            document = phases.run(n=given.n, rounds=given.rounds, audited=given.audit).document()
            return _tell("phases", document, results.table)
        case "scale":
            return _tell("scale", scale.run(n=given.n, changes=given.changes), scale.table)
        case "independence":
            document = independence.run(waiting=given.waiting, others=given.others)
            return _tell("independence", document, independence.table)
        case "failures":
            return _tell("failures", failures.run(runs=given.runs), failures.table)
        case "checks":
            return _tell("checks", checks.run(n=given.n), checks.table)
        case "impersonation":
            document = impersonation.run(n=given.n, pairs=given.pairs)
            return _tell("impersonation", document, impersonation.table)
        case _:
            return _compare(given.files)


def _tell(kind: str, document: dict[str, Any], table: Callable[[dict[str, Any]], str]) -> int:
    file = results.keep(kind, document)
    print(table(document))
    print(f"\nkept as {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")
    print(json.dumps(document))
    return 0


def _compare(files: list[Path]) -> int:
    if len(files) not in (0, 2):
        print("error: name two files, or none for the newest two runs")
        return 2
    try:
        old, new = files or compare.newest_two()
    except compare.NothingToCompareError as error:
        print(f"error: {error}")
        return 1
    print(f"old: {old}\nnew: {new}\n")
    print(compare.compare(json.loads(old.read_text()), json.loads(new.read_text())))
    return 0
