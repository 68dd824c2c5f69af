"""What the operator says when the API server no longer lets it watch ManagedCharts.

kopf ends then, after a traceback a task: when the CRD is deleted, or when the operator loses its permissions or its
ServiceAccount, as happens while it is removed. Neither is a defect, so the log gets one sentence each and the process ends;
its container is started again, and works on as soon as all is there again.
"""

import logging

import kopf
from kopf._cogs.clients.errors import APIError  # kopf raises it and does not export it

from managedchart_operator.errors import StartupError, WatchEndedError
from managedchart_operator.kube.managedcharts import ManagedCharts


class RefusalsInOneLine(logging.Filter):
    """Takes the traceback off what kopf logs of a refusal by the API server; the message has its words."""

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
