"""Collects the evidence of a failed run, before anything is cleaned up.

Purpose: one bounded look at the release's namespace, together with what the watch has seen. Boundary: which cause it shows is
`causes`'. Invariants: it never raises for what it cannot get, but says so; it ends within its time; every text is redacted;
pods of an earlier revision do not count.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from managedchart_operator.api.status import FailedContainer, FailureEvent
from managedchart_operator.diagnosis.causes import Cause, Evidence, find_cause
from managedchart_operator.diagnosis.events import select
from managedchart_operator.diagnosis.exit_codes import explain_exit_code
from managedchart_operator.diagnosis.lineage import Lineage, root_or_none
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import Identity, ReleaseObjects, identities, owned_by
from managedchart_operator.diagnosis.pods import Container, Pod, read_pods
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.logs import Logs
from managedchart_operator.kube.objects import Objects

# A look that takes longer is worth less than the rollback that waits for it.
COLLECT_SECONDS = 5.0
# What fits into the status beside the events; the first failing containers tell what the others would.
MAX_CONTAINERS = 5
# What controllers make of a chart's objects, in the namespace of the release.
_OWNED_KINDS = (("apps/v1", "ReplicaSet"), ("batch/v1", "Job"), ("v1", "PersistentVolumeClaim"))


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out about a failure."""

    events: Sequence[FailureEvent] = ()
    containers: Sequence[FailedContainer] = ()
    cause: Cause | None = None
    detail: str | None = None
    """What helm's own error leaves open, to stand behind it."""
    incomplete: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What the evidence is about: the objects of the release, which of them are hooks, and when the run began."""

    namespace: str
    rendered: Sequence[dict[str, Any]]
    hooks: frozenset[Identity]
    since: datetime


@dataclass(frozen=True, slots=True)
class Collector:
    """Looks at a namespace for the evidence of one run."""

    objects: Objects
    events: Events
    logs: Logs

    async def collect(self, subject: Subject, *, view: NamespaceView | None, redact: Callable[[str], str]) -> Findings:
        """Return what belongs to the run. Never raises but for a cancel."""
        try:
            async with asyncio.timeout(COLLECT_SECONDS):
                return await self._collect(subject, view, redact)
        except TimeoutError:
            missing = f"the evidence in namespace {subject.namespace} could not be read within {COLLECT_SECONDS:.0f} s"
        except KubeError as error:
            missing = f"the evidence in namespace {subject.namespace} could not be read: {error.message}"
        return Findings(incomplete=redact(missing))

    async def _collect(self, subject: Subject, view: NamespaceView | None, redact: Callable[[str], str]) -> Findings:
        namespace = subject.namespace
        events, listed, *owned = await asyncio.gather(
            self.events.list(namespace),
            self.objects.list("v1", "Pod", namespace=namespace),
            *(self.objects.list(*kind, namespace=namespace, metadata_only=True) for kind in _OWNED_KINDS),
        )
        pods = {**(view.pods if view else {}), **{pod.uid: pod for pod in read_pods(listed)}}
        seen = {**(view.events if view else {}), **{event["metadata"]["uid"]: event for event in events}}
        rendered = identities(subject.rendered)
        family = owned_by(
            rendered, [item for items in owned for item in items] + [_metadata(pod) for pod in pods.values()]
        )
        ours, foreign = await self._sort_pods(subject, rendered, family, pods.values())
        current = ReleaseObjects(rendered, family.owned - foreign)
        found = [
            event.model_copy(update={"message": redact(event.message)})
            for event in select(seen.values(), current, since=subject.since)
        ]
        hook_pods = frozenset(
            pod.uid for pod in ours if any((kind, name) in subject.hooks for kind, name, _ in pod.owners)
        )
        cause = find_cause(Evidence(namespace, ours, found, hook_pods))
        return Findings(found, await self._containers(namespace, ours, cause, redact), cause)

    async def _sort_pods(
        self, subject: Subject, rendered: frozenset[Identity], family: ReleaseObjects, pods: Iterable[Pod]
    ) -> tuple[list[Pod], set[str]]:
        """Return the release's pods of the present revision, and the UIDs of its other ones."""
        lineage = Lineage(self.objects, subject.namespace, rendered, subject.since)
        ours: list[Pod] = []
        foreign: set[str] = set()
        for pod in pods:
            if pod.uid in family.owned or ("Pod", pod.name) in rendered:
                if await root_or_none(lineage, pod) is not None:
                    ours.append(pod)
                else:
                    foreign.add(pod.uid)
        return ours, foreign

    async def _containers(
        self, namespace: str, pods: Iterable[Pod], cause: Cause | None, redact: Callable[[str], str]
    ) -> list[FailedContainer]:
        wanted = [(pod, container) for pod in pods for container in pod.failing]
        for pod in pods:
            wanted += [
                (pod, container)
                for container in pod.containers
                if cause
                and cause.name == pod.name
                and cause.container == container.name
                and container not in pod.failing
            ]
        if cause:
            wanted.sort(key=lambda item: (item[0].name, item[1].name) != (cause.name, cause.container))
        return list(
            await asyncio.gather(
                *(self._container(namespace, pod, container, redact) for pod, container in wanted[:MAX_CONTAINERS])
            )
        )

    async def _container(
        self, namespace: str, pod: Pod, container: Container, redact: Callable[[str], str]
    ) -> FailedContainer:
        log = previous = None
        if container.has_run:
            log = await self.logs.tail(namespace=namespace, pod=pod.name, container=container.name, previous=False)
            if container.restarts:
                previous = await self.logs.tail(
                    namespace=namespace, pod=pod.name, container=container.name, previous=True
                )
        code = container.exit_code
        return FailedContainer(
            pod=pod.name,
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


def _metadata(pod: Pod) -> dict[str, Any]:
    owners = [{"kind": kind, "name": name, "uid": uid} for kind, name, uid in pod.owners]
    return {"metadata": {"uid": pod.uid, "name": pod.name, "ownerReferences": owners}}
