"""Every cause that keeps a release from becoming ready: its rule, and one row in a table of their order and consequences.

A new cause needs a rule and a row here, its reason in `reasons` and its line in docs/failures.md. Others derive from the table
which containers are evidence (`shows_trouble`), what ends the wait for the release (`fail_fast`), which failures cannot heal
after a rollback (`reconcile.retries`), and which errors are only symptoms (`reconcile.explain`).

The rules are pure, over pods and events that belong to the run, and independent of each other. A rule returns no cause that is
not certain: the failure is then a plain timeout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from managedchart_operator.api_refusals import Refusal, refusal_of
from managedchart_operator.diagnosis import references, scheduling
from managedchart_operator.diagnosis.events import RunEvent
from managedchart_operator.diagnosis.evidence import Cause, Evidence
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pod_hints import read_log, see_events
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.hints import Names
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.claims import CLAIM

# The kubelet waits 10, 20 and 40 s between the first restarts; a start that only needs another try succeeds before the third.
FATAL_RESTARTS = 3
_UNKNOWN_REFUSAL = "Read the API server's answer in the message: it says why the pods are refused."


Rule = Callable[[Evidence], Cause | None]
Sign = Callable[[Container], bool]
"""Whether a container shows a cause at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseRow:
    """One cause. Its consequences have no defaults, so that no row can forget one."""

    reason: Reason
    rule: Rule | None = None
    """Finds it in the evidence; None where only the wait, or helm, reports it."""
    sign: Sign | None = None
    """Whether a container shows it; None where none can."""
    fatal: Sign | None = None
    """Whether a container shows that waiting cannot succeed; None where none can."""
    fatal_after_grace: Sign | None = None
    """The same where it must persist for spec.failFastGrace first."""
    workload: bool
    """Whether it is about workloads that were applied. After a rollback nothing of them is left that could heal, so a retry
    would fail again."""
    is_symptom: bool
    """Whether it only says that something did not happen, not why. A cause from the evidence replaces it."""


def image_pull(evidence: Evidence) -> Cause | None:
    """An image cannot be pulled."""
    for pod, container in evidence.containers:
        if container.image_unavailable:
            detail = evidence.text_of(pod, "Failed", contains="image") or container.message or container.reason
            message = f"The image of container {container.name} in {pod.identity} cannot be pulled: {detail}"
            advice = "Check the image's name and tag, and the pull secrets"
            return Cause(Reason.IMAGE_PULL, message, pod.identity, container.name, **see_events(advice, pod))
    return None


def _restarts(container: Container) -> str:
    return "1 restart" if container.restarts == 1 else f"{container.restarts} restarts"


def out_of_memory(evidence: Evidence) -> Cause | None:
    """A container was killed because it ran out of memory."""
    for pod, container in evidence.containers:
        if container.out_of_memory and not container.ready:
            numbers = f"exit code {container.exit_code}, {_restarts(container)}"
            message = f"Container {container.name} in {pod.identity} was OOM-killed ({numbers})"
            hint = "Raise resources.limits.memory of the container, or reduce its memory use."
            return Cause(Reason.OOM_KILLED, message, pod.identity, container.name, hint)
    return None


def crash_loop(evidence: Evidence) -> Cause | None:
    """A container of a workload that should keep running keeps crashing."""
    for pod, container in evidence.containers:
        if container.crashing and pod.uid not in evidence.hook_pods and not pod.of_job:
            code = container.exit_code
            meaning = f": exit code {code}, {container.meaning}" if code is not None else ""
            message = f"Container {container.name} in {pod.identity} keeps crashing ({_restarts(container)}){meaning}"
            log = read_log(pod, container, previous=True)
            return Cause(Reason.CRASH_LOOP, message, pod.identity, container.name, **log)
    return None


def hook_failed(evidence: Evidence) -> Cause | None:
    """A pod of a hook failed."""
    for pod in evidence.pods:
        if pod.uid in evidence.hook_pods and (pod.phase == "Failed" or _ended_badly(pod)):
            return _failed_work(pod, Reason.HOOK_FAILED, "Hook ")
    return None


def job_failed(evidence: Evidence) -> Cause | None:
    """A pod of a Job failed."""
    for pod in evidence.pods:
        if pod.of_job and pod.uid not in evidence.hook_pods and pod.phase == "Failed":
            return _failed_work(pod, Reason.JOB_BACKOFF_LIMIT, "")
    return None


def _ended_badly(pod: Pod) -> Container | None:
    return next((container for container in pod.containers if container.exit_code not in (None, 0)), None)


def _failed_work(pod: Pod, reason: Reason, what: str) -> Cause:
    jobs = [owner.identities(pod.namespace)[0] for owner in pod.owners if owner.identity.kind == "Job"]
    message = f"{what}{jobs[0]} failed in {pod.identity}" if jobs else f"{what}{pod.identity} failed"
    if (ended := _ended_badly(pod)) is None:
        return Cause(reason, message, pod.identity, **read_log(pod))
    message += f": container {ended.name} ended with exit code {ended.exit_code}, {ended.meaning}"
    return Cause(reason, message, pod.identity, ended.name, **read_log(pod))


def container_config(evidence: Evidence) -> Cause | None:
    """A container refers to a ConfigMap or Secret that does not exist."""
    for pod, container in evidence.containers:
        if container.misconfigured:
            detail = container.message or container.reason
            message = f"Container {container.name} in {pod.identity} cannot be started: {detail}"
            hint = references.advice(detail, namespace=pod.namespace, late=evidence.late_hooks)
            return Cause(Reason.CONTAINER_CONFIG, message, pod.identity, container.name, hint)
    for pod in evidence.pods:
        detail = evidence.text_of(pod, "FailedMount") or ""
        if references.missing(detail, namespace=pod.namespace) and not any(each.has_run for each in pod.containers):
            hint = references.advice(detail, namespace=pod.namespace, late=evidence.late_hooks)
            return Cause(
                Reason.CONTAINER_CONFIG, f"{pod.identity} cannot be started: {detail}", pod.identity, hint=hint
            )
    return None


def not_created(evidence: Evidence, *, reason: Reason) -> Cause | None:
    """A controller cannot create its pods, which the API server refuses for this reason."""
    for event in evidence.events:
        if event.reason == "FailedCreate" and event.type == "Warning" and event.subject in evidence.refused:
            cause = cause_of_failed_create(event)
            if cause.reason is reason:
                return cause
    return None


def cause_of_failed_create(event: RunEvent) -> Cause:
    """Return why a controller cannot create its pods, from its FailedCreate event."""
    refusal = refused_creation(event.message, namespace=event.subject.namespace)
    message = f"{event.subject} cannot create its pods: {event.message}"
    return Cause(refusal.reason, message, event.subject, hint=refusal.hint or _UNKNOWN_REFUSAL)


def refused_creation(text: str, *, namespace: str) -> Refusal:
    """Return the refusal that a controller reports for a pod."""
    known = refusal_of(text, about="a pod", names=Names(namespace=namespace))
    return known or Refusal(Reason.OBJECT_INVALID, text, transient=False, hint=None)


def volume_unbound(evidence: Evidence) -> Cause | None:
    """A pod or a PersistentVolumeClaim waits for a volume."""
    for pod in evidence.pods:
        if pod.unschedulable and "PersistentVolumeClaim" in pod.unschedulable:
            return _unbound(pod.unschedulable, pod.identity)
    for event in evidence.events:
        if event.subject.group_kind == CLAIM and event.reason in ("ProvisioningFailed", "FailedBinding"):
            return _unbound(event.message, event.subject)
    return None


def _unbound(text: str, subject: Identity) -> Cause:
    hint = f"See which claim is not bound and why: kubectl -n {subject.namespace} describe pvc"
    return Cause(Reason.VOLUME_UNBOUND, f"{subject} waits for a volume: {text}", subject, hint=hint)


def unschedulable(evidence: Evidence) -> Cause | None:
    """No node fits a pod."""
    for pod in evidence.pods:
        if pod.unschedulable:
            message = f"{pod.identity} cannot be scheduled: {scheduling.without_preemption(pod.unschedulable)}"
            advice = scheduling.advice(pod.unschedulable)
            return Cause(Reason.UNSCHEDULABLE, message, pod.identity, **see_events(advice, pod))
    return None


def readiness_probe(evidence: Evidence) -> Cause | None:
    """A container is running, but its readiness probe fails."""
    for pod in evidence.pods:
        if pod.phase != "Running" or pod.ready or pod.deleting:
            continue
        waiting = next((c for c in pod.containers if not c.ready and not c.init), None)
        probe = evidence.text_of(pod, "Unhealthy")
        if waiting is not None and probe is not None:
            failing = f"is running but not passing its readiness probe: {probe}"
            message = f"Container {waiting.name} in {pod.identity} {failing}"
            return Cause(Reason.READINESS_PROBE, message, pod.identity, waiting.name, **read_log(pod, waiting))
    return None


def not_replaced(evidence: Evidence) -> Cause | None:
    """A StatefulSet waits for a pod of an earlier revision instead of replacing it."""
    for pod, stateful_set in evidence.not_replaced:
        message = f"{pod.identity} is of an earlier revision and not ready, so {stateful_set} does not replace it"
        why = find_cause(Evidence([pod], evidence.events))
        return Cause(
            Reason.TIMEOUT,
            f"{message}: {why.message}" if why else message,
            pod.identity,
            why.container if why else None,
            f"Delete the pod; the StatefulSet then creates it from its present revision: kubectl -n {pod.namespace} delete pod "
            f"{pod.name}",
        )
    return None


def _crashes_for_good(container: Container) -> bool:
    """Whether a container has ended again after several restarts. One that runs may still become ready."""
    return container.crashing and container.state != "running" and container.restarts >= FATAL_RESTARTS


# Why the API server may refuse pods, and whether that is about the workloads; the others can heal independently of the
# release. Each ends the wait once it has persisted for the grace; `refusals` decides whether it may still end.
_NOT_CREATED = {
    Reason.QUOTA_EXCEEDED: True,
    Reason.ADMISSION_REFUSED: True,
    Reason.OBJECT_INVALID: True,
    Reason.WEBHOOK_UNAVAILABLE: False,
    Reason.FORBIDDEN: False,
    Reason.NAMESPACE_TERMINATING: False,
    Reason.NAMESPACE_NOT_FOUND: False,
    Reason.OBJECT_OWNED: False,
    Reason.API_UNAVAILABLE: False,
}

CAUSES: tuple[CauseRow, ...] = (
    CauseRow(reason=Reason.HOOK_FAILED, rule=hook_failed, workload=True, is_symptom=True),
    CauseRow(
        reason=Reason.IMAGE_PULL,
        rule=image_pull,
        sign=lambda container: container.image_unavailable,
        fatal_after_grace=lambda container: container.image_unavailable,
        workload=True,
        is_symptom=False,
    ),
    CauseRow(
        reason=Reason.OOM_KILLED,
        rule=out_of_memory,
        sign=lambda container: container.out_of_memory,
        fatal=lambda container: container.out_of_memory and _crashes_for_good(container),
        workload=True,
        is_symptom=False,
    ),
    CauseRow(
        reason=Reason.CRASH_LOOP,
        rule=crash_loop,
        sign=lambda container: container.crashing,
        fatal=_crashes_for_good,
        workload=True,
        is_symptom=False,
    ),
    CauseRow(reason=Reason.JOB_BACKOFF_LIMIT, rule=job_failed, workload=True, is_symptom=True),
    CauseRow(
        reason=Reason.CONTAINER_CONFIG,
        rule=container_config,
        sign=lambda container: container.misconfigured,
        fatal=None,  # the ConfigMap or Secret may be created a moment later
        workload=True,
        is_symptom=False,
    ),
    *(
        CauseRow(reason=reason, rule=partial(not_created, reason=reason), workload=workload, is_symptom=False)
        for reason, workload in _NOT_CREATED.items()
    ),
    CauseRow(reason=Reason.VOLUME_UNBOUND, rule=volume_unbound, workload=True, is_symptom=False),
    CauseRow(reason=Reason.UNSCHEDULABLE, rule=unschedulable, workload=True, is_symptom=False),
    CauseRow(reason=Reason.READINESS_PROBE, rule=readiness_probe, workload=True, is_symptom=False),
    # Reported by the wait or by helm, which do not see why.
    CauseRow(reason=Reason.TIMEOUT, rule=not_replaced, workload=True, is_symptom=True),
    CauseRow(reason=Reason.HOOK_TIMEOUT, workload=True, is_symptom=True),
    CauseRow(reason=Reason.HELM_FAILED, workload=False, is_symptom=True),
)
"""Ordered so that a cause comes before what it explains: an image that cannot be pulled explains a pod that is not ready."""


def find_cause(evidence: Evidence) -> Cause | None:
    """Return the first cause of the table that the evidence shows, or None."""
    for row in CAUSES:
        if row.rule and (cause := row.rule(evidence)):
            return cause
    return None


def shows_trouble(container: Container) -> bool:
    """Whether a container shows a cause, so that its state and its log are evidence."""
    return any(row.sign(container) for row in CAUSES if row.sign)


def is_fatal(container: Container) -> bool:
    """Whether a container shows a cause that ends the wait immediately."""
    return any(row.fatal(container) for row in CAUSES if row.fatal)


def is_fatal_after_grace(container: Container) -> bool:
    """Whether a container shows a cause that ends the wait once it has persisted for the grace."""
    return any(row.fatal_after_grace(container) for row in CAUSES if row.fatal_after_grace)


def is_fatal_refusal(reason: Reason) -> bool:
    """Whether pods that the API server refuses for this reason end the wait, after the grace."""
    return reason in _NOT_CREATED


def may_become_ready(pod: Pod) -> bool:
    """Whether a pod may still become ready or, if a Job created it, succeed, judging by its present state."""
    if pod.ended or pod.deleting or any(c.state != "running" and shows_trouble(c) for c in pod.containers):
        return False
    return pod.of_job or not pod.ready
