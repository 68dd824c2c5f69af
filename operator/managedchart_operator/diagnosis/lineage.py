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
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.times import read_time
from managedchart_operator.waiting.kstatus import JOB
from managedchart_operator.waiting.status_fields import Parts, mapping, number_or

_API_VERSIONS = {
    ("apps", "ReplicaSet"): "apps/v1",
    ("apps", "Deployment"): "apps/v1",
    ("apps", "StatefulSet"): "apps/v1",
    ("apps", "DaemonSet"): "apps/v1",
    JOB: "batch/v1",
    ("", "ReplicationController"): "v1",
}
_REPLICA_SET = ("apps", "ReplicaSet")
STATEFUL_SET = ("apps", "StatefulSet")


@dataclass(slots=True)
class Lineage:
    """Decides it for one run. `rendered` are the objects of the release."""

    objects: Objects
    rendered: frozenset[Identity]
    since: datetime
    _known: dict[Identity, dict[str, Any] | None] = field(default_factory=dict)

    async def root_of(self, subject: Pod | Identity) -> Identity | None:
        """Return the rendered object that a controller, or a pod of the present revision, comes from; None for others.

        Raises KubeError.
        """
        if not isinstance(subject, Pod):
            return await self._root_of_controller(subject)
        if subject.identity in self.rendered:
            return subject.identity if self.made_in_run(subject) else None
        for controller in self._controllers_of(subject):
            if root := await self._root_of_controller(controller, pod=subject):
                return root
        return None

    async def _root_of_controller(self, controller: Identity, *, pod: Pod | None = None) -> Identity | None:
        if controller.group_kind == _REPLICA_SET:
            return await self._of_replica_set(controller)
        if controller in self.rendered:
            if pod is None:
                return controller
            if controller.group_kind == STATEFUL_SET:
                return controller if await self._is_updated(controller, pod) else None
            return controller if self.made_in_run(pod) else None
        if controller.group_kind == JOB:
            return self._owner_of(await self.read(controller), controller.namespace)
        return None

    async def is_foreign(self, subject: Pod | Identity) -> bool:
        """Whether a pod or a controller comes from no rendered object, whatever the revision; this never changes.

        Raises KubeError.
        """
        if isinstance(subject, Pod):
            owners = self._controllers_of(subject)
            return subject.identity not in self.rendered and all([await self.is_foreign(owner) for owner in owners])
        if subject in self.rendered:
            return False
        if subject.group_kind not in (_REPLICA_SET, JOB):
            return True
        found = await self.read(subject)
        # The owner of a controller that does not exist is unknown.
        return found is not None and self._owner_of(found, subject.namespace) is None

    async def not_replaced_by(self, pod: Pod) -> Identity | None:
        """Return the StatefulSet that does not replace a pod of an earlier revision since it is not ready; None for others.

        A StatefulSet that starts its pods in order waits for each of them to become ready before it replaces any, even for one
        of a revision that was taken back. Raises KubeError.
        Source: Kubernetes documentation, "StatefulSets", "Forced rollback".
        """
        if pod.ready or pod.deleting or pod.ended:
            return None
        controllers = self._controllers_of(pod)
        found = next((each for each in controllers if each.group_kind == STATEFUL_SET and each in self.rendered), None)
        parts = Parts.of((found and await self.read(found)) or {})
        strategy = mapping(parts.spec.get("updateStrategy"))
        partition = number_or(mapping(strategy.get("rollingUpdate")).get("partition"), 0)
        _, _, ordinal = pod.name.rpartition("-")
        replaces = (
            parts.is_observed
            and parts.spec.get("podManagementPolicy") != "Parallel"
            and strategy.get("type") != "OnDelete"
            and number_or(ordinal, 0) >= partition
            and parts.status.get("updateRevision")
        )
        outdated = pod.revision not in (None, parts.status.get("updateRevision"))
        return found if replaces and outdated else None

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
            found = await self.objects.get(ref) if version else None
            self._known[controller] = found and _without_template(found)
        return self._known[controller]

    def _controllers_of(self, pod: Pod) -> list[Identity]:
        """Return the owners of a pod: objects of its namespace, and cluster-wide ones of the release."""
        pairs = (owner.identities(pod.namespace) for owner in pod.owners)
        return [cluster_wide if cluster_wide in self.rendered else near for near, cluster_wide in pairs]

    async def _of_replica_set(self, replica_set: Identity) -> Identity | None:
        found = await self.read(replica_set)
        owner = self._owner_of(found, replica_set.namespace)
        if owner is None or owner.group_kind != ("apps", "Deployment"):
            return replica_set if replica_set in self.rendered else None
        deployment = await self.read(owner)
        newest = _revision_of(found) == _revision_of(deployment)
        return owner if deployment and newest and Parts.of(deployment).is_observed else None

    async def _is_updated(self, stateful_set: Identity, pod: Pod) -> bool:
        found = await self.read(stateful_set)
        # Until the controller has observed the new spec, the status names the former revision as the update revision.
        parts = Parts.of(found or {})
        updated = pod.revision == parts.status.get("updateRevision")
        return found is not None and parts.is_observed and updated

    def _owner_of(self, found: dict[str, Any] | None, namespace: str) -> Identity | None:
        return owner_among(self.rendered, owners_of((found or {}).get("metadata") or {}), namespace)


def _without_template(found: dict[str, Any]) -> dict[str, Any]:
    """Return a controller without what nobody reads here: the template of hundreds of ReplicaSets may have a megabyte each."""
    meta, spec = mapping(found.get("metadata")), mapping(found.get("spec"))
    return {
        **found,
        "metadata": {name: value for name, value in meta.items() if name != "managedFields"},
        "spec": {name: value for name, value in spec.items() if name not in ("template", "volumeClaimTemplates")},
    }


def _revision_of(found: dict[str, Any] | None) -> Any:
    return mapping(Parts.of(found or {}).meta.get("annotations")).get("deployment.kubernetes.io/revision")
