"""Reads the namespaces of a failed release: events, pods, and what controllers created.

The collector calls it once, and decides what belongs to the release. What the watches saw before is included, since pods may be
deleted by now. A namespace that cannot be read is reported, and does not affect the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import MAX_NAMESPACES, Member, member_of
from managedchart_operator.diagnosis.pods import Pod, read_pods
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.objects import Objects

# What controllers create for a chart's objects, in the namespace of their owner.
_OWNED_KINDS = (("apps/v1", "ReplicaSet"), ("batch/v1", "Job"), ("v1", "PersistentVolumeClaim"))
# Where Kubernetes keeps the events about cluster-wide objects.
_OF_CLUSTER_WIDE = "default"

_Items = Iterable[Mapping[str, Any]]


@dataclass(slots=True)
class Seen:
    """What was found in the namespaces, and a sentence for each that could not be read."""

    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """By UID of the event."""
    pods: dict[str, Pod] = field(default_factory=dict)
    """By UID, including deleted ones."""
    owned: list[Member] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """By namespace."""

    @property
    def members(self) -> list[Member]:
        """Everything that may belong to the release."""
        return self.owned + [Member(pod.uid, pod.namespace, pod.owners) for pod in self.pods.values()]

    def take_events(self, found: _Items) -> None:
        """Add events."""
        self.events.update((event["metadata"]["uid"], event) for event in found)

    def take_pods(self, found: _Items) -> None:
        """Add pods."""
        self.pods.update((pod.uid, pod) for pod in read_pods(found))

    def take_owned(self, found: _Items) -> None:
        """Add objects that a controller may have created."""
        self.owned += map(member_of, found)


async def look(
    objects: Objects,
    events: Events,
    namespaces: Sequence[str],
    *,
    views: Mapping[str, NamespaceView],
    cluster_wide: bool,
) -> Seen:
    """Read up to MAX_NAMESPACES; `cluster_wide` says whether events about cluster-wide objects are needed too."""
    seen = Seen()
    for view in views.values():
        seen.pods.update(view.pods)
        seen.events.update(view.events)
    looked, left_out = namespaces[:MAX_NAMESPACES], namespaces[MAX_NAMESPACES:]
    readings = []
    for namespace in looked:
        readings += [
            _read(seen, namespace, events.list(namespace), seen.take_events),
            _read(seen, namespace, objects.list("v1", "Pod", namespace=namespace), seen.take_pods),
        ]
        readings += [
            _read(seen, namespace, objects.list(*kind, namespace=namespace, metadata_only=True), seen.take_owned)
            for kind in _OWNED_KINDS
        ]
    if cluster_wide and _OF_CLUSTER_WIDE not in looked:
        readings.append(_read(seen, _OF_CLUSTER_WIDE, events.list(_OF_CLUSTER_WIDE), seen.take_events))
    await asyncio.gather(*readings)
    if left_out:
        seen.missing[left_out[0]] = (
            f"Only {MAX_NAMESPACES} of the {len(namespaces)} namespaces of the release were read, "
            f"not {left_out[0]}{' and others' if len(left_out) > 1 else ''}"
        )
    return seen


async def _read(
    seen: Seen, namespace: str, reading: Awaitable[list[dict[str, Any]]], take: Callable[[_Items], None]
) -> None:
    try:
        take(await reading)
    except KubeError as error:
        seen.missing[namespace] = f"The evidence in namespace {namespace} could not be read: {error.message}"
