"""Which Job is an action's own: that of somebody else never counts as having run, and is never changed.

Whoever may create Jobs in the namespace of the release can make one of any name, with any label, that ends as they like. An
action of the ManagedChart is theirs anyway, so there the label of its owner tells the Jobs apart. For one of a profile with an
account of its own that is not enough. There the name follows from the UID of the account too, so a tenant cannot compute it.
And the Job is created suspended: the change that starts it adds a keyed hash of the Job's own UID. A Job that somebody deletes
and creates again with the same content has another UID, so its hash is wrong. One without a hash that is still suspended was
left by an operator that was killed in between. It has not run, so it is deleted and created again.
Source: Kubernetes documentation, "Jobs", "Suspending a Job".
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from managedchart_operator.api.resource import GROUP
from managedchart_operator.errors import LifecycleError
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.single_writes import create
from managedchart_operator.lifecycle.actions.scene import FIELD_MANAGER, Scene
from managedchart_operator.lifecycle.actions.writing import writer

PROOF = f"{GROUP}/started"
"""The annotation with the keyed hash of the Job's UID."""


async def existing(scene: Scene, ref: ObjectRef) -> dict[str, Any] | None:
    """Return the action's own Job; None if there is none of its name. Raises LifecycleError for that of somebody else."""
    found = await scene.cluster.get(ref)
    if found is not None and not _is_own(scene, found):
        raise LifecycleError(
            f"{ref} was not created by this action, which needs its name",
            hint=f"See who created it, and delete it: kubectl -n {ref.namespace} delete job {ref.name}",
        )
    return found


async def started(scene: Scene, ref: ObjectRef, body: Mapping[str, Any]) -> dict[str, Any]:
    """Create a Job and return it once it may run. Raises LifecycleError, KubeError."""
    if scene.foreign:
        body = {**body, "spec": {**body["spec"], "suspend": True}}
    found = await create(scene.cluster, ref, body, manager=FIELD_MANAGER)
    if found is None:
        raise LifecycleError(f"{ref} was created by somebody else in the meantime")
    if scene.foreign:
        uid = found["metadata"]["uid"]
        start = {"metadata": {"uid": uid, "annotations": {PROOF: _proof(scene, uid)}}, "spec": {"suspend": False}}
        found = await writer(scene).merge(ref, start)
    if found is None:
        raise LifecycleError(f"{ref} was deleted before it ended")
    return found


def never_ran(scene: Scene, job: Mapping[str, Any]) -> bool:
    """Whether the operator was ended before it could start its Job."""
    return scene.foreign and not _is_proven(scene, job)


def _is_own(scene: Scene, job: Mapping[str, Any]) -> bool:
    if (job["metadata"].get("labels") or {}).get(OWNER_LABEL) != scene.context.chart.uid:
        return False
    return not scene.foreign or _is_proven(scene, job) or _waits_for_start(job)


def _is_proven(scene: Scene, job: Mapping[str, Any]) -> bool:
    metadata = job["metadata"]
    proof = str((metadata.get("annotations") or {}).get(PROOF))
    return hmac.compare_digest(proof.encode(), _proof(scene, metadata["uid"]).encode())


def _waits_for_start(job: Mapping[str, Any]) -> bool:
    annotations = job["metadata"].get("annotations") or {}
    return PROOF not in annotations and job["spec"].get("suspend") is True


def _proof(scene: Scene, uid: str) -> str:
    return hmac.new((scene.account or "").encode(), uid.encode(), hashlib.sha256).hexdigest()
