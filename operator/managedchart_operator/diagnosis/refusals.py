"""Tracks pods that the API server refuses to a controller, and judges whether the refusal can still end.

A quota that is just large enough refuses one pod of each rolling update, a webhook that starts with the release refuses the
first pods: such refusals heal, and the deployment succeeds. So a refusal counts only while no pod was created after it, the
controller lacks pods, and nothing is under way, or was a moment before, that can end the refusal.
Source: kube-controller-manager (events FailedCreate and SuccessfulCreate; it retries a refused creation after 5 ms, 10 ms, 20
ms and so on); Kubernetes documentation, "Resource Quotas".
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from managedchart_operator.api_refusals import Refusal
from managedchart_operator.diagnosis.causes import may_become_ready, refused_creation
from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.objects import GroupKind, Identity, subject_of, subject_uid
from managedchart_operator.diagnosis.pods import Pod
from managedchart_operator.kube.objects import version_of
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.kstatus import JOB, job_result
from managedchart_operator.waiting.status_fields import Parts, mapping

_FAILED, _SUCCEEDED = "FailedCreate", "SuccessfulCreate"


@dataclass(frozen=True, slots=True)
class RefusedCreation:
    """A controller's event that it could not create a pod; `seen` is when it arrived here, on the monotonic clock."""

    event: Mapping[str, Any]
    seen: float
    why: Refusal

    @property
    def controller(self) -> Identity:
        """The controller that was refused."""
        return subject_of(self.event)

    @property
    def uid(self) -> str:
        """The UID of the controller."""
        return subject_uid(self.event)

    @property
    def version(self) -> int:
        """A number that grows with every later refusal."""
        return version_of(self.event)

    @property
    def by_webhook(self) -> bool:
        """Whether an unreachable webhook caused it. Any pod of the release may serve the webhook."""
        return self.why.reason is Reason.WEBHOOK_UNAVAILABLE

    @property
    def depends_on_pods(self) -> bool:
        """Whether other pods can end it: a quota gets room, or a webhook becomes reachable."""
        return self.by_webhook or (self.why.reason is Reason.QUOTA_EXCEEDED and self.why.transient)


@dataclass(slots=True)
class Creations:
    """What controllers last reported about creating their pods."""

    refused: dict[str, RefusedCreation] = field(default_factory=dict)
    """The newest refusal of each controller that has created nothing since, by the controller's UID."""
    _newest: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Self:
        """Record many events, in any order."""
        found = cls()
        for event in events:
            found.see(event)
        return found

    def see(self, event: Mapping[str, Any]) -> bool:
        """Record an event; return whether this changes what is refused."""
        failed = event.get("reason") == _FAILED and event.get("type") == "Warning"
        if not failed and event.get("reason") != _SUCCEEDED:
            return False
        controller = subject_uid(event)
        known = self._newest.get(controller)
        if known is not None and version_of(known) >= version_of(event):
            return False  # a list is not sorted, and repeats known events; their times have whole seconds
        self._newest[controller] = event
        if failed:
            why = refused_creation(event.get("message") or "", namespace=subject_of(event).namespace)
            self.refused[controller] = RefusedCreation(event, time.monotonic(), why)
            return True
        return self.refused.pop(controller, None) is not None

    def forget(self, event: Mapping[str, Any]) -> None:
        """Drop an event that is no longer kept."""
        controller = subject_uid(event)
        known = self._newest.get(controller)
        if known is not None and known["metadata"]["uid"] == event["metadata"]["uid"]:
            del self._newest[controller]
            self.refused.pop(controller, None)


def lacks_pods(kind: GroupKind, controller: Mapping[str, Any] | None) -> bool:
    """Whether a controller has fewer pods at the moment than it should have; False where that is not known.

    It is unknown until the controller has observed the present spec, and for kinds that are not listed here. A CronJob, for
    example, is not waited for, whatever happens to its Jobs.
    """
    if controller is None:
        return False
    parts = Parts.of(controller)
    if kind == JOB:  # whose status has no observedGeneration
        ended = job_result(controller, kind) is not None
        return not ended and parts.count("active") < _wanted_by_job(parts)
    if not parts.is_observed:
        return False
    present, wanted = parts.count("replicas"), parts.wanted()
    match kind:
        case ("apps", "ReplicaSet") | ("", "ReplicationController"):
            return present < wanted
        case ("apps", "StatefulSet"):
            # Unless it is parallel, the next pod is only created when the existing ones are ready.
            parallel = parts.spec.get("podManagementPolicy") == "Parallel"
            return present < wanted and (parallel or parts.count("readyReplicas") == present)
        case ("apps", "DaemonSet"):
            on_delete = mapping(parts.spec.get("updateStrategy")).get("type") == "OnDelete"
            # With maxSurge, new pods are created before the old ones are deleted.
            present = parts.count("currentNumberScheduled" if on_delete else "updatedNumberScheduled")
            return present < parts.count("desiredNumberScheduled")
        case _:
            return False


def _wanted_by_job(parts: Parts) -> int:
    if parts.spec.get("suspend"):
        return 0
    parallelism, succeeded = parts.wanted("parallelism"), parts.count("succeeded")
    if parts.spec.get("completions") is None:
        return 0 if succeeded else parallelism  # a work queue is done when one pod has succeeded
    return min(parallelism, parts.wanted("completions") - succeeded)


def _has_fresh_pods(controller: Mapping[str, Any] | None) -> bool:
    """Whether pods of a controller are ready but not yet available (minReadySeconds)."""
    count = Parts.of(controller or {}).count
    return count("readyReplicas") > count("availableReplicas") or count("numberReady") > count("numberAvailable")


async def may_end(
    refusal: RefusedCreation, *, nearby: Sequence[Pod], everywhere: Iterable[Pod], lineage: Lineage
) -> bool:
    """Whether something is under way that can end a refusal. Raises KubeError.

    `nearby` are the pods in the controller's namespace, `everywhere` those in all namespaces of the release, whoever owns them.

    - A quota gets room when a pod ends or is deleted: a pod that is being deleted, a pod of the release's Job, or an old pod of
      the release that is deleted as soon as a new one is available.
    - One of the release's own pods may serve the webhook.
    - No pod changes the decision of a policy, of a LimitRange, or about a missing ServiceAccount.
    """
    if not refusal.depends_on_pods:
        return False
    if refusal.by_webhook:
        return await _any_of_release([pod for pod in everywhere if may_become_ready(pod)], lineage)
    if any(pod.deleting for pod in nearby) or _has_fresh_pods(await lineage.read(refusal.controller)):
        return True
    starting = [pod for pod in nearby if may_become_ready(pod)]
    if await _any_of_release([pod for pod in starting if pod.of_job], lineage):
        return True
    older = [pod for pod in nearby if not lineage.made_in_run(pod)]
    return await _any_of_release(starting, lineage) and await _any_of_release(older, lineage)


async def _any_of_release(pods: Iterable[Pod], lineage: Lineage) -> bool:
    """Whether one of the pods belongs to the release; in doubt it does, so that the wait goes on."""
    for pod in pods:
        if not await lineage.is_foreign(pod):
            return True
    return False
