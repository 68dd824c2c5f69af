"""Lists every cause that keeps a release from becoming ready: one row a cause, with its consequences.

A new cause needs one row here, its rule in `causes`, its reason in `reasons` and its line in docs/failures.md. Others derive
from the table which containers are evidence (`shows_trouble`), what ends the wait for the release (`fail_fast`), which failures
cannot heal after a rollback (`reconcile.retries`), and which errors are only symptoms (`reconcile.explain`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from managedchart_operator.diagnosis import causes
from managedchart_operator.diagnosis.causes import Cause, Evidence, Rule
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.reasons import Reason

# The kubelet waits 10, 20 and 40 s between the first restarts; a start that only needs another try succeeds before the third.
FATAL_RESTARTS = 3

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
    CauseRow(reason=Reason.HOOK_FAILED, rule=causes.hook_failed, workload=True, is_symptom=True),
    CauseRow(
        reason=Reason.IMAGE_PULL,
        rule=causes.image_pull,
        sign=lambda container: container.image_unavailable,
        fatal_after_grace=lambda container: container.image_unavailable,
        workload=True,
        is_symptom=False,
    ),
    CauseRow(
        reason=Reason.OOM_KILLED,
        rule=causes.out_of_memory,
        sign=lambda container: container.out_of_memory,
        fatal=lambda container: container.out_of_memory and _crashes_for_good(container),
        workload=True,
        is_symptom=False,
    ),
    CauseRow(
        reason=Reason.CRASH_LOOP,
        rule=causes.crash_loop,
        sign=lambda container: container.crashing,
        fatal=_crashes_for_good,
        workload=True,
        is_symptom=False,
    ),
    CauseRow(reason=Reason.JOB_BACKOFF_LIMIT, rule=causes.job_failed, workload=True, is_symptom=True),
    CauseRow(
        reason=Reason.CONTAINER_CONFIG,
        rule=causes.container_config,
        sign=lambda container: container.misconfigured,
        fatal=None,  # the ConfigMap or Secret may be created a moment later
        workload=True,
        is_symptom=False,
    ),
    *(
        CauseRow(reason=reason, rule=causes.not_created(reason), workload=workload, is_symptom=False)
        for reason, workload in _NOT_CREATED.items()
    ),
    CauseRow(reason=Reason.VOLUME_UNBOUND, rule=causes.volume_unbound, workload=True, is_symptom=False),
    CauseRow(reason=Reason.UNSCHEDULABLE, rule=causes.unschedulable, workload=True, is_symptom=False),
    CauseRow(reason=Reason.READINESS_PROBE, rule=causes.readiness_probe, workload=True, is_symptom=False),
    # Reported by the wait or by helm.
    CauseRow(reason=Reason.TIMEOUT, workload=True, is_symptom=True),
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
