"""Kubernetes Events: those we write about ManagedCharts, and those we read about a release's objects.

Boundary: which events belong to a run is decided by `diagnosis`. Invariant: an event that cannot be written is logged and
never fails what it tells of.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from managedchart_operator.api.resource import API_VERSION, KIND, ManagedChart
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.times import read_time, write_time

logger = logging.getLogger(__name__)

# The API server refuses longer messages (core/v1 Event validation).
MESSAGE_LENGTH = 1024
COMPONENT = "managedchart-operator"


class Events:
    """Posts Events about ManagedCharts and lists the Events of a namespace."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def post(self, chart: ManagedChart, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002
        """Write one Event about a ManagedChart; a failure is logged only."""
        now = write_time()
        body = {
            "metadata": {"generateName": f"{chart.key.name[:50]}-", "namespace": chart.key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": chart.key.name,
                "namespace": chart.key.namespace,
                "uid": chart.uid,
            },
            "type": type,
            "reason": reason,
            "message": message if len(message) <= MESSAGE_LENGTH else message[: MESSAGE_LENGTH - 1] + "…",
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._client.request("POST", f"/api/v1/namespaces/{chart.key.namespace}/events", body=body)
        except KubeError as error:
            # A namespace that is being deleted takes no new events; anything else an administrator should know.
            logger.warning("event %s of %s could not be written: %s", reason, chart.key, error.message)

    async def list(self, namespace: str) -> list[dict[str, Any]]:
        """Return the core/v1 Events of a namespace. Raises KubeError."""
        answer = await self._client.request("GET", f"/api/v1/namespaces/{namespace}/events")
        items: list[dict[str, Any]] = answer.get("items") or []
        return items


def last_seen(event: Mapping[str, Any]) -> datetime | None:
    """Return when an event was last seen; writers use different fields for it. None where no field holds a time."""
    series = event.get("series") or {}
    for text in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
    ):
        if (seen := read_time(text)) is not None:
            return seen
    return None


def is_older(event: Mapping[str, Any], since: datetime) -> bool:
    """Whether an event was last seen before `since`, or nobody can tell when."""
    seen = last_seen(event)
    # Events carry whole seconds, so one of the run's first second may look earlier than the run.
    return seen is None or seen < since.replace(microsecond=0)
