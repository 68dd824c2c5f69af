"""Decides whether a pod or a controller belongs to the revision that is being deployed.

Pods of the previous revision never count, nor do uncertain ones. A few objects are read to find out, each once.

A Deployment's pods count if their ReplicaSet is its newest and the controller has observed its present generation; a
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
    """Decides it for one run. `rendered` are the objects of the release."""

    objects: Objects
    rendered: frozenset[Identity]
    since: datetime
    _known: dict[Identity, dict[str, Any] | None] = field(default_factory=dict)

    async def root_of(self, pod: Pod) -> Identity | None:
        """Return the rendered object that a pod of the present revision comes from; None for other pods. Raises KubeError."""
        if pod.identity in self.rendered:
            return pod.identity if self.made_in_run(pod) else None
        for controller in self._controllers_of(pod):
            root = await self.root_of_controller(controller, pod=pod)
            if root is not None:
                return root
        return None

    async def root_of_controller(self, controller: Identity, *, pod: Pod | None = None) -> Identity | None:
        """Return the rendered object that a controller comes from, or the given pod of it; else None. Raises KubeError."""
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
        """Whether a pod comes from no rendered object, whatever the revision; this never changes. Raises KubeError."""
        if pod.identity in self.rendered:
            return False
        return all([await self.is_foreign_controller(controller) for controller in self._controllers_of(pod)])

    async def is_foreign_controller(self, controller: Identity) -> bool:
        """Whether a controller comes from no rendered object. Raises KubeError."""
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
        """Return a controller as it is now, or None if it does not exist; each is read once. Raises KubeError.

        None also for kinds that are not built into Kubernetes.
        """
        if controller not in self._known:
            version = _API_VERSIONS.get(controller.group_kind)
            ref = ObjectRef(version or "", controller.kind, controller.name, controller.namespace)
            self._known[controller] = await self.objects.get(ref) if version else None
        return self._known[controller]

    def _controllers_of(self, pod: Pod) -> list[Identity]:
        """Return the owners of a pod: objects of its namespace, and cluster-wide ones of the release."""
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
        # Until the controller has observed the new spec, the status names the former revision as the update revision.
        if found is None or not _is_observed(found):
            return False
        return pod.labels.get("controller-revision-hash") == (found.get("status") or {}).get("updateRevision")

    def _owner_of(self, found: dict[str, Any] | None, namespace: str) -> Identity | None:
        return owner_among(self.rendered, owners_of((found or {}).get("metadata") or {}), namespace)


async def root_or_none(lineage: Lineage, pod: Pod) -> Identity | None:
    """Return the same as `root_of`, but None if the lineage cannot be read."""
    try:
        return await lineage.root_of(pod)
    except KubeError:
        return None


def _is_observed(found: dict[str, Any]) -> bool:
    """Whether the controller has observed the present generation."""
    return bool((found.get("status") or {}).get("observedGeneration") == found["metadata"].get("generation"))
