"""Does a pod, or a controller that events name, belong to the release as it is being deployed now?

A pod of the previous revision never counts, and neither does what is not certain. A few objects are read for it, each once.

A Deployment's pods count if their ReplicaSet is its newest and the controller has seen its present generation; a
StatefulSet's if they have its update revision; all others if they were created during the run.
Source: Kubernetes documentation, "Deployments" (annotation deployment.kubernetes.io/revision), "StatefulSets".
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from managedchart_operator.diagnosis.objects import Identity, owner_among, owners_of
from managedchart_operator.diagnosis.pods import Pod
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.times import read_time

_API_VERSIONS = {
    ("apps", "ReplicaSet"): "apps/v1",
    ("apps", "Deployment"): "apps/v1",
    ("apps", "StatefulSet"): "apps/v1",
    ("apps", "DaemonSet"): "apps/v1",
    ("batch", "Job"): "batch/v1",
    ("", "ReplicationController"): "v1",
}
_REPLICA_SET, _JOB = ("apps", "ReplicaSet"), ("batch", "Job")
_REVISION = "deployment.kubernetes.io/revision"


@dataclass(slots=True)
class Lineage:
    """Answers for one run. `rendered` are the objects of the release."""

    objects: Objects
    rendered: frozenset[Identity]
    since: datetime
    _known: dict[Identity, dict[str, Any] | None] = field(default_factory=dict)

    async def root_of(self, pod: Pod) -> Identity | None:
        """Return which rendered object a pod of the present revision comes from; None for every other pod. Raises KubeError."""
        if pod.identity in self.rendered:
            return pod.identity if self.made_in_run(pod) else None
        for controller in self._controllers_of(pod):
            root = await self.root_of_controller(controller, pod=pod)
            if root is not None:
                return root
        return None

    async def root_of_controller(self, controller: Identity, *, pod: Pod | None = None) -> Identity | None:
        """Return the same for a controller that events name. Raises KubeError."""
        if controller.group_kind == _REPLICA_SET:
            return await self._of_replica_set(controller)
        if controller in self.rendered:
            if pod is None:
                return controller
            if controller.group_kind == ("apps", "StatefulSet"):
                return controller if await self._is_updated(controller, pod) else None
            return controller if self.made_in_run(pod) else None
        if controller.group_kind == _JOB:
            return self._owner_of(await self.read(controller), controller.namespace)
        return None

    async def is_foreign(self, pod: Pod) -> bool:
        """Whether a pod comes from none of the rendered objects, in any revision; this never changes. Raises KubeError."""
        if pod.identity in self.rendered:
            return False
        return all([await self.is_foreign_controller(controller) for controller in self._controllers_of(pod)])

    async def is_foreign_controller(self, controller: Identity) -> bool:
        """Whether a controller comes from none of them. Raises KubeError."""
        if controller in self.rendered:
            return False
        if controller.group_kind not in (_REPLICA_SET, _JOB):
            return True
        found = await self.read(controller)
        # The owner of a controller that does not exist is unknown.
        return found is not None and self._owner_of(found, controller.namespace) is None

    def made_in_run(self, pod: Pod) -> bool:
        """Whether a pod was created during the run."""
        made = read_time(pod.created)
        return made is not None and made >= self.since.replace(microsecond=0)

    async def read(self, controller: Identity) -> dict[str, Any] | None:
        """Return a controller as it is now, or None; each is read once. Raises KubeError.

        None also for kinds whose pods Kubernetes itself does not create.
        """
        if controller not in self._known:
            version = _API_VERSIONS.get(controller.group_kind)
            ref = ObjectRef(version or "", controller.kind, controller.name, controller.namespace)
            self._known[controller] = await self.objects.get(ref) if version else None
        return self._known[controller]

    def _controllers_of(self, pod: Pod) -> list[Identity]:
        """Return what created a pod: objects of its namespace, and cluster-wide ones of the release."""
        found = []
        for owner in pod.owners:
            near, cluster_wide = owner.identities(pod.namespace)
            found.append(cluster_wide if cluster_wide in self.rendered else near)
        return found

    async def _of_replica_set(self, replica_set: Identity) -> Identity | None:
        found = await self.read(replica_set)
        meta = (found or {}).get("metadata") or {}
        for owner in owners_of(meta):
            near, _ = owner.identities(replica_set.namespace)
            if near.group_kind != ("apps", "Deployment") or near not in self.rendered:
                continue
            deployment = await self.read(near)
            if deployment is None:
                return None
            revision = (deployment["metadata"].get("annotations") or {}).get(_REVISION)
            newest = revision == (meta.get("annotations") or {}).get(_REVISION)
            return near if newest and _is_observed(deployment) else None
        return replica_set if replica_set in self.rendered else None

    async def _is_updated(self, stateful_set: Identity, pod: Pod) -> bool:
        found = await self.read(stateful_set)
        # Before the controller has seen the new spec, the former revision is still called the updated one.
        if found is None or not _is_observed(found):
            return False
        return pod.labels.get("controller-revision-hash") == (found.get("status") or {}).get("updateRevision")

    def _owner_of(self, found: dict[str, Any] | None, namespace: str) -> Identity | None:
        return owner_among(self.rendered, owners_of((found or {}).get("metadata") or {}), namespace)


async def root_or_none(lineage: Lineage, pod: Pod) -> Identity | None:
    """As `root_of`, with an unreadable lineage counted as foreign."""
    try:
        return await lineage.root_of(pod)
    except KubeError:
        return None


def _is_observed(found: dict[str, Any]) -> bool:
    """Whether its controller has seen the present generation."""
    return bool((found.get("status") or {}).get("observedGeneration") == found["metadata"].get("generation"))
