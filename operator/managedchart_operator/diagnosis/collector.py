"""Collects the evidence of a failed run, before anything is cleaned up.

It reads the namespaces of a release once, within a bounded time, and adds what the watches have seen, since pods may be deleted
by now; `causes` decides which cause that shows. What cannot be read is reported in the result, not raised. Every text is
redacted. Pods of an earlier revision do not count.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.api.status import FailedContainer, FailureEvent
from managedchart_operator.diagnosis.causes import find_cause, not_replaced, shows_trouble
from managedchart_operator.diagnosis.containers import failed_container
from managedchart_operator.diagnosis.events import RunEvent, select
from managedchart_operator.diagnosis.evidence import Cause, Evidence
from managedchart_operator.diagnosis.lineage import STATEFUL_SET, Lineage
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import (
    MAX_NAMESPACES,
    Identity,
    Member,
    Rendered,
    essential_member,
    member_of,
    namespaces_of,
    owned_by,
    owner_among,
)
from managedchart_operator.diagnosis.pods import Container, Pod, essential_pod, read_pods
from managedchart_operator.diagnosis.references import late_hooks
from managedchart_operator.diagnosis.refusals import Creations
from managedchart_operator.errors import KubeError
from managedchart_operator.kube import identities as kube_identities
from managedchart_operator.kube.events import essential_event
from managedchart_operator.kube.logs import Logs
from managedchart_operator.kube.objects import Objects

# The rollback waits for the evidence, and matters more.
COLLECT_SECONDS = 5.0
# As many as fit into the status next to the events; further failing containers usually show the same.
MAX_CONTAINERS = 5
# What controllers create for a chart's objects, in the namespace of their owner.
_OWNED_KINDS = (("apps/v1", "ReplicaSet"), ("batch/v1", "Job"), ("v1", "PersistentVolumeClaim"))
# Where Kubernetes keeps the events about cluster-wide objects.
_OF_CLUSTER_WIDE = "default"


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
    """The release that the evidence is about: its namespace, what it renders, its hooks among that, and when the run began.

    What `exclude` selects is left out of the wait, so it is shown, but is not the cause.
    """

    namespace: str
    objects: Sequence[dict[str, Any]]
    hooks: Sequence[dict[str, Any]]
    since: datetime
    exclude: Sequence[ObjectSelector] = ()


@dataclass(slots=True)
class _Seen:
    """What was found in the namespaces, and a sentence for each that could not be read."""

    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By UID of the event."""
    pods: dict[str, Pod] = field(default_factory=dict)
    """By UID, including those that were deleted during the run."""
    existing: dict[Identity, str] = field(default_factory=dict)
    """The UIDs of those that exist."""
    owned: list[Member] = field(default_factory=list)
    """What a controller may have created."""
    missing: dict[str, str] = field(default_factory=dict)
    """By namespace."""

    @contextlib.contextmanager
    def reading(self, namespace: str) -> Iterator[None]:
        """Report a namespace that cannot be read; the others still count."""
        try:
            yield
        except KubeError as error:
            self.missing[namespace] = f"The evidence in namespace {namespace} could not be read: {error.message}"


@dataclass(frozen=True, slots=True)
class Collector:
    """Collects the evidence of failed runs."""

    objects: Objects
    logs: Logs

    def acting_as(self, identity: kube_identities.Identity | None) -> "Collector":
        """Return the same for requests on behalf of a resource: it finds only what that account may read."""
        return Collector(self.objects.acting_as(identity), self.logs.acting_as(identity))

    async def collect(
        self,
        subject: Subject,
        *,
        views: Mapping[str, NamespaceView],
        redact: Callable[[str], str],
        known: Cause | None = None,
    ) -> Findings:
        """Return the evidence of the run; `views` hold what the watches saw. Raises nothing except CancelledError.

        `known` is the cause that has ended the run; no other is looked for.
        """
        try:
            async with asyncio.timeout(COLLECT_SECONDS):
                return await self._collect(subject, views, redact, known)
        except TimeoutError:
            missing = f"The evidence in namespace {subject.namespace} could not be read within {COLLECT_SECONDS:.0f} s"
            return Findings(cause=known, incomplete=redact(missing))

    async def find_not_replaced(self, subject: Subject) -> Cause | None:
        """Return the pod of an earlier revision for which a StatefulSet waits, as the cause. Raises KubeError."""
        rendered = await Rendered.of(
            self.objects, subject.objects, subject.hooks, namespace=subject.namespace, exclude=subject.exclude
        )
        seen, waited_for = _Seen(), rendered.objects - rendered.left_out
        namespaces = {each.namespace for each in waited_for if each.group_kind == STATEFUL_SET}
        await asyncio.gather(*(self._read_pods(seen, namespace) for namespace in sorted(namespaces)[:MAX_NAMESPACES]))
        lineage = Lineage(self.objects, waited_for, subject.since)
        return not_replaced(Evidence(not_replaced=await self._not_replaced(lineage, seen.pods.values())))

    async def _collect(
        self,
        subject: Subject,
        views: Mapping[str, NamespaceView],
        redact: Callable[[str], str],
        known: Cause | None,
    ) -> Findings:
        rendered = await Rendered.of(
            self.objects, subject.objects, subject.hooks, namespace=subject.namespace, exclude=subject.exclude
        )
        seen = await self._look(subject, views, cluster_wide=any(not each.namespace for each in rendered.objects))
        pods = [Member(pod.uid, pod.namespace, pod.owners) for pod in seen.pods.values()]
        owned = owned_by(rendered.objects, [*seen.owned, *pods])
        lineage = Lineage(self.objects, rendered.objects, subject.since)
        roots = await self._roots(lineage, owned, seen.pods.values())
        current_pods = [pod for pod in seen.pods.values() if pod.uid in roots]
        waited_for = await self._not_replaced(lineage, seen.pods.values())
        others = seen.pods.keys() - {pod.uid for pod in (*current_pods, *(pod for pod, _ in waited_for))}
        events = seen.events.values()

        def about(objects: frozenset[Identity], uids: set[str]) -> list[RunEvent]:
            return select(events, rendered=objects, owned=uids, since=subject.since, redact=redact)

        found = about(rendered.objects, owned - others)
        evidence = Evidence(
            current_pods,
            found,
            hook_pods=frozenset(
                pod.uid
                for pod in current_pods
                if pod.identity in rendered.hooks or owner_among(rendered.hooks, pod.owners, pod.namespace)
            ),
            refused=frozenset(refusal.controller for refusal in Creations.of(events).refused.values()),
            late_hooks=late_hooks(subject.hooks, namespace=subject.namespace),
            not_replaced=waited_for,
        )
        blamed = evidence
        if rendered.left_out:
            ignored = owned_by(rendered.left_out, [*seen.owned, *pods])
            blamed = replace(
                evidence,
                pods=[pod for pod in current_pods if roots[pod.uid] not in rendered.left_out],
                events=about(rendered.objects - rendered.left_out, owned - others - ignored),
                not_replaced=[(pod, owner) for pod, owner in waited_for if owner not in rendered.left_out],
            )
        cause = known or find_cause(blamed)
        return Findings(
            [event.shown_from(subject.namespace) for event in found],
            await self._containers(subject.namespace, evidence, cause, seen.existing, redact),
            cause,
            incomplete=redact("; ".join(seen.missing.values())) or None,
        )

    async def _look(self, subject: Subject, views: Mapping[str, NamespaceView], *, cluster_wide: bool) -> _Seen:
        """Read up to MAX_NAMESPACES; `cluster_wide` says whether events about cluster-wide objects are needed too."""
        seen = _Seen()
        for view in views.values():
            seen.pods.update(view.pods_since(subject.since))
            seen.events.update(view.events)
        namespaces = namespaces_of(subject.objects, namespace=subject.namespace)
        looked, left_out = namespaces[:MAX_NAMESPACES], namespaces[MAX_NAMESPACES:]
        elsewhere = [_OF_CLUSTER_WIDE] if cluster_wide and _OF_CLUSTER_WIDE not in looked else []
        await asyncio.gather(
            *(self._read_events(seen, namespace) for namespace in [*looked, *elsewhere]),
            *(self._read_pods(seen, namespace) for namespace in looked),
            *(self._read_owned(seen, namespace, *kind) for namespace in looked for kind in _OWNED_KINDS),
        )
        if left_out:
            seen.missing[left_out[0]] = (
                f"Only {MAX_NAMESPACES} of the {len(namespaces)} namespaces of the release were read, "
                f"not {left_out[0]}{' and others' if len(left_out) > 1 else ''}"
            )
        return seen

    async def _read_events(self, seen: _Seen, namespace: str) -> None:
        with seen.reading(namespace):
            events = await self.objects.list("v1", "Event", namespace=namespace, keep=essential_event)
            seen.events.update((event["metadata"]["uid"], event) for event in events)

    async def _read_pods(self, seen: _Seen, namespace: str) -> None:
        with seen.reading(namespace):
            pods = read_pods(await self.objects.list("v1", "Pod", namespace=namespace, keep=essential_pod))
            seen.pods.update((pod.uid, pod) for pod in pods)
            seen.existing.update((pod.identity, pod.uid) for pod in pods)

    async def _read_owned(self, seen: _Seen, namespace: str, api_version: str, kind: str) -> None:
        with seen.reading(namespace):
            found = await self.objects.list(
                api_version, kind, namespace=namespace, metadata_only=True, keep=essential_member
            )
            seen.owned += map(member_of, found)

    async def _roots(self, lineage: Lineage, owned: set[str], pods: Iterable[Pod]) -> dict[str, Identity]:
        """Return by UID the release's pods of the present revision, with the rendered object that each comes from."""
        roots = {}
        for pod in pods:
            with contextlib.suppress(KubeError):
                if (pod.uid in owned or pod.identity in lineage.rendered) and (root := await lineage.root_of(pod)):
                    roots[pod.uid] = root
        return roots

    async def _not_replaced(self, lineage: Lineage, pods: Iterable[Pod]) -> list[tuple[Pod, Identity]]:
        """Return the pods of earlier revisions that their StatefulSets do not replace."""
        found = []
        for pod in pods:
            with contextlib.suppress(KubeError):
                if stateful_set := await lineage.not_replaced_by(pod):
                    found.append((pod, stateful_set))
        return found

    async def _containers(
        self,
        home: str,
        evidence: Evidence,
        cause: Cause | None,
        existing: Mapping[Identity, str],
        redact: Callable[[str], str],
    ) -> list[FailedContainer]:
        def is_the_cause(pod: Pod, container: Container) -> bool:
            return cause is not None and (cause.subject, cause.container) == (pod.identity, container.name)

        earlier = [(pod, container) for pod, _ in evidence.not_replaced for container in pod.containers]
        wanted = [each for each in evidence.containers if shows_trouble(each[1]) or is_the_cause(*each)]
        wanted += [each for each in earlier if cause is not None and cause.subject == each[0].identity]
        wanted.sort(key=lambda each: not is_the_cause(*each))
        reading = (
            # A log is read by the name of its pod, which may be that of a newer one by now.
            failed_container(
                self.logs if existing.get(pod.identity, pod.uid) == pod.uid else None, home, pod, container, redact
            )
            for pod, container in wanted[:MAX_CONTAINERS]
        )
        return await asyncio.gather(*reading)
