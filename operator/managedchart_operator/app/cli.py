"""The command line: `managedchart-operator run`.

One command, no flags; the settings come from the environment (`settings`). Exit codes: 0 after a signal; 1 when the operator
cannot start or can no longer watch ManagedCharts, with the reason on stderr.
"""

import argparse
import asyncio
import logging
import os
import sys

from pydantic import ValidationError

from managedchart_operator import __version__
from managedchart_operator.app.logs import configure
from managedchart_operator.app.operator import run
from managedchart_operator.app.settings import PREFIX, Settings, unknown_variables
from managedchart_operator.errors import OperatorError, WatchEndedError

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the operator until a signal ends it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="managedchart-operator",
        description="Deploys ManagedCharts with Helm. Set it up by MANAGEDCHART_* variables: see docs/settings.md.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch ManagedCharts, and deploy what they specify")
    parser.parse_args(arguments)
    try:
        settings = Settings()
    except ValidationError as error:
        for item in error.errors(include_url=False):
            if item["type"] == "default_factory_not_called":
                continue  # the default of a setting that follows from a wrong one
            name = PREFIX + str(item["loc"][0]).upper()
            sys.stderr.write(f"error: {name}: {item['msg'].removeprefix('Value error, ')}; see docs/settings.md\n")
        return 1
    configure(level=settings.log_level, form=settings.log_format)
    for problem in unknown_variables(os.environ):
        logger.warning("%s", problem)
    try:
        asyncio.run(run(settings))
    except OperatorError as error:
        what = "Ended" if isinstance(error, WatchEndedError) else "Cannot start"
        logger.critical("%s: %s%s", what, error.message, f" ({error.hint})" if error.hint else "")
        return 1
    return 0
