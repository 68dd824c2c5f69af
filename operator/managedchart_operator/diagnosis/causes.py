"""From the evidence to the cause: one reason, one sentence, one object, one hint.

Purpose: tell why a release does not come up, in the order in which causes explain others (an image that cannot be pulled
explains a pod that is not ready, not the other way round). Boundary: pure, over pods and events that were already found to
belong to the run. Invariant: a cause that is not certain is not invented: then it is a plain timeout.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from managedchart_operator.diagnosis.events import RunEvent
from managedchart_operator.diagnosis.exit_codes import explain_exit_code
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.diagnosis.refusals import QUOTA_TEXT, WEBHOOK_TEXT
from managedchart_operator.reasons import Reason

_CLAIM = ("", "PersistentVolumeClaim")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it failed, and which object shows it."""

    reason: Reason
    message: str
    subject: Identity
    container: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What belongs to the run: its pods of the present revision and its events.

    `namespace` is the release's own: objects in others are named with theirs.
    """

    namespace: str
    pods: Sequence[Pod] = ()
    events: Sequence[RunEvent] = ()
    hook_pods: frozenset[str] = frozenset()
    """UIDs of the pods that belong to hooks."""
    refused: frozenset[Identity] = frozenset()
    """The controllers that could not create their last pod."""

    def show(self, subject: Pod | Identity) -> str:
        """Return kind and name of an object."""
        return (subject.identity if isinstance(subject, Pod) else subject).shown_from(self.namespace)


def find_cause(evidence: Evidence) -> Cause | None:
    """Return the cause that explains most, or None where the evidence shows none."""
    for rule in _RULES:
        if cause := rule(evidence):
            return cause
    return None


def _containers(evidence: Evidence) -> Iterable[tuple[Pod, Container]]:
    return ((pod, container) for pod in evidence.pods for container in pod.containers)


def _image(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.image_unavailable:
            detail = _event_text(evidence, pod, "Failed", contains="image") or container.message or container.reason
            return Cause(
                Reason.IMAGE_PULL,
                f"the image of container {container.name} in {evidence.show(pod)} cannot be pulled: {detail}",
                pod.identity,
                container.name,
                "check the image's name and tag, and the pull secrets: "
                f"kubectl -n {pod.namespace} describe pod {pod.name}",
            )
    return None


def _out_of_memory(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.out_of_memory and not container.ready:
            return Cause(
                Reason.OOM_KILLED,
                f"container {container.name} in {evidence.show(pod)} was killed because it ran out of memory (exit code "
                f"{container.exit_code}, {container.restarts} restarts)",
                pod.identity,
                container.name,
                "raise resources.limits.memory of the container, or make it use less",
            )
    return None


def _crash(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.crashing and pod.uid not in evidence.hook_pods and not pod.of_job:
            code = container.exit_code
            meaning = f": exit code {code}, {explain_exit_code(code)}" if code is not None else ""
            return Cause(
                Reason.CRASH_LOOP,
                f"container {container.name} in {evidence.show(pod)} keeps ending ({container.restarts} restarts){meaning}",
                pod.identity,
                container.name,
                f"read its log: kubectl -n {pod.namespace} logs {pod.name} -c {container.name} --previous",
            )
    return None


def _hook(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        ended = [c for c in pod.containers if c.exit_code not in (None, 0)]
        if pod.uid in evidence.hook_pods and (pod.phase == "Failed" or ended):
            return _failed_job_pod(evidence, pod, ended, Reason.HOOK_FAILED, "the hook")
    return None


def _job(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        ended = [c for c in pod.containers if c.exit_code not in (None, 0)]
        if pod.of_job and pod.uid not in evidence.hook_pods and pod.phase == "Failed":
            return _failed_job_pod(evidence, pod, ended, Reason.JOB_BACKOFF_LIMIT, "the Job")
    return None


def _failed_job_pod(evidence: Evidence, pod: Pod, ended: list[Container], reason: Reason, what: str) -> Cause:
    job = next((owner.name for owner in pod.owners if owner.kind == "Job"), pod.name)
    how = ""
    if ended and (code := ended[0].exit_code) is not None:
        meaning = explain_exit_code(code, out_of_memory=ended[0].out_of_memory)
        how = f": container {ended[0].name} ended with exit code {code}, {meaning}"
    return Cause(
        reason,
        f"{what} {job} failed in {evidence.show(pod)}{how}",
        pod.identity,
        ended[0].name if ended else None,
        f"read its log: kubectl -n {pod.namespace} logs {pod.name}",
    )


def _config(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.misconfigured:
            return Cause(
                Reason.CONTAINER_CONFIG,
                f"container {container.name} in {evidence.show(pod)} cannot be started: "
                f"{container.message or container.reason}",
                pod.identity,
                container.name,
                "create the ConfigMap or Secret that it refers to, or correct the reference in the values",
            )
    return None


def _not_created(evidence: Evidence) -> Cause | None:
    for event in evidence.events:
        if event.reason == "FailedCreate" and event.type == "Warning" and event.subject in evidence.refused:
            return cause_of_failed_create(evidence, event)
    return None


def cause_of_failed_create(evidence: Evidence, event: RunEvent) -> Cause:
    """Return why a controller cannot create its pods, from its FailedCreate event."""
    text = event.message
    if QUOTA_TEXT in text:
        reason, hint = Reason.QUOTA_EXCEEDED, "raise the ResourceQuota of the namespace, or ask for less"
    elif re.search(r"(maximum|minimum) (cpu|memory|storage)|LimitRange|limit to request ratio", text):
        reason, hint = Reason.QUOTA_EXCEEDED, "keep requests and limits within the LimitRange of the namespace"
    elif WEBHOOK_TEXT in text:
        reason, hint = Reason.WEBHOOK_UNAVAILABLE, "bring the webhook's Service back, or remove its configuration"
    elif "admission webhook" in text or "violates PodSecurity" in text or "ValidatingAdmissionPolicy" in text:
        reason, hint = Reason.ADMISSION_REFUSED, "change the values so that the policy accepts the pods"
    elif "serviceaccount" in text and "not found" in text:
        reason, hint = Reason.OBJECT_INVALID, "create the ServiceAccount, or name another one in the values"
    elif "forbidden" in text:
        reason, hint = Reason.FORBIDDEN, "the API server refuses these pods; its sentence says why"
    else:
        reason, hint = Reason.OBJECT_INVALID, "the API server refuses these pods; its sentence says why"
    return Cause(reason, f"{evidence.show(event.subject)} cannot create its pods: {text}", event.subject, None, hint)


def _volume(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        if pod.unschedulable and "PersistentVolumeClaim" in pod.unschedulable:
            return _unbound(evidence, pod.unschedulable, pod.identity)
    for event in evidence.events:
        if event.subject.group_kind == _CLAIM and event.reason in ("ProvisioningFailed", "FailedBinding"):
            return _unbound(evidence, event.message, event.subject)
    return None


def _unbound(evidence: Evidence, text: str, subject: Identity) -> Cause:
    return Cause(
        Reason.VOLUME_UNBOUND,
        f"{evidence.show(subject)} waits for a volume: {text}",
        subject,
        None,
        f"see which claim is not bound and why: kubectl -n {subject.namespace} describe pvc",
    )


def _unschedulable(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        if pod.unschedulable:
            return Cause(
                Reason.UNSCHEDULABLE,
                f"{evidence.show(pod)} fits on no node: {pod.unschedulable}",
                pod.identity,
                None,
                "lower the requests, or give the cluster nodes that fit",
            )
    return None


def _unready(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        if pod.phase != "Running" or pod.ready or pod.deleting:
            continue
        waiting = next((c for c in pod.containers if not c.ready and not c.init), None)
        probe = _event_text(evidence, pod, "Unhealthy")
        if waiting is None or probe is None:
            continue
        return Cause(
            Reason.READINESS_PROBE,
            f"container {waiting.name} in {evidence.show(pod)} runs but is never ready: {probe}",
            pod.identity,
            waiting.name,
            f"see what it does instead: kubectl -n {pod.namespace} logs {pod.name} -c {waiting.name}",
        )
    return None


_RULES: tuple[Callable[[Evidence], Cause | None], ...] = (
    _hook,
    _image,
    _out_of_memory,
    _crash,
    _job,
    _config,
    _not_created,
    _volume,
    _unschedulable,
    _unready,
)


def _event_text(evidence: Evidence, pod: Pod, reason: str, *, contains: str = "") -> str | None:
    for event in evidence.events:
        if event.subject == pod.identity and event.reason == reason and contains in event.message:
            return event.message
    return None
