"""From the evidence to the cause: one reason, one sentence, one object, one hint.

Purpose: tell why a release does not come up, in the order in which causes explain others (an image that cannot be pulled
explains a pod that is not ready, not the other way round). Boundary: pure, over pods and events that were already found to
belong to the run. Invariant: a cause that is not certain is not invented: then it is a plain timeout.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from managedchart_operator.api.status import FailureEvent
from managedchart_operator.diagnosis.exit_codes import explain_exit_code
from managedchart_operator.diagnosis.pods import CONFIG_REASONS, Container, Pod
from managedchart_operator.reasons import Reason


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it failed, and which object shows it."""

    reason: Reason
    message: str
    kind: str
    name: str
    container: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What belongs to the run: its pods of the present revision, its events, its failed Jobs, its unbound claims."""

    namespace: str
    pods: Sequence[Pod] = ()
    events: Sequence[FailureEvent] = ()
    hook_pods: frozenset[str] = frozenset()
    """UIDs of the pods that belong to hooks."""


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
            detail = (
                _event_text(evidence, f"Pod {pod.name}", "Failed", contains="image")
                or container.message
                or container.reason
            )
            return Cause(
                Reason.IMAGE_PULL,
                f"the image of container {container.name} in Pod {pod.name} cannot be pulled: {detail}",
                "Pod",
                pod.name,
                container.name,
                "check the image's name and tag, and the pull secrets: "
                f"kubectl -n {evidence.namespace} describe pod {pod.name}",
            )
    return None


def _out_of_memory(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.out_of_memory and not container.ready:
            return Cause(
                Reason.OOM_KILLED,
                f"container {container.name} in Pod {pod.name} was killed for want of memory (exit code "
                f"{container.exit_code}, {container.restarts} restarts)",
                "Pod",
                pod.name,
                container.name,
                "raise resources.limits.memory of the container, or make it use less",
            )
    return None


def _crash(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.crashing and pod.uid not in evidence.hook_pods and not _of_job(pod):
            code = container.exit_code
            meaning = f": exit code {code}, {explain_exit_code(code)}" if code is not None else ""
            return Cause(
                Reason.CRASH_LOOP,
                f"container {container.name} in Pod {pod.name} keeps ending ({container.restarts} restarts){meaning}",
                "Pod",
                pod.name,
                container.name,
                f"read its log: kubectl -n {evidence.namespace} logs {pod.name} -c {container.name} --previous",
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
        if _of_job(pod) and pod.uid not in evidence.hook_pods and pod.phase == "Failed":
            return _failed_job_pod(evidence, pod, ended, Reason.JOB_BACKOFF_LIMIT, "the Job")
    return None


def _failed_job_pod(evidence: Evidence, pod: Pod, ended: list[Container], reason: Reason, what: str) -> Cause:
    job = next((name for kind, name, _ in pod.owners if kind == "Job"), pod.name)
    how = ""
    if ended and (code := ended[0].exit_code) is not None:
        meaning = explain_exit_code(code, out_of_memory=ended[0].out_of_memory)
        how = f": container {ended[0].name} ended with exit code {code}, {meaning}"
    return Cause(
        reason,
        f"{what} {job} failed in Pod {pod.name}{how}",
        "Pod",
        pod.name,
        ended[0].name if ended else None,
        f"read its log: kubectl -n {evidence.namespace} logs {pod.name}",
    )


def _config(evidence: Evidence) -> Cause | None:
    for pod, container in _containers(evidence):
        if container.state == "waiting" and container.reason in CONFIG_REASONS:
            return Cause(
                Reason.CONTAINER_CONFIG,
                f"container {container.name} in Pod {pod.name} cannot be started: {container.message or container.reason}",
                "Pod",
                pod.name,
                container.name,
                "create the ConfigMap or Secret that it refers to, or correct the reference in the values",
            )
    return None


def _not_created(evidence: Evidence) -> Cause | None:
    for event in evidence.events:
        if event.reason == "FailedCreate" and event.type == "Warning":
            return cause_of_failed_create(event)
    return None


def cause_of_failed_create(event: FailureEvent) -> Cause:
    """Return why a controller cannot create its pods, from its FailedCreate event."""
    kind, _, name = event.object.partition(" ")
    text = event.message
    if "exceeded quota" in text:
        reason, hint = Reason.QUOTA_EXCEEDED, "raise the ResourceQuota of the namespace, or ask for less"
    elif re.search(r"(maximum|minimum) (cpu|memory|storage)|LimitRange|limit to request ratio", text):
        reason, hint = Reason.QUOTA_EXCEEDED, "keep requests and limits within the LimitRange of the namespace"
    elif "failed calling webhook" in text:
        reason, hint = Reason.WEBHOOK_UNAVAILABLE, "bring the webhook's Service back, or remove its configuration"
    elif "admission webhook" in text or "violates PodSecurity" in text or "ValidatingAdmissionPolicy" in text:
        reason, hint = Reason.ADMISSION_REFUSED, "change the values so that the policy accepts the pods"
    elif "serviceaccount" in text and "not found" in text:
        reason, hint = Reason.OBJECT_INVALID, "create the ServiceAccount, or name another one in the values"
    elif "forbidden" in text:
        reason, hint = Reason.FORBIDDEN, "the API server refuses these pods; its sentence says why"
    else:
        reason, hint = Reason.OBJECT_INVALID, "the API server refuses these pods; its sentence says why"
    return Cause(reason, f"{kind} {name} cannot create its pods: {text}", kind, name, None, hint)


def _volume(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        if pod.unschedulable and "PersistentVolumeClaim" in pod.unschedulable:
            return _unbound(evidence, pod.unschedulable, "Pod", pod.name)
    for event in evidence.events:
        if event.object.startswith("PersistentVolumeClaim ") and event.reason in (
            "ProvisioningFailed",
            "FailedBinding",
        ):
            return _unbound(evidence, event.message, *event.object.split(" ", 1))
    return None


def _unbound(evidence: Evidence, text: str, kind: str, name: str) -> Cause:
    return Cause(
        Reason.VOLUME_UNBOUND,
        f"{kind} {name} waits for a volume: {text}",
        kind,
        name,
        None,
        f"see which claim is not bound and why: kubectl -n {evidence.namespace} describe pvc",
    )


def _unschedulable(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        if pod.unschedulable:
            return Cause(
                Reason.UNSCHEDULABLE,
                f"Pod {pod.name} fits on no node: {pod.unschedulable}",
                "Pod",
                pod.name,
                None,
                "lower the requests, or give the cluster nodes that fit",
            )
    return None


def _unready(evidence: Evidence) -> Cause | None:
    for pod in evidence.pods:
        if pod.phase != "Running" or pod.ready or pod.deleting:
            continue
        waiting = next((c for c in pod.containers if not c.ready and not c.init), None)
        probe = _event_text(evidence, f"Pod {pod.name}", "Unhealthy")
        if waiting is None or probe is None:
            continue
        return Cause(
            Reason.READINESS_PROBE,
            f"container {waiting.name} in Pod {pod.name} runs but is never ready: {probe}",
            "Pod",
            pod.name,
            waiting.name,
            f"see what it does instead: kubectl -n {evidence.namespace} logs {pod.name} -c {waiting.name}",
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


def _of_job(pod: Pod) -> bool:
    return any(kind == "Job" for kind, _, _ in pod.owners)


def _event_text(evidence: Evidence, subject: str, reason: str, *, contains: str = "") -> str | None:
    for event in evidence.events:
        if event.object == subject and event.reason == reason and contains in event.message:
            return event.message
    return None
