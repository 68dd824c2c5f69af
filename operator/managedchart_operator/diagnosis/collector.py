"""Collects the evidence of a failed run, before anything is cleaned up.

It reads the namespaces of a release once, within a bounded time, and adds what the watches have seen; `cause_table` decides
which cause that shows. What cannot be read is reported in the result, not raised. Every text is redacted. Pods of an earlier
revision do not count.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from managedchart_operator.api.status import FailedContainer, FailureEvent
from managedchart_operator.diagnosis.cause_table import find_cause, shows_trouble
from managedchart_operator.diagnosis.causes import Cause, Evidence
from managedchart_operator.diagnosis.events import select
from managedchart_operator.diagnosis.exit_codes import explain_exit_code
from managedchart_operator.diagnosis.lineage import Lineage, root_or_none
from managedchart_operator.diagnosis.namespace_look import look
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import (
    ReleaseObjects,
    cluster_wide_kinds,
    identities,
    namespaces_of,
    owned_by,
    owner_among,
)
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.diagnosis.refusals import Creations
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.logs import Logs
from managedchart_operator.kube.objects import Objects

# The rollback waits for the evidence, and matters more.
COLLECT_SECONDS = 5.0
# As many as fit into the status next to the events; further failing containers usually show the same.
MAX_CONTAINERS = 5


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about a failure."""

    events: Sequence[FailureEvent] = ()
    containers: Sequence[FailedContainer] = ()
    cause: Cause | None = None
    detail: str | None = None
    """What helm's error does not say; appended to its message."""
    incomplete: str | None = None
    """What could not be read."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The release that the evidence is about: its namespace, what it renders, its hooks, and when the run began."""

    namespace: str
    rendered: Sequence[dict[str, Any]]
    hooks: Sequence[dict[str, Any]]
    since: datetime

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Hooks and rendered objects."""
        return [*self.hooks, *self.rendered]


@dataclass(frozen=True, slots=True)
class Collector:
    """Collects the evidence of failed runs."""

    objects: Objects
    events: Events
    logs: Logs

    async def collect(
        self, subject: Subject, *, views: Mapping[str, NamespaceView], redact: Callable[[str], str]
    ) -> Findings:
        """Return the evidence of the run; `views` hold what the watches saw. Raises nothing except CancelledError."""
        try:
            async with asyncio.timeout(COLLECT_SECONDS):
                return await self._collect(subject, views, redact)
        except TimeoutError:
            missing = f"The evidence in namespace {subject.namespace} could not be read within {COLLECT_SECONDS:.0f} s"
        return Findings(incomplete=redact(missing))

    async def _collect(
        self, subject: Subject, views: Mapping[str, NamespaceView], redact: Callable[[str], str]
    ) -> Findings:
        cluster_wide = await cluster_wide_kinds(self.objects, subject.objects)
        rendered, hooks = (
            identities(items, namespace=subject.namespace, cluster_wide=cluster_wide)
            for items in (subject.objects, subject.hooks)
        )
        seen = await look(
            self.objects,
            self.events,
            namespaces_of(subject.objects, namespace=subject.namespace),
            views=views,
            cluster_wide=bool(cluster_wide),
        )
        family = owned_by(rendered, seen.members)
        lineage = Lineage(self.objects, rendered, subject.since)
        current_pods, foreign = await self._sort_pods(lineage, family, seen.pods.values())
        current = ReleaseObjects(rendered, family.owned - foreign)
        found = [
            replace(event, message=redact(event.message))
            for event in select(seen.events.values(), current, since=subject.since)
        ]
        evidence = Evidence(
            current_pods,
            found,
            hook_pods=frozenset(
                pod.uid
                for pod in current_pods
                if pod.identity in hooks or owner_among(hooks, pod.owners, pod.namespace)
            ),
            refused=frozenset(refusal.controller for refusal in Creations.of(seen.events.values()).refused.values()),
        )
        cause = find_cause(evidence)
        return Findings(
            [event.shown_from(subject.namespace) for event in found],
            await self._containers(subject.namespace, evidence, cause, redact),
            cause,
            incomplete=redact("; ".join(seen.missing.values())) or None,
        )

    async def _sort_pods(
        self, lineage: Lineage, family: ReleaseObjects, pods: Iterable[Pod]
    ) -> tuple[list[Pod], set[str]]:
        """Return the release's pods of the present revision, and the UIDs of its other pods."""
        current: list[Pod] = []
        foreign: set[str] = set()
        for pod in pods:
            if pod.uid in family.owned or pod.identity in family.rendered:
                if await root_or_none(lineage, pod) is not None:
                    current.append(pod)
                else:
                    foreign.add(pod.uid)
        return current, foreign

    async def _containers(
        self, home: str, evidence: Evidence, cause: Cause | None, redact: Callable[[str], str]
    ) -> list[FailedContainer]:
        def is_the_cause(pod: Pod, container: Container) -> bool:
            return cause is not None and (cause.subject, cause.container) == (pod.identity, container.name)

        wanted = [each for each in evidence.containers if shows_trouble(each[1]) or is_the_cause(*each)]
        wanted.sort(key=lambda each: not is_the_cause(*each))
        return list(
            await asyncio.gather(
                *(self._container(home, pod, container, redact) for pod, container in wanted[:MAX_CONTAINERS])
            )
        )

    async def _container(
        self, home: str, pod: Pod, container: Container, redact: Callable[[str], str]
    ) -> FailedContainer:
        log = previous = None
        tail = partial(self.logs.tail, namespace=pod.namespace, pod=pod.name, container=container.name)
        if container.has_run:
            log = await tail(previous=False)
            if container.restarts:
                previous = await tail(previous=True)
        code = container.exit_code
        return FailedContainer(
            pod=pod.identity.name_from(home),
            name=container.name,
            state=container.state,
            reason=container.reason or container.last_reason or None,
            message=redact(container.message)[:512] or None,
            exit_code=code,
            meaning=explain_exit_code(code, out_of_memory=container.out_of_memory) if code is not None else None,
            restarts=container.restarts,
            log=redact(log) if log else None,
            previous_log=redact(previous) if previous else None,
        )
