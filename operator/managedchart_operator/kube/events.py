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
from managedchart_operator.kube.identities import Identity
from managedchart_operator.redaction import printable
from managedchart_operator.shortening import cut
from managedchart_operator.times import read_time, write_time

logger = logging.getLogger(__name__)

# The API server refuses longer messages (core/v1 Event validation).
MESSAGE_LENGTH = 1024
_NOTE_LENGTH = 64
# The fields of an Event that are read, with the most characters of each; names have 253.
_FIELDS = {
    "type": 64,
    "reason": 256,
    "message": 8192,
    "count": 0,
    **dict.fromkeys(("firstTimestamp", "lastTimestamp", "eventTime"), 64),
}
_METADATA = dict.fromkeys(("name", "namespace", "uid", "resourceVersion", "creationTimestamp"), 253)
_SUBJECT = dict.fromkeys(("apiVersion", "kind", "namespace", "name", "uid"), 253)
_SERIES = {"count": 0, "lastObservedTime": 64}
KEPT = frozenset({"ReleaseLeft", "ReleaseOrphaned", "Uninstalled"})
"""Reasons of Events that are always written: after a deletion, nothing else says what became of the release."""


class Events:
    """Posts Events about ManagedCharts. `account` is the operator's own ServiceAccount, if it runs as one."""

    def __init__(
        self, client: KubeClient, limits: EventLimits | None = None, *, account: Identity | None = None
    ) -> None:
        self._client = client
        self._limits = limits or EventLimits()
        self._account = account

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
        metadata = {"generateName": f"{_stem(chart)}-", "namespace": chart.key.namespace}
        await self._post(chart, metadata, _reference(chart), type=type, reason=reason, message=message)

    async def post_elsewhere(self, chart: ManagedChart, *, reason: str, message: str) -> None:
        """Write a Warning Event about a ManagedChart in a namespace that is being deleted, in which none can be created.

        There is one for each ManagedChart and reason, however often this is called: a kill or an error may come between it and
        the end of the removal. It is in the operator's own namespace and about its ServiceAccount, since the API server accepts
        an Event only in the namespace of its object; so the message has to name the ManagedChart. An operator that is not a
        ServiceAccount writes it into the namespace `default`, about the namespace that is being deleted.
        """
        about, namespace = {"apiVersion": "v1", "kind": "Namespace", "name": chart.key.namespace}, "default"
        if self._account is not None:
            namespace = self._account.namespace
            about = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "name": self._account.name,
                "namespace": namespace,
            }
        metadata = {"name": f"{_stem(chart)}-{chart.uid}-{reason.lower()}", "namespace": namespace}
        await self._post(chart, metadata, about, type="Warning", reason=reason, message=message)

    async def _post(
        self,
        chart: ManagedChart,
        metadata: Mapping[str, str],
        about: Mapping[str, str],
        *,
        type: str,  # noqa: A002
        reason: str,
        message: str,
    ) -> None:
        now = write_time()
        body = {
            "metadata": metadata,
            "involvedObject": about,
            **({} if about.get("kind") == KIND else {"related": _reference(chart)}),
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
            path = f"/api/v1/namespaces/{quoted(metadata['namespace'])}/events"
            await self._client.request("POST", path, body=body)
        except KubeError as error:
            if error.status == 409:
                return  # it was written before
            # Expected in a namespace that is being deleted; anything else an administrator should see.
            who = {"namespace": chart.key.namespace, "name_": chart.key.name}
            text = "could not write Event %s of ManagedChart %s: %s"
            logger.warning(text, reason, chart.key, error.message, extra=who)


def _stem(chart: ManagedChart) -> str:
    """Return what the name of an Event begins with."""
    return chart.key.name[:50].rstrip(".")


def _reference(chart: ManagedChart) -> dict[str, str]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": chart.key.name,
        "namespace": chart.key.namespace,
        "uid": chart.uid,
    }


def essential_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return what is read of an Event, without what is longer than Kubernetes writes it: anybody may write Events."""
    kept = _short(event, _FIELDS)
    for name, fields in (("metadata", _METADATA), ("involvedObject", _SUBJECT), ("series", _SERIES)):
        if isinstance(event.get(name), dict):
            kept[name] = _short(event[name], fields)
    return kept


def _short(part: Mapping[str, Any], fields: Mapping[str, int]) -> dict[str, Any]:
    kept = {name: part[name] for name in fields if isinstance(part.get(name), str | int)}
    return {name: value[: fields[name]] if isinstance(value, str) else value for name, value in kept.items()}


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
