"""Logging: one line a transition, structured.

Boundary: format only. Invariant: what is logged never holds a value of a chart; texts from helm are redacted before.
"""

import logging
import sys
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from managedchart_operator.app.watch_end import RefusalsInOneLine


def configure(*, level: str, form: Literal["json", "text"]) -> None:
    """Send all logs to stderr in one form; kopf's own are kept to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "name_": "name"},
            )
        )
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)-7s %(where)s%(message)s", datefmt="%H:%M:%S"))
    handler.addFilter(RefusalsInOneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _TextFormatter(logging.Formatter):
    """Puts namespace/name before the message where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        name = getattr(record, "name_", None)
        record.where = f"[{record.namespace}/{name}] " if name else ""  # type: ignore[attr-defined]
        return super().format(record)
