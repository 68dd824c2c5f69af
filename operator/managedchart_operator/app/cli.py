"""The command line: `managedchart-operator run`.

Boundary: settings from the environment, one command. Exit codes: 0 after a signal; 1 when the operator cannot start, with
the reason on stderr.
"""

import argparse
import asyncio
import logging
import sys

from pydantic import ValidationError

from managedchart_operator import __version__
from managedchart_operator.app.logs import configure
from managedchart_operator.app.operator import run
from managedchart_operator.app.settings import Settings
from managedchart_operator.errors import OperatorError


def main(arguments: list[str] | None = None) -> int:
    """Run the operator until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="managedchart-operator",
        description="Runs ManagedCharts with helm. Settings come from MANAGEDCHART_* variables, see docs/settings.md.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch ManagedCharts and bring them to the state that they ask for")
    parser.parse_args(arguments)
    try:
        settings = Settings()
    except ValidationError as error:
        for item in error.errors(include_url=False):
            name = "MANAGEDCHART_" + "_".join(map(str, item["loc"][:1])).upper()
            sys.stderr.write(f"error: {name}: {item['msg']}\n")
        return 1
    configure(level=settings.log_level, form=settings.log_format)
    try:
        asyncio.run(run(settings))
    except OperatorError as error:
        logging.getLogger(__name__).critical("cannot start: %s", error.message)
        return 1
    return 0
