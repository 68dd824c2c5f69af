"""Pods that a controller was not allowed to create: is it still so, and may it pass?

A quota that is just enough refuses one pod of each rolling update, a webhook that starts with the release refuses the first
ones: such refusals heal, and the deployment succeeds. So a refusal counts only while no pod was created after it, the
controller lacks pods, and nothing is under way, or was a moment before, that can end the refusal. `fail_fast` asks all of it,
the collected evidence only the first.
Source: kube-controller-manager (events FailedCreate and SuccessfulCreate; a refused creation is tried again after 5 ms, 10 ms,
20 ms and so on); Kubernetes documentation, "Resource Quotas".
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.objects import GroupKind, Identity, subject_of
from managedchart_operator.diagnosis.pods import Pod

# How the API server words the two refusals that may pass.
QUOTA_TEXT = "exceeded quota"
WEBHOOK_TEXT = "failed calling webhook"
_FAILED, _SUCCEEDED = "FailedCreate", "SuccessfulCreate"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A controller could not create a pod, by its event; `seen` is when that arrived here, on the monotonic clock."""

    event: Mapping[str, Any]
    seen: float

    @property
    def controller(self) -> Identity:
        """Which controller it is."""
        return subject_of(self.event)

    @property
    def version(self) -> int:
        """A number that is greater for every later refusal."""
        return _version(self.event)

    @property
    def text(self) -> str:
        """Why, in the API server's words."""
        return self.event.get("message") or ""

    @property
    def depends_on_pods(self) -> bool:
        """Whether other pods can end it."""
        return QUOTA_TEXT in self.text or WEBHOOK_TEXT in self.text


@dataclass(slots=True)
class Creations:
    """What controllers last reported about creating their pods."""

    refused: dict[str, Refusal] = field(default_factory=dict)
    """The newest refusal of each controller that has created nothing since, by the controller's UID."""
    _newest: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Self:
        """Take in many events, in any order."""
        found = cls()
        for event in events:
            found.see(event)
        return found

    def see(self, event: Mapping[str, Any]) -> bool:
        """Take in an event; returns whether this changes what is refused."""
        failed = event.get("reason") == _FAILED and event.get("type") == "Warning"
        if not failed and event.get("reason") != _SUCCEEDED:
            return False
        controller = _controller_uid(event)
        known = self._newest.get(controller)
        if known is not None and _version(known) >= _version(event):
            return False  # a list is in no order of time, and may have what is known
        self._newest[controller] = event
        if failed:
            self.refused[controller] = Refusal(event, time.monotonic())
            return True
        return self.refused.pop(controller, None) is not None

    def forget(self, event: Mapping[str, Any]) -> None:
        """Drop an event that is not kept any longer."""
        controller = _controller_uid(event)
        known = self._newest.get(controller)
        if known is not None and known["metadata"]["uid"] == event["metadata"]["uid"]:
            del self._newest[controller]
            self.refused.pop(controller, None)


def _controller_uid(event: Mapping[str, Any]) -> str:
    return str((event.get("involvedObject") or {}).get("uid") or "")


def _version(event: Mapping[str, Any]) -> int:
    """It grows with each change of any event; their times are in whole seconds."""
    return int(event["metadata"].get("resourceVersion") or 0)


def lacks_pods(kind: GroupKind, controller: Mapping[str, Any] | None) -> bool:
    """Whether a controller, as it is now, has fewer pods than it is to have; False where that is not known.

    It is not before the controller has seen the present spec, and of other kinds than these. A CronJob, for one, is not waited
    for, whatever happens to its Jobs.
    """
    if controller is None:
        return False
    spec, status = controller.get("spec") or {}, controller.get("status") or {}
    if status.get("observedGeneration", 0) < controller["metadata"].get("generation", 0) and kind != ("batch", "Job"):
        return False  # a Job's status does not tell
    there, wanted = int(status.get("replicas") or 0), int(spec.get("replicas", 1))
    match kind:
        case ("apps", "ReplicaSet") | ("", "ReplicationController"):
            return there < wanted
        case ("apps", "StatefulSet"):
            # In order, the next pod is not tried before those that are there are ready.
            at_once = spec.get("podManagementPolicy") == "Parallel"
            return there < wanted and (at_once or int(status.get("readyReplicas") or 0) == there)
        case ("apps", "DaemonSet"):
            field_name = "currentNumberScheduled"
            if (spec.get("updateStrategy") or {}).get("type") != "OnDelete":
                field_name = "updatedNumberScheduled"  # with maxSurge, new pods come before the old ones go
            return int(status.get(field_name) or 0) < int(status.get("desiredNumberScheduled") or 0)
        case ("batch", "Job"):
            return int(status.get("active") or 0) < _wanted_by_job(spec, status)
        case _:
            return False


def _wanted_by_job(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    ended = any(
        condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )
    if ended or spec.get("suspend"):
        return 0
    at_once, succeeded = int(spec.get("parallelism", 1)), int(status.get("succeeded") or 0)
    if spec.get("completions") is None:
        return 0 if succeeded else at_once  # a work queue is done when one has succeeded
    return min(at_once, int(spec["completions"]) - succeeded)


def _has_fresh_pods(controller: Mapping[str, Any] | None) -> bool:
    """Whether pods of a controller are ready and do not count as available yet (minReadySeconds)."""
    status = (controller or {}).get("status") or {}
    pairs = (("readyReplicas", "availableReplicas"), ("numberReady", "numberAvailable"))
    return any(int(status.get(ready) or 0) > int(status.get(available) or 0) for ready, available in pairs)


async def may_end(refusal: Refusal, *, nearby: Sequence[Pod], everywhere: Iterable[Pod], lineage: Lineage) -> bool:
    """Whether something is under way that can end a refusal. Raises KubeError.

    `nearby` are the pods in the controller's namespace, `everywhere` those in all namespaces of the release, whosever they are.

    - A quota gets room when a pod goes: one that is being deleted, the release's Job, or an old pod of the release that is
      deleted as soon as a new one is available.
    - A webhook may be served by one of the release's own pods.
    - What a policy, a LimitRange or a missing ServiceAccount refuses, no pod changes.
    """
    if not refusal.depends_on_pods:
        return False
    if WEBHOOK_TEXT in refusal.text:
        return await _any_of_release([pod for pod in everywhere if pod.on_its_way], lineage)
    if any(pod.deleting for pod in nearby) or _has_fresh_pods(await lineage.read(refusal.controller)):
        return True
    starting = [pod for pod in nearby if pod.on_its_way]
    if await _any_of_release([pod for pod in starting if pod.of_job], lineage):
        return True
    older = [pod for pod in nearby if not lineage.made_in_run(pod)]
    return await _any_of_release(starting, lineage) and await _any_of_release(older, lineage)


async def _any_of_release(pods: Iterable[Pod], lineage: Lineage) -> bool:
    """In doubt a pod is the release's: then the wait goes on."""
    for pod in pods:
        if not await lineage.is_foreign(pod):
            return True
    return False
