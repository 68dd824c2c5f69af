"""Kubernetes Events: writes those about ManagedCharts, and reads those about a release's objects.

`diagnosis` decides which Events belong to a run. An Event that cannot be written is logged; its run goes on.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from managedchart_operator.api.resource import API_VERSION, KIND, ManagedChart
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import OPERATOR, KubeClient
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.event_limits import EventLimits
from managedchart_operator.redaction import printable
from managedchart_operator.shortening import cut
from managedchart_operator.times import read_time, write_time

logger = logging.getLogger(__name__)

# The API server refuses longer messages (core/v1 Event validation).
MESSAGE_LENGTH = 1024
_NOTE_LENGTH = 64
KEPT = frozenset({"ReleaseLeft", "ReleaseOrphaned", "Uninstalled"})
"""Reasons of Events that are always written: after a deletion, nothing else says what became of the release."""


class Events:
    """Posts Events about ManagedCharts."""

    def __init__(self, client: KubeClient, limits: EventLimits | None = None) -> None:
        self._client = client
        self._limits = limits or EventLimits()

    async def post(
        self,
        chart: ManagedChart,
        *,
        type: Literal["Normal", "Warning"],  # noqa: A002
        reason: str,
        message: str,
        keep: bool = False,
    ) -> None:
        """Write one Event about a ManagedChart, unless there were too many (`EventLimits`); a failure is only logged.

        Never left out are one to `keep` and those of KEPT.
        """
        left_out = self._limits.admit(chart.uid, reason, keep=keep or reason in KEPT)
        if left_out is None:
            return
        if left_out:
            message = f"{cut(message, MESSAGE_LENGTH - _NOTE_LENGTH)} ({left_out} similar Events were left out)"
        now = write_time()
        body = {
            "metadata": {"generateName": f"{chart.key.name[:50].rstrip('.')}-", "namespace": chart.key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": chart.key.name,
                "namespace": chart.key.namespace,
                "uid": chart.uid,
            },
            "type": type,
            "reason": reason,
            "message": cut(printable(message), MESSAGE_LENGTH),
            "source": {"component": OPERATOR},
            "reportingComponent": OPERATOR,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._client.request("POST", f"/api/v1/namespaces/{quoted(chart.key.namespace)}/events", body=body)
        except KubeError as error:
            # Expected in a namespace that is being deleted; anything else an administrator should see.
            about = {"namespace": chart.key.namespace, "name_": chart.key.name}
            text = "could not write Event %s of ManagedChart %s: %s"
            logger.warning(text, reason, chart.key, error.message, extra=about)


def last_seen(event: Mapping[str, Any]) -> datetime | None:
    """Return when an Event was last seen; writers use different fields for it. None if no field has a time."""
    series = event.get("series") or {}
    texts = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
    )
    return next((seen for text in texts if (seen := read_time(text)) is not None), None)


def is_older(event: Mapping[str, Any], since: datetime) -> bool:
    """Whether an Event was last seen before `since`, or has no time at all."""
    seen = last_seen(event)
    # Events have whole seconds, so one from the run's first second may look older than the run.
    return seen is None or seen < since.replace(microsecond=0)
