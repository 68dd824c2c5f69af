"""One watch on the pods and one on the events of a namespace, shared by all runs in it.

Purpose: see trouble as it happens, and remember pods that vanish. Boundary: gathers; nothing is judged here. Invariants: at
most two connections a namespace, none when no run uses it; what is kept is bounded.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.diagnosis.pods import Pod, read_pod
from managedchart_operator.diagnosis.views import View, Views
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.watch import Change, changes

logger = logging.getLogger(__name__)

# A namespace with more pods than this is not one release's; the oldest are dropped from memory, not from the cluster.
MAX_PODS = 2000
MAX_EVENTS = 2000


@dataclass(slots=True)
class NamespaceView(View):
    """What was seen of a namespace so far."""

    pods: dict[str, Pod] = field(default_factory=dict)
    """By UID, those that are gone included."""
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By UID of the event."""


class NamespaceWatches:
    """Opens the watches of a namespace for its first user and closes them after its last."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._views: Views[str, NamespaceView] = Views(
            lambda _: NamespaceView(),
            lambda namespace, view: [
                self._follow(view, f"/api/v1/namespaces/{namespace}/pods", _take_pod),
                self._follow(view, f"/api/v1/namespaces/{namespace}/events", _take_event),
            ],
        )

    def use(self, namespace: str) -> AbstractAsyncContextManager[NamespaceView]:
        """Watch a namespace for as long as the block runs."""
        return self._views.use(namespace)

    async def _follow(self, view: NamespaceView, path: str, take: Callable[[NamespaceView, Change], None]) -> None:
        try:
            async for change in changes(self._client, path):
                take(view, change)
                view.tell()
        except KubeError as error:
            # Without this right there is still the look at the end; it reports what it cannot read.
            logger.warning("%s cannot be watched: %s", path, error.message)


def _take_pod(view: NamespaceView, change: Change) -> None:
    if change.type == "Listed":
        for item in change.object["items"]:
            pod = read_pod(item)
            view.pods[pod.uid] = pod
    elif change.type != "DELETED":
        pod = read_pod(change.object)
        view.pods[pod.uid] = pod
    while len(view.pods) > MAX_PODS:
        del view.pods[next(iter(view.pods))]


def _take_event(view: NamespaceView, change: Change) -> None:
    items = change.object["items"] if change.type == "Listed" else [change.object]
    for item in items:
        item["metadata"].pop("managedFields", None)
        view.events[item["metadata"]["uid"]] = item
    while len(view.events) > MAX_EVENTS:
        del view.events[next(iter(view.events))]
