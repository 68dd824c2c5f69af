"""Finds objects that no controller works on: a suspended Job, a paused Deployment, a PersistentVolumeClaim without a pod.

The operator's own wait skips them. Helm's wait, which charts with late hooks need, does not, and its timeout names no cause. So
this reads the objects in the cluster when the other evidence explains nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managedchart_operator.api.status import FailureEvent
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.claims import CLAIM, Consumers
from managedchart_operator.waiting.kstatus import JOB, job_result
from managedchart_operator.waiting.status_fields import Parts

# How many requests a failure without a cause may cost. Releases with more Jobs and Deployments are rare.
_MAX_READS = 20
_HALTED = (JOB, ("apps", "Deployment"), CLAIM)


async def find_halted(
    objects: Objects,
    *,
    namespace: str,
    rendered: Sequence[Mapping[str, Any]],
    events: Iterable[FailureEvent],
    unready: frozenset[ObjectRef] | None,
) -> Cause | None:
    """Return the first object of a release that no controller works on, as the cause.

    `unready` are the objects that are not ready, if known. Raises KubeError.
    """
    consumers = Consumers.of(rendered, namespace=namespace)
    named = (reference(item, namespace) for item in rendered)  # all of these kinds are namespaced
    refs = [ref for ref in named if ref.group_kind in _HALTED and ref.name and (unready is None or ref in unready)]
    waiting = {event.object: event.message for event in events if event.reason == "WaitForFirstConsumer"}
    for ref in refs[:_MAX_READS]:
        words = waiting.get(_identity(ref).shown_from(namespace))
        if ref.group_kind == CLAIM and (words is None or consumers.mounts(ref)):
            continue  # what its pod waits for is the cause
        found = await objects.get(ref)
        if found is not None and (cause := _cause_of(ref, found, words)):
            return cause
    return None


def _cause_of(ref: ObjectRef, found: Mapping[str, Any], words: str | None) -> Cause | None:
    parts, command = Parts.of(found), f"kubectl -n {ref.namespace}"
    reason = Reason.TIMEOUT
    match ref.group_kind:
        case ("", _) if parts.status.get("phase") == "Pending":
            reason, message = Reason.VOLUME_UNBOUND, f"{ref} waits for a volume: {words}"
            hint = (
                "Let a pod of the release mount it, use a StorageClass that binds immediately, or set spec.wait: false. See "
                f"{command} describe pvc {ref.name}"
            )
        case ("batch", _) if parts.spec.get("suspend") is True and not job_result(found, ref.group_kind):
            message = f"{ref} is suspended, so it does not run"
            patch = f"""{command} patch job {ref.name} -p '{{"spec": {{"suspend": false}}}}'"""
            hint = f"Resume it, or set spec.wait: false: {patch}"
        case ("apps", _) if parts.spec.get("paused") is True:
            message = f"{ref} is paused, so its pods are not replaced"
            hint = f"Resume it: {command} rollout resume deployment {ref.name}"
        case _:
            return None
    return Cause(reason, message, _identity(ref), hint=hint)


def _identity(ref: ObjectRef) -> Identity:
    return Identity(*ref.group_kind, ref.namespace, ref.name)
