"""Does a pod, or what a controller tells of one, belong to the release as it is being deployed now?

Purpose: a pod of the previous revision never counts. Boundary: reads a few objects, each once a version. Invariants: what
cannot be told for sure does not count.

A Deployment's pods count if their ReplicaSet is its newest and the controller has seen its present generation; a
StatefulSet's if they have its update revision; all others if they were made during the run.
Source: Kubernetes documentation, "Deployments" (annotation deployment.kubernetes.io/revision), "StatefulSets".
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import Pod
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.times import read_time

_API_VERSIONS = {
    "ReplicaSet": "apps/v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
}
_REVISION = "deployment.kubernetes.io/revision"


@dataclass(slots=True)
class Lineage:
    """Answers for one run. `rendered` are the objects of the release, by kind and name."""

    objects: Objects
    namespace: str
    rendered: frozenset[Identity]
    since: datetime
    _known: dict[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)

    async def root_of(self, pod: Pod) -> Identity | None:
        """Return which rendered object a pod of the present revision comes from; None for every other pod. Raises KubeError."""
        if ("Pod", pod.name) in self.rendered:
            return ("Pod", pod.name) if self._made_in_run(pod.created) else None
        for kind, name, _ in pod.owners:
            root = await self.root_of_controller(kind, name, pod=pod)
            if root is not None:
                return root
        return None

    async def root_of_controller(self, kind: str, name: str, *, pod: Pod | None = None) -> Identity | None:
        """The same for a controller by kind and name, as events tell of it. Raises KubeError."""
        if kind == "ReplicaSet":
            return await self._of_replica_set(name)
        if (kind, name) in self.rendered:
            if kind == "StatefulSet" and pod is not None:
                found = await self._get(kind, name)
                wanted = ((found or {}).get("status") or {}).get("updateRevision")
                return (kind, name) if pod.labels.get("controller-revision-hash") == wanted else None
            return (kind, name) if pod is None or self._made_in_run(pod.created) else None
        if kind == "Job":
            job = await self._get(kind, name)
            for owner in ((job or {}).get("metadata") or {}).get("ownerReferences") or ():
                if (owner["kind"], owner["name"]) in self.rendered:
                    return (owner["kind"], owner["name"])
        return None

    async def is_foreign(self, pod: Pod) -> bool:
        """Whether a pod comes from none of the rendered objects, of whatever revision; this never changes. Raises KubeError."""
        if ("Pod", pod.name) in self.rendered:
            return False
        return all([await self.is_foreign_controller(kind, name) for kind, name, _ in pod.owners])

    async def is_foreign_controller(self, kind: str, name: str) -> bool:
        """The same for a controller by kind and name. Raises KubeError."""
        if (kind, name) in self.rendered:
            return False
        if kind not in ("ReplicaSet", "Job"):
            return True
        found = await self._get(kind, name)
        if found is None:
            return False  # its owner is not known
        owners = (found.get("metadata") or {}).get("ownerReferences") or ()
        return all((owner["kind"], owner["name"]) not in self.rendered for owner in owners)

    def forget(self) -> None:
        """Look at the objects anew: they may have changed since."""
        self._known.clear()

    async def _of_replica_set(self, name: str) -> Identity | None:
        found = await self._get("ReplicaSet", name)
        meta = (found or {}).get("metadata") or {}
        for owner in meta.get("ownerReferences") or ():
            if owner["kind"] != "Deployment" or ("Deployment", owner["name"]) not in self.rendered:
                continue
            deployment = await self._get("Deployment", owner["name"])
            if deployment is None:
                return None
            seen = (deployment.get("status") or {}).get("observedGeneration") == deployment["metadata"].get(
                "generation"
            )
            revision = (deployment["metadata"].get("annotations") or {}).get(_REVISION)
            newest = revision == (meta.get("annotations") or {}).get(_REVISION)
            return ("Deployment", owner["name"]) if seen and newest else None
        return ("ReplicaSet", name) if ("ReplicaSet", name) in self.rendered else None

    def _made_in_run(self, created: str) -> bool:
        made = read_time(created)
        return made is not None and made >= self.since.replace(microsecond=0)

    async def _get(self, kind: str, name: str) -> dict[str, Any] | None:
        if (kind, name) not in self._known:
            ref = ObjectRef(_API_VERSIONS[kind], kind, name, self.namespace)
            self._known[kind, name] = await self.objects.get(ref)
        return self._known[kind, name]


async def root_or_none(lineage: Lineage, pod: Pod) -> Identity | None:
    """As `root_of`, with an unreadable lineage counted as foreign."""
    try:
        return await lineage.root_of(pod)
    except KubeError:
        return None
