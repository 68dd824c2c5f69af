"""Watches the pods and the events of a namespace, for all runs in it.

It shows trouble as it happens, and remembers deleted pods; `fail_fast` judges them. A namespace costs two connections, which
are closed soon after its last run; what is kept is bounded.
"""

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from managedchart_operator.api.resource import KIND
from managedchart_operator.diagnosis.causes import is_fatal, is_fatal_after_grace
from managedchart_operator.diagnosis.pods import Pod, essential_pod, read_pods
from managedchart_operator.diagnosis.refusals import Creations
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.events import essential_event
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.shared_watch import View, Views
from managedchart_operator.kube.watch import Change, changes

logger = logging.getLogger(__name__)

# No single release has more pods than this; the oldest are dropped from memory.
MAX_PODS = 2000
MAX_EVENTS = 2000
# The operator writes at least two events about a ManagedChart for each run; they say nothing about workloads.
_NOT_ABOUT_RUNS = f"involvedObject.kind!={KIND}"


@dataclass(slots=True)
class NamespaceView(View):
    """What was seen of a namespace so far. Only changes of `troubled` and of refused creations wake the runs.

    Every waiting run reads these two at each change, so they are kept small.
    """

    pods: dict[str, Pod] = field(default_factory=dict)
    """By UID, including deleted ones."""
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By UID of the event."""
    troubled: dict[str, Pod] = field(default_factory=dict)
    """The existing pods with a container that shows a fatal cause."""
    creations: Creations = field(default_factory=Creations)
    deleted: dict[str, datetime] = field(default_factory=dict)
    """By UID when each of the deleted ones among `pods` was seen to be gone."""
    last_change: float = -math.inf
    """When a pod last became ready, ended or was deleted, on the monotonic clock; a refused pod may be created after that."""

    @property
    def existing(self) -> list[Pod]:
        """The pods that are not deleted."""
        return [pod for uid, pod in self.pods.items() if uid not in self.deleted]

    def pods_since(self, moment: datetime) -> dict[str, Pod]:
        """Return by UID the pods that existed at that moment or later: a view may be older than a run that uses it."""
        gone = {uid for uid, seen in self.deleted.items() if seen < moment}
        return {uid: pod for uid, pod in self.pods.items() if uid not in gone}

    def take_pods(self, change: Change) -> None:
        """Record a change of the pods."""
        if change.type == "DELETED":
            self.see_pod_deleted(change.object["metadata"]["uid"])
            return
        found = read_pods(change.object["items"] if change.type == "Listed" else [change.object])
        if change.type == "Listed":
            for uid in self.pods.keys() - self.deleted.keys() - {pod.uid for pod in found}:
                self.see_pod_deleted(uid)
        for pod in found:
            self.see_pod(pod)

    def take_events(self, change: Change) -> None:
        """Record a change of the events."""
        for event in change.object["items"] if change.type == "Listed" else [change.object]:
            self.see_event(event)  # a deleted event has only expired

    def see_pod(self, pod: Pod) -> None:
        """Record a pod as it is now."""
        before = self.troubled.pop(pod.uid, None)
        known = self.pods.get(pod.uid)
        if known is not None and ((pod.ready and not known.ready) or (pod.ended and not known.ended)):
            self.last_change = time.monotonic()
        self.pods[pod.uid] = pod
        self.deleted.pop(pod.uid, None)
        if any(is_fatal(container) or is_fatal_after_grace(container) for container in pod.containers):
            self.troubled[pod.uid] = pod
        if self.troubled.get(pod.uid) != before:
            self.notify()
        while len(self.pods) > MAX_PODS:
            oldest = next(iter(self.pods))
            del self.pods[oldest]
            self.troubled.pop(oldest, None)
            self.deleted.pop(oldest, None)

    def see_pod_deleted(self, uid: str) -> None:
        """Record that a pod was deleted: its last state is kept, but it is no longer in trouble."""
        if uid in self.pods:
            self.deleted[uid] = datetime.now(UTC)
            self.last_change = time.monotonic()
        if self.troubled.pop(uid, None):
            self.notify()

    def see_event(self, event: dict[str, Any]) -> None:
        """Record an event."""
        uid = event["metadata"]["uid"]
        event = essential_event(event)
        self.events[uid] = event
        if self.creations.see(event):
            self.notify()
        while len(self.events) > MAX_EVENTS:
            oldest = next(iter(self.events))
            self.creations.forget(self.events.pop(oldest))


class _Watched(NamedTuple):
    """A namespace, and whose permissions count; None for the operator's."""

    identity: Identity | None
    namespace: str


class NamespaceWatches:
    """Opens the watches of a namespace for its first user and closes them soon after its last.

    Only users of the same identity share them: another one may not be allowed to see the same.
    """

    def __init__(self, client: KubeClient, *, views: Views[_Watched, NamespaceView] | None = None) -> None:
        self._client = client
        self._views = Views(self._watches) if views is None else views

    def acting_as(self, identity: Identity | None) -> "NamespaceWatches":
        """Return the same for requests on behalf of a resource."""
        return NamespaceWatches(self._client.acting_as(identity), views=self._views)

    def use(self, namespace: str) -> AbstractAsyncContextManager[NamespaceView]:
        """Watch a namespace for as long as the block runs."""
        return self._views.use(_Watched(self._client.identity, namespace), NamespaceView)

    async def close(self) -> None:
        """Close all watches."""
        await self._views.close()

    def _watches(self, watched: _Watched, view: NamespaceView) -> list[Coroutine[Any, Any, None]]:
        client, path = self._client.acting_as(watched.identity), f"/api/v1/namespaces/{quoted(watched.namespace)}"
        return [
            self._follow(
                view.take_pods,
                changes(client, f"{path}/pods", polls=view.polling, keep=essential_pod, most=MAX_PODS),
                path=f"{path}/pods",
            ),
            self._follow(
                view.take_events,
                changes(
                    client,
                    f"{path}/events",
                    fields=_NOT_ABOUT_RUNS,
                    polls=view.polling,
                    keep=essential_event,
                    most=MAX_EVENTS,
                ),
                path=f"{path}/events",
            ),
        ]

    async def _follow(self, take: Callable[[Change], None], seen: AsyncIterator[Change], *, path: str) -> None:
        try:
            async for change in seen:
                take(change)
        except KubeError as error:
            # Without this permission the collector still reads the namespace at the end, and reports what it cannot read.
            logger.warning("%s cannot be watched: %s", path, error.message)
