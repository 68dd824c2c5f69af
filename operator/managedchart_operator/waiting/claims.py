"""Which PersistentVolumeClaims of a release wait for a pod that the release does not have.

A StorageClass with volumeBindingMode WaitForFirstConsumer binds a claim when a pod that mounts it is scheduled. A claim that
only a CronJob, a workload with no replicas or a later release mounts stays Pending, and nothing is wrong with it.
Source: Kubernetes documentation, "Storage Classes" (volume binding mode), "Persistent Volumes", "StatefulSets".
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.waiting.status_fields import Parts, mapping, mappings, number_or

CLAIM = ("", "PersistentVolumeClaim")
# The annotation that named the class before there was a field; the API server still reads it.
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
# Kinds whose pods start at once, with the field for their number.
_COUNTS = {
    ("", "ReplicationController"): "replicas",
    ("apps", "Deployment"): "replicas",
    ("apps", "ReplicaSet"): "replicas",
    ("apps", "StatefulSet"): "replicas",
    ("apps", "DaemonSet"): "",
    ("batch", "Job"): "parallelism",
}


@dataclass(frozen=True, slots=True)
class Consumers:
    """The claims that pods of a release mount as soon as it is applied."""

    _named: frozenset[tuple[str, str]]
    """Namespace and name."""
    _numbered: Mapping[tuple[str, str], list[range]]
    """Namespace, and name without the number that a StatefulSet appends."""

    @classmethod
    def of(cls, rendered: Iterable[Mapping[str, Any]], *, namespace: str) -> Self:
        """Read them from rendered objects with their specs; `namespace` is the release's."""
        named: set[tuple[str, str]] = set()
        numbered: defaultdict[tuple[str, str], list[range]] = defaultdict(list)
        for item in rendered:
            parts, ref = Parts.of(item), reference(item, namespace)
            named.update((ref.namespace, name) for name in _mounted(parts, ref.group_kind))
            if ref.group_kind == ("apps", "StatefulSet"):
                start = number_or(mapping(parts.spec.get("ordinals")).get("start"), 0)
                for template in mappings(parts.spec.get("volumeClaimTemplates")):
                    stem = f"{mapping(template.get('metadata')).get('name')}-{ref.name}"
                    numbered[ref.namespace, stem].append(range(start, start + max(parts.wanted(), 0)))
        return cls(frozenset(named), numbered)

    def mounts(self, claim: ObjectRef) -> bool:
        """Whether a pod mounts the claim."""
        stem, _, number = claim.name.rpartition("-")
        counts = self._numbered.get((claim.namespace, stem), ()) if number.isdecimal() and len(number) < 10 else ()
        return (claim.namespace, claim.name) in self._named or any(int(number) in count for count in counts)


async def binds_late(objects: Objects, ref: ObjectRef) -> bool:
    """Whether a claim's StorageClass binds it only when a pod that mounts it is scheduled. Raises KubeError."""
    parts = Parts.of(await objects.get(ref) or {})
    if parts.spec.get("volumeName"):
        return False  # the claim waits for that volume
    name = parts.spec.get("storageClassName") or mapping(parts.meta.get("annotations")).get(_CLASS_ANNOTATION)
    found = await objects.get(ObjectRef("storage.k8s.io/v1", "StorageClass", name)) if name else None
    return (found or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def _mounted(parts: Parts, kind: tuple[str, str]) -> Iterator[str]:
    """Yield the names of the claims that the pods of an object mount, if its pods start at once."""
    if kind == ("", "Pod"):
        pod = parts.spec
    elif (count := _COUNTS.get(kind)) is not None:
        if (count and not parts.wanted(count)) or parts.spec.get("paused") or parts.spec.get("suspend"):
            return
        pod = mapping(mapping(parts.spec.get("template")).get("spec"))
    else:
        return
    for volume in mappings(pod.get("volumes")):
        if name := mapping(volume.get("persistentVolumeClaim")).get("claimName"):
            yield str(name)
