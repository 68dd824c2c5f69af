"""Whether an object is ready, by the rules of kstatus.

These are the rules by which helm's own `--wait` ends, applied to one object as the API server returns it. What helm treats as
ready is ready here. A status of any form, as any controller may write it, raises nothing. `until_ready` reads and watches.

Source: kstatus (fluxcd/cli-utils 1.2, pkg/kstatus/status), which helm 4.3 uses, with helm's two changes: a Job is ready when it
is complete, and a paused Deployment is ready. Where helm's wait can never succeed this differs: a suspended Job is ready; the
old pods of a DaemonSet with the update strategy OnDelete do not count; and a status field of another type than kstatus expects
is read as its writer means it (a number as text), or ignored.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from managedchart_operator.kube.objects import reference
from managedchart_operator.waiting.status_fields import Parts, mapping, mappings, number_or


class State(StrEnum):
    """The state of an object, in kstatus' words."""

    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    NOT_FOUND = "NotFound"


@dataclass(frozen=True, slots=True)
class Readiness:
    """A state, and what the object's status says about it."""

    state: State
    message: str

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to wait for: it is ready, or has failed."""
        return self.state in (State.CURRENT, State.FAILED)


JOB = ("batch", "Job")
NOT_FOUND = Readiness(State.NOT_FOUND, "Resource not found")
# A Deployment without a deadline has no condition Progressing to wait for.
_NO_DEADLINE = 2**31 - 1

# Kinds that are ready as soon as they exist: no controller reports on them, or kstatus ignores its report.
_ALWAYS_READY = {
    "": {"ConfigMap", "Endpoints", "LimitRange", "Namespace", "ResourceQuota", "Secret", "ServiceAccount"},
    "admissionregistration.k8s.io": {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"},
    "batch": {"CronJob"},
    "networking.k8s.io": {"Ingress", "IngressClass", "NetworkPolicy"},
    "rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
    "scheduling.k8s.io": {"PriorityClass"},
    "storage.k8s.io": {"StorageClass"},
}

# Kinds whose spec decides whether they, or another object, need waiting: a claim waits for a pod that mounts it.
KINDS_DECIDED_BY_SPEC = frozenset(
    {"DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "ReplicationController", "Service", "StatefulSet"}
)


def needs_waiting(rendered: Mapping[str, Any]) -> bool:
    """Whether an object, as a chart renders it, may not be ready at once."""
    spec = mapping(rendered.get("spec"))
    match reference(rendered, "").group_kind:
        case ("", "Service"):
            return spec.get("type") == "LoadBalancer"
        case ("apps", "Deployment"):
            return not spec.get("paused")
        case ("batch", "Job"):
            return not spec.get("suspend")
        case group, kind:
            return kind not in _ALWAYS_READY.get(group, ())


def readiness(found: Mapping[str, Any], kind: tuple[str, str]) -> Readiness:
    """Return the readiness of an object. Never raises.

    The items of a list do not name their kind, so it is a parameter: API group and kind.
    """
    if ended := job_result(found, kind):
        return ended  # also while its TTL deletes it
    parts = Parts.of(found)
    if parts.meta.get("deletionTimestamp"):
        return Readiness(State.TERMINATING, "Resource scheduled for deletion")
    generation, seen = (
        number_or(parts.meta.get("generation"), None),
        number_or(parts.status.get("observedGeneration"), None),
    )
    if generation is not None and seen is not None and seen != generation:
        return _waiting(f"{kind[1]} generation is {generation}, but latest observed generation is {seen}")
    for condition in parts.conditions:
        if condition.true and condition.type == "Reconciling":
            return _waiting(condition.message)
        if condition.true and condition.type == "Stalled":
            return Readiness(State.FAILED, condition.message)
    return _RULES.get(kind, _by_ready_condition)(parts)


def _deployment(parts: Parts) -> Readiness:
    if parts.spec.get("paused") is True:
        return _current("Deployment is paused")
    progressing = parts.condition("Progressing")
    if progressing.reason == "ProgressDeadlineExceeded":
        return Readiness(State.FAILED, "Progress deadline exceeded")
    wanted, there, updated = parts.wanted(), parts.count("replicas"), parts.count("updatedReplicas")
    ready, usable = parts.count("readyReplicas"), parts.count("availableReplicas")
    problem = (
        _missing("Replicas", there, wanted)
        or _missing("Updated", updated, wanted)
        or _surplus(there, wanted)
        or _missing("Available", usable, updated)
        or _missing("Ready", ready, wanted)
    )
    if problem:
        return _waiting(problem)
    rolled_out = progressing.true and progressing.reason == "NewReplicaSetAvailable"
    if not rolled_out and parts.wanted("progressDeadlineSeconds", _NO_DEADLINE) != _NO_DEADLINE:
        return _waiting("ReplicaSet not Available")
    if not parts.condition("Available").true:
        return _waiting("Deployment not Available")
    return _current(f"Deployment is available. Replicas: {there}")


def _stateful_set(parts: Parts) -> Readiness:
    strategy = mapping(parts.spec.get("updateStrategy"))
    if strategy.get("type") == "OnDelete":
        return _current("StatefulSet is using the ondelete update strategy")
    wanted, there, ready = parts.wanted(), parts.count("replicas"), parts.count("readyReplicas")
    problem = _missing("Replicas", there, wanted) or _missing("Ready", ready, wanted) or _surplus(there, wanted)
    if problem:
        return _waiting(problem)
    partition = number_or(mapping(strategy.get("rollingUpdate")).get("partition"), -1)
    if partition != -1:
        updated = parts.count("updatedReplicas")
        problem = _missing("updated", updated, wanted - partition)
        return _current_unless(problem, f"Partition rollout complete. updated: {updated}")
    if problem := _missing("current", parts.count("currentReplicas"), wanted):
        return _waiting(problem)
    if parts.status.get("currentRevision", "") != parts.status.get("updateRevision", ""):
        return _waiting("Waiting for updated revision to match current")
    return _current(f"All replicas scheduled as expected. Replicas: {there}")


def _daemon_set(parts: Parts) -> Readiness:
    if number_or(parts.meta.get("generation"), None) is None:
        return _waiting("DaemonSet metadata.generation not found")
    if number_or(parts.status.get("observedGeneration"), None) is None:
        return _waiting("DaemonSet status.observedGeneration not found")
    wanted = parts.count("desiredNumberScheduled", -1)
    if wanted == -1:
        return _waiting("Missing .status.desiredNumberScheduled")
    fields = {
        "Current": "currentNumberScheduled",
        "Updated": "updatedNumberScheduled",
        "Available": "numberAvailable",
        "Ready": "numberReady",
    }
    if mapping(parts.spec.get("updateStrategy")).get("type") == "OnDelete":
        del fields["Updated"]  # a person deletes the old pods
    return _current_unless(
        _missing_of(parts, fields, wanted), f"All replicas scheduled as expected. Replicas: {wanted}"
    )


def _replica_set(parts: Parts) -> Readiness:
    if parts.condition("ReplicaFailure").true:
        return _waiting("Replica Failure condition. Check Pods")
    wanted, there = parts.wanted(), parts.count("replicas")
    fields = {"Labelled": "fullyLabeledReplicas", "Available": "availableReplicas", "Ready": "readyReplicas"}
    problem = _missing_of(parts, fields, wanted) or _surplus(there, wanted)
    return _current_unless(problem, f"ReplicaSet is available. Replicas: {there}")


def job_result(found: Mapping[str, Any], kind: tuple[str, str]) -> Readiness | None:
    """Return the final state of a Job that has finished; None for any other object. Never raises."""
    if kind != JOB:
        return None
    parts = Parts.of(found)
    wanted = parts.wanted("completions", parts.wanted("parallelism"))
    for condition in parts.conditions:
        if condition.true and condition.type == "Complete":
            return _current(f"Job Completed. succeeded: {parts.count('succeeded')}/{wanted}")
        if condition.true and condition.type == "Failed":
            return Readiness(State.FAILED, f"Job Failed. failed: {parts.count('failed')}/{wanted}")
    return None


def _job(parts: Parts) -> Readiness:
    return _current("Job is suspended") if parts.spec.get("suspend") is True else _waiting("Job in progress")


def _pod(parts: Parts) -> Readiness:
    match parts.status.get("phase") or "":
        case "Succeeded":
            return _current("Pod has completed successfully")
        case "Failed":
            return _current("Pod has completed, but not successfully")
        case "Running":
            if parts.condition("Ready").true:
                return _current("Pod is Ready")
            if names := ",".join(_crash_looping(parts.status)):
                return Readiness(State.FAILED, f"Containers in CrashLoop state: {names}")
            return _waiting("Pod is running but is not Ready")
        case "Pending":
            # kstatus treats a pod without a node after 15 s as failed; this does not, since a node may be added.
            return _waiting("Pod is in the Pending phase")
        case _:
            return _waiting("Pod phase not available")


def _crash_looping(status: Mapping[str, Any]) -> Iterator[str]:
    for container in mappings(status.get("containerStatuses")):
        waiting = mapping(mapping(container.get("state")).get("waiting"))
        if waiting.get("reason") == "CrashLoopBackOff":
            yield str(container.get("name"))


def _claim(parts: Parts) -> Readiness:
    phase = parts.status.get("phase", "unknown")
    return _current("PVC is Bound") if phase == "Bound" else _waiting(f"PVC is not Bound. phase: {phase}")


def _service(parts: Parts) -> Readiness:
    if parts.spec.get("type") == "LoadBalancer" and not parts.spec.get("clusterIP"):
        return _waiting("ClusterIP not set. Service type: LoadBalancer")
    return _current("Service is ready")


def _definition(parts: Parts) -> Readiness:
    for condition in parts.conditions:
        if condition.type == "NamesAccepted" and condition.status == "False":
            return Readiness(State.FAILED, condition.message)
        if condition.type == "Established":
            if condition.true:
                return _current("CRD is established")
            if condition.status == "False" and condition.reason != "Installing":
                return Readiness(State.FAILED, condition.message)
    return _waiting("Install in progress")


def _by_ready_condition(parts: Parts) -> Readiness:
    """Return the readiness of an object of any other kind, by its condition Ready if it has one."""
    for condition in parts.conditions:
        if condition.type == "Ready" and condition.status in ("True", "False", "Unknown"):
            return _current("Resource is current") if condition.true else _waiting(condition.message)
    return _current("Resource is current")


_RULES: dict[tuple[str, str], Callable[[Parts], Readiness]] = {
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    JOB: _job,
    ("policy", "PodDisruptionBudget"): lambda _: _current("AllowedDisruptions has been computed."),
}


def _missing(name: str, count: int, wanted: int) -> str:
    return f"{name}: {count}/{wanted}" if count < wanted else ""


def _missing_of(parts: Parts, fields: Mapping[str, str], wanted: int) -> str:
    """Return the first of the status' numbers that is too small; `fields` has the name of each."""
    return next(filter(None, (_missing(name, parts.count(field), wanted) for name, field in fields.items())), "")


def _surplus(count: int, wanted: int) -> str:
    return f"Pending termination: {count - wanted}" if count > wanted else ""


def _current_unless(problem: str, message: str) -> Readiness:
    return _waiting(problem) if problem else _current(message)


def _current(message: str) -> Readiness:
    return Readiness(State.CURRENT, message)


def _waiting(message: str) -> Readiness:
    return Readiness(State.IN_PROGRESS, message)
