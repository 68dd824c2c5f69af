"""Explains in the log why the API server no longer lets the operator watch ManagedCharts.

That happens when the CRD is deleted, and when the operator loses its permissions or its ServiceAccount, for example while it
is removed. kopf then logs a traceback for each of its tasks and ends. Neither is a defect, so the log gets one sentence each
and the process ends. Kubernetes restarts the container, which works again once everything is installed again.
"""

import logging

import kopf
from kopf._cogs.clients.errors import APIError  # kopf raises it but does not export it

from managedchart_operator.errors import StartupError, WatchEndedError
from managedchart_operator.kube.managedcharts import ManagedCharts


class RefusalsInOneLine(logging.Filter):
    """Removes the traceback when kopf logs a refusal by the API server; the message says what was refused."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record."""
        if record.name.startswith("kopf") and record.exc_info and isinstance(record.exc_info[1], _REFUSALS):
            record.exc_info = record.exc_text = None
        return True


_REFUSALS = (APIError, kopf.LoginError)


async def check_still_served(api: ManagedCharts) -> None:
    """Raise WatchEndedError when the API server no longer lets the operator list ManagedCharts."""
    try:
        await api.check_installed()
    except StartupError as error:
        raise WatchEndedError(f"ManagedCharts can no longer be watched: {error.message}", hint=error.hint) from error
