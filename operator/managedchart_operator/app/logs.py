"""The form of the log: one line per record, as JSON or for people.

Callers redact helm's output before they log it, and never log a value of a chart. A defect is logged with one traceback,
however many resources meet it, and what the API server refuses kopf with none. How much is logged about a resource is bounded
(`log_limits`).
"""

import logging
import sys
import time
import traceback
from typing import Literal

import kopf
from kopf._cogs.clients.errors import APIError  # kopf raises it but does not export it
from pythonjsonlogger.json import JsonFormatter

from managedchart_operator.app.log_limits import NotTooMany
from managedchart_operator.redaction import Redactor, printable


def configure(*, level: str, form: Literal["json", "text"]) -> None:
    """Send all logs to stderr in one form; kopf's own only from warnings up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OneTraceback())
    handler.addFilter(RefusalsInOneLine())
    handler.addFilter(NotTooMany())
    handler.addFilter(Redacted())
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "name_": "name"},
            )
        )
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)-7s %(where)s%(message)s", datefmt="%H:%M:%S"))
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
        # Whoever wrote a part of the message must not be able to begin a line of the log.
        return super().format(record).replace("\n", "\n    ")


class RefusalsInOneLine(logging.Filter):
    """Removes the traceback when kopf logs a refusal by the API server; the message says what was refused."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        refusals = (APIError, kopf.LoginError)
        if record.name.startswith("kopf") and record.exc_info and isinstance(record.exc_info[1], refusals):
            record.exc_info = record.exc_text = None
        return True


class Redacted(logging.Filter):
    """Removes secrets from tracebacks and from warnings, which may repeat the text of any exception.

    A record that is about a resource has a `redact` that knows its secrets; whatever looks like a credential is removed anyway.
    """

    _redact = Redactor()

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        redact = record.__dict__.pop("redact", self._redact)
        if record.levelno >= logging.WARNING:
            record.msg, record.args = redact(record.getMessage()), ()
        elif not (message := record.getMessage()).isprintable():
            record.msg, record.args = printable(message), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None
        return True


# The operator has far fewer places that can raise.
_REMEMBERED = 1024
# The log of the first one may be rotated away.
_AGAIN_SECONDS = 24 * 3600.0


class OneTraceback(logging.Filter):
    """Logs one traceback a day for each defect (its type and place); others become one line that counts them.

    A chart made for that reaches a defect with each attempt, and a thousand of its copies with thousand times as many.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[object, ...], tuple[float, int]] = {}
        """When the traceback of a defect was logged, and how often it was met since; the last one logged is at the end."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        # None where no exception is being handled.
        kind, error, trace = record.exc_info or (None, None, None)
        if kind is None:
            return True
        place = tuple((frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace))[-1:]
        since, count = self._logged.pop((kind, place), (-_AGAIN_SECONDS, 0))
        if time.monotonic() - since < _AGAIN_SECONDS:
            count += 1
            text = f"{record.getMessage()}: {kind.__name__}: {error} (traceback logged before; {count} more since)"
            record.msg, record.args = text, ()
            record.exc_info = record.exc_text = None
        else:
            since, count = time.monotonic(), 0
            if len(self._logged) == _REMEMBERED:
                del self._logged[next(iter(self._logged))]
        self._logged[kind, place] = since, count
        return True
