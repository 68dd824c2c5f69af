"""Notices while a release is still waited for that this is in vain.

Purpose: a deployment that cannot succeed is ended after seconds instead of its whole timeout. Boundary: judges what the watch
shows; ending the wait is the caller's. Invariants: only pods of the revision that is being deployed count, and only once it is
applied (a hook's own pods at any time); a pod that is merely not ready is never hopeless.

Hopeless are: an image that still cannot be pulled after the grace, a container with three or more restarts in a crash
loop, a controller that still cannot create its pods after the grace.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from managedchart_operator.diagnosis.causes import Cause, Evidence, cause_of_failed_create, find_cause
from managedchart_operator.diagnosis.events import is_older, select
from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import Identity, ReleaseObjects
from managedchart_operator.diagnosis.pods import Pod
from managedchart_operator.errors import KubeError

T = TypeVar("T")

# The kubelet waits 10, 20 and 40 s between the first restarts: after three it is not a start that needs a second try.
HOPELESS_RESTARTS = 3
# How soon a suspicion is looked at again when nothing new is seen: helm may have applied in between.
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of the revision that is being deployed; `hooks` are among them."""

    objects: frozenset[Identity]
    hooks: frozenset[Identity]


@dataclass(slots=True)
class FailFast:
    """Watches one run. `grace` in seconds; `applied` tells whether helm has applied its objects."""

    view: NamespaceView
    namespace: str
    since: datetime
    grace: float
    applied: Callable[[], bool]
    rendered: Callable[[], Awaitable[Rendered | None]]
    lineage_of: Callable[[frozenset[Identity]], Lineage]
    _first_seen: dict[str, float] = field(default_factory=dict)
    _foreign: set[str] = field(default_factory=set)
    """UIDs of pods and events of other releases, which are looked into once: they may be in trouble for hours."""

    async def hopeless(self) -> Cause:
        """Return the cause once it is clear that waiting is in vain; waits for ever otherwise."""
        while True:
            version_now = self.view.version
            suspicions = list(self._suspicions())
            if suspicions and (cause := await self._judge(suspicions)):
                return cause
            if version_now == self.view.version:
                waits = suspicions or self._first_seen
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_SECONDS if waits else None):
                        await self.view.wait_for_change(version_now)

    def _suspicions(self) -> Iterable["_Suspicion"]:
        """Yield what has been hopeless for long enough."""
        present: set[str] = set()
        for pod in self._of_ours(self.view.troubled):
            for container in pod.containers:
                key = f"{pod.uid}/{container.name}"
                if container.image_unavailable:
                    present.add(key)
                    if self._ripe(key):
                        yield _Suspicion(pod=pod)
                elif container.crashing and container.restarts >= HOPELESS_RESTARTS:
                    yield _Suspicion(pod=pod)
        for event in self._of_ours(self.view.refused):
            if is_older(event, self.since):
                continue
            uid = event["metadata"]["uid"]
            present.add(uid)
            if self._ripe(uid):
                yield _Suspicion(event=event)
        for key in self._first_seen.keys() - present:
            del self._first_seen[key]

    def _of_ours(self, seen: Mapping[str, T]) -> list[T]:
        """Return what is not known to be of others, from what was seen by UID."""
        return [found for uid, found in seen.items() if uid not in self._foreign]

    def _ripe(self, key: str) -> bool:
        now = time.monotonic()
        return now - self._first_seen.setdefault(key, now) >= self.grace

    async def _judge(self, suspicions: list["_Suspicion"]) -> Cause | None:
        rendered = await self.rendered()
        if rendered is None:
            return None
        lineage = self.lineage_of(rendered.objects)
        try:
            for suspicion in suspicions:
                root = await suspicion.root(lineage)
                if root is None and await suspicion.is_foreign(lineage):
                    self._foreign.add(suspicion.uid)
                if root is None or not (self.applied() or root in rendered.hooks):
                    continue
                if cause := self._cause(suspicion, root in rendered.hooks):
                    return cause
        except KubeError:
            return None  # what cannot be told for sure ends nothing
        return None

    def _cause(self, suspicion: "_Suspicion", hook: bool) -> Cause | None:
        if suspicion.pod is not None:
            pod = suspicion.pod
            events = select(
                self.view.events.values(), ReleaseObjects(frozenset(), frozenset({pod.uid})), since=self.since
            )
            return find_cause(Evidence(self.namespace, [pod], events, frozenset({pod.uid} if hook else ())))
        subject = (suspicion.event or {}).get("involvedObject") or {}
        objects = ReleaseObjects(frozenset({(subject.get("kind", ""), subject.get("name", ""))}), frozenset())
        found = select([suspicion.event or {}], objects, since=self.since)
        return cause_of_failed_create(found[0]) if found else None


@dataclass(frozen=True, slots=True)
class _Suspicion:
    pod: Pod | None = None
    event: dict[str, Any] | None = None

    @property
    def uid(self) -> str:
        return self.pod.uid if self.pod is not None else str((self.event or {})["metadata"]["uid"])

    async def root(self, lineage: Lineage) -> Identity | None:
        if self.pod is not None:
            return await lineage.root_of(self.pod)
        return await lineage.root_of_controller(*self._controller)

    async def is_foreign(self, lineage: Lineage) -> bool:
        if self.pod is not None:
            return await lineage.is_foreign(self.pod)
        return await lineage.is_foreign_controller(*self._controller)

    @property
    def _controller(self) -> Identity:
        subject = (self.event or {}).get("involvedObject") or {}
        return subject.get("kind", ""), subject.get("name", "")
