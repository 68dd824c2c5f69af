"""The form of the log: one line per record, as JSON or for people.

Only the form is decided here; callers redact helm's output before they log it, and never log a value of a chart. A defect
that recurs with each attempt on a resource is logged with one traceback.
"""

import logging
import sys
from collections import OrderedDict
from types import TracebackType
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from managedchart_operator.app.watch_end import RefusalsInOneLine


def configure(*, level: str, form: Literal["json", "text"]) -> None:
    """Send all logs to stderr in one form; kopf's own only from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OneTraceback())
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


# Defects times affected resources. Beyond this many, repeated tracebacks are the smaller problem.
_REMEMBERED = 1024


class OneTraceback(logging.Filter):
    """Replaces a traceback that was already logged for the same resource with its last line."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        # None where no exception is being handled.
        kind, error, trace = record.exc_info or (None, None, None)
        if kind is None:
            return True
        defect = (
            getattr(record, "namespace", None),
            getattr(record, "name_", None),
            record.getMessage(),
            kind,
            _place(trace),
        )
        if defect in self._logged:
            record.msg, record.args = (
                f"{record.getMessage()}: {kind.__name__}: {error} (traceback logged before)",
                (),
            )
            record.exc_info = record.exc_text = None
        self._logged[defect] = None
        self._logged.move_to_end(defect)
        if len(self._logged) > _REMEMBERED:
            self._logged.popitem(last=False)
        return True


def _place(trace: TracebackType | None) -> tuple[str, int] | None:
    """Return where an exception was raised."""
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno
