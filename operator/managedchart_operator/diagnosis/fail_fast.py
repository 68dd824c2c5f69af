"""Detects, during the wait for a release, that waiting cannot succeed.

It judges what the watches show; the caller ends the wait. Only the present state counts: pods of the revision that is being
deployed, once it is applied (a hook's own pods at any time), while they show a cause that `causes` calls fatal. A
controller that cannot create its pods counts only while nothing is under way that can change this (`refusals`). A refusal that
healed, or that something under way may end, is ignored: only a newer one of the same controller counts, after another grace.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from managedchart_operator.diagnosis.causes import (
    cause_of_failed_create,
    find_cause,
    is_fatal,
    is_fatal_after_grace,
    is_fatal_refusal,
)
from managedchart_operator.diagnosis.events import select
from managedchart_operator.diagnosis.evidence import Cause, Evidence
from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import Identity, Rendered
from managedchart_operator.diagnosis.pods import Pod
from managedchart_operator.diagnosis.refusals import RefusedCreation, lacks_pods, may_end
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.events import is_older

# How soon a suspicion is judged again without a new event: helm may have applied the objects in between.
_RECHECK_SECONDS = 0.5


_Suspicion = tuple[Pod | RefusedCreation, NamespaceView]
"""A pod in trouble, or a controller that could not create its last pod, and where it was seen."""


@dataclass(slots=True)
class FailFast:
    """Watches one run by the views of its namespaces. `grace` in seconds; `applied` returns whether its objects are applied."""

    views: Mapping[str, NamespaceView]
    since: datetime
    grace: float
    applied: Callable[[], bool]
    rendered: Callable[[], Awaitable[Rendered | None]]
    lineage_of: Callable[[frozenset[Identity]], Lineage]
    redact: Callable[[str], str] = str
    _first_seen: dict[str, float] = field(default_factory=dict)
    _foreign: set[str] = field(default_factory=set)
    """UIDs of pods and controllers of other releases, and of objects that the wait leaves out. They are examined once, as they
    may be in trouble for hours."""
    _ignored: dict[str, int] = field(default_factory=dict)
    """By the controller's UID, the version of the refusal that has healed or may still end."""

    async def wait_for_fatal_cause(self) -> Cause:
        """Return the cause as soon as waiting cannot succeed; never return otherwise."""
        woken = asyncio.Event()
        with contextlib.ExitStack() as stack:
            for view in self.views.values():
                stack.enter_context(view.wakes(woken))
            while True:
                woken.clear()
                suspicions = self._suspicions()
                if suspicions and (cause := await self._judge(suspicions)):
                    return cause
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RECHECK_SECONDS if suspicions or self._first_seen else None):
                        await woken.wait()

    def _suspicions(self) -> list[_Suspicion]:
        """Return what looks fatal and has persisted for the grace, without interruption, where it must."""
        now, known = time.monotonic(), self._first_seen
        fatal = list(self._fatal())
        self._first_seen = {key: known.get(key, now) for key, _ in fatal if key is not None}
        return [found for key, found in fatal if key is None or now - self._first_seen[key] >= self.grace]

    def _fatal(self) -> Iterator[tuple[str | None, _Suspicion]]:
        """Yield what looks fatal, with a key where it must persist for the grace first."""
        for view in self.views.values():
            for pod in view.troubled.values():
                if pod.uid in self._foreign or pod.deleting:
                    continue
                for container in pod.containers:
                    if is_fatal(container):
                        yield None, (pod, view)
                    elif is_fatal_after_grace(container):
                        yield f"{pod.uid}/{container.name}", (pod, view)
            for refusal in view.creations.refused.values():
                if refusal.uid in self._foreign or is_older(refusal.event, self.since):
                    continue
                if is_fatal_refusal(refusal.why.reason) and not self._is_ignored(refusal, view):
                    yield refusal.uid, (refusal, view)

    def _is_ignored(self, refusal: RefusedCreation, view: NamespaceView) -> bool:
        """Whether the controller must be refused again before that counts.

        It waits twice as long after each refusal, so its next attempt may succeed although nothing seems to change any more.
        And a quota has room again only a moment after a pod was deleted.
        """
        views = self.views.values() if refusal.by_webhook else (view,)
        if refusal.depends_on_pods and refusal.seen < max(each.last_change for each in views) + self.grace:
            self._ignored[refusal.uid] = refusal.version
        return refusal.version <= self._ignored.get(refusal.uid, -1)

    async def _judge(self, suspicions: Iterable[_Suspicion]) -> Cause | None:
        rendered = await self.rendered()
        if rendered is None:
            return None
        lineage = self.lineage_of(rendered.objects)
        for suspect, view in suspicions:
            # An object that cannot be read must not end the wait; the others may still.
            with contextlib.suppress(KubeError):
                subject = suspect if isinstance(suspect, Pod) else suspect.controller
                root = await lineage.root_of(subject)
                if root is None and await lineage.is_foreign(subject):
                    self._foreign.add(suspect.uid)
                if root in rendered.left_out:
                    self._foreign.add(suspect.uid)
                if root is None or root in rendered.left_out or not (self.applied() or root in rendered.hooks):
                    continue
                if isinstance(suspect, Pod):
                    cause = self._cause_in(suspect, view, hook=root in rendered.hooks)
                else:
                    cause = await self._cause_of_refusal(suspect, view, lineage)
                if cause:
                    return cause
        return None

    def _cause_in(self, pod: Pod, view: NamespaceView, *, hook: bool) -> Cause | None:
        uids = frozenset({pod.uid})
        events = select(view.events.values(), owned=uids, since=self.since, redact=self.redact)
        return find_cause(Evidence([pod], events, uids if hook else frozenset()))

    async def _cause_of_refusal(self, refusal: RefusedCreation, view: NamespaceView, lineage: Lineage) -> Cause | None:
        controller = await lineage.read(refusal.controller)
        everywhere = [pod for each in self.views.values() for pod in each.existing]
        if not lacks_pods(refusal.controller.group_kind, controller) or await may_end(
            refusal, nearby=view.existing, everywhere=everywhere, lineage=lineage
        ):
            self._ignored[refusal.uid] = refusal.version
            return None
        found = select([refusal.event], rendered={refusal.controller}, since=self.since, redact=self.redact)
        return cause_of_failed_create(found[0]) if found else None
