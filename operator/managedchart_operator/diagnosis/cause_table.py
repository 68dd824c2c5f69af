"""Every cause that keeps a release from becoming ready: one row a cause, and what follows from it.

A new cause is one row here, its rule in `causes`, its word in `reasons` and its line in docs/failures.md. What others need to
know is read off the table: which containers are evidence (`shows_trouble`), what ends the wait for the release (`fatal_signs`,
`fatal_refusal`), which failures nothing can heal after a rollback (`reconcile.retries`), and which errors only say that
something did not happen (`reconcile.explain`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from managedchart_operator.diagnosis import causes
from managedchart_operator.diagnosis.causes import Cause, Evidence, Rule
from managedchart_operator.diagnosis.pods import Container, Pod
from managedchart_operator.reasons import Reason

# The kubelet waits 10, 20 and 40 s between the first restarts: after three it is not a start that needs a second try.
FATAL_RESTARTS = 3

Sign = Callable[[Container], bool]
"""Whether a container shows a cause at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal:
    """When waiting cannot succeed any more. `sign` is None where a controller that cannot create its pods shows it."""

    sign: Sign | None
    after_grace: bool
    """Whether it has to persist for spec.failFastGrace first; else it counts at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseRow:
    """One cause. No part has a default, so that a new cause cannot forget one."""

    reason: Reason
    rule: Rule | None
    """Finds it in the evidence; None where only the wait, or helm, can name it."""
    sign: Sign | None
    """What shows it at a container; None where no container does."""
    fatal: Fatal | None
    """When it ends the wait before its timeout; None for never."""
    workload: bool
    """Whether it is about workloads that were applied. Once the release was rolled back nothing is left of them that could
    heal, and an attempt would only bring the same failure again."""
    bare: bool
    """Whether it only says that something did not happen, not why: what the evidence shows replaces it."""


def _crashes_for_good(container: Container) -> bool:
    """Whether it has ended again after several restarts; one that runs may become ready this time."""
    return container.crashing and container.state != "running" and container.restarts >= FATAL_RESTARTS


def _not_created(reason: Reason, *, workload: bool) -> CauseRow:
    """A row for pods that the API server refuses; whether the refusal may still end is judged by `refusals`."""
    fatal = Fatal(sign=None, after_grace=True)
    rule = causes.not_created(reason)
    return CauseRow(reason=reason, rule=rule, sign=None, fatal=fatal, workload=workload, bare=False)


CAUSES: tuple[CauseRow, ...] = (
    CauseRow(reason=Reason.HOOK_FAILED, rule=causes.hook_failed, sign=None, fatal=None, workload=True, bare=True),
    CauseRow(
        reason=Reason.IMAGE_PULL,
        rule=causes.image_pull,
        sign=lambda container: container.image_unavailable,
        fatal=Fatal(sign=lambda container: container.image_unavailable, after_grace=True),
        workload=True,
        bare=False,
    ),
    CauseRow(
        reason=Reason.OOM_KILLED,
        rule=causes.out_of_memory,
        sign=lambda container: container.out_of_memory,
        fatal=Fatal(sign=lambda container: container.out_of_memory and _crashes_for_good(container), after_grace=False),
        workload=True,
        bare=False,
    ),
    CauseRow(
        reason=Reason.CRASH_LOOP,
        rule=causes.crash_loop,
        sign=lambda container: container.crashing,
        fatal=Fatal(sign=_crashes_for_good, after_grace=False),
        workload=True,
        bare=False,
    ),
    CauseRow(reason=Reason.JOB_BACKOFF_LIMIT, rule=causes.job_failed, sign=None, fatal=None, workload=True, bare=True),
    CauseRow(
        reason=Reason.CONTAINER_CONFIG,
        rule=causes.container_config,
        sign=lambda container: container.misconfigured,
        fatal=None,  # the ConfigMap or Secret may be created a moment later
        workload=True,
        bare=False,
    ),
    _not_created(Reason.QUOTA_EXCEEDED, workload=True),
    _not_created(Reason.ADMISSION_REFUSED, workload=True),
    _not_created(Reason.OBJECT_INVALID, workload=True),
    # Others can heal these, whatever has become of the release.
    _not_created(Reason.WEBHOOK_UNAVAILABLE, workload=False),
    _not_created(Reason.FORBIDDEN, workload=False),
    _not_created(Reason.NAMESPACE_TERMINATING, workload=False),
    _not_created(Reason.NAMESPACE_NOT_FOUND, workload=False),
    _not_created(Reason.OBJECT_OWNED, workload=False),
    _not_created(Reason.API_UNAVAILABLE, workload=False),
    CauseRow(
        reason=Reason.VOLUME_UNBOUND, rule=causes.volume_unbound, sign=None, fatal=None, workload=True, bare=False
    ),
    CauseRow(reason=Reason.UNSCHEDULABLE, rule=causes.unschedulable, sign=None, fatal=None, workload=True, bare=False),
    CauseRow(
        reason=Reason.READINESS_PROBE, rule=causes.readiness_probe, sign=None, fatal=None, workload=True, bare=False
    ),
    # What the wait and helm report by themselves.
    CauseRow(reason=Reason.TIMEOUT, rule=None, sign=None, fatal=None, workload=True, bare=True),
    CauseRow(reason=Reason.HOOK_TIMEOUT, rule=None, sign=None, fatal=None, workload=True, bare=True),
    CauseRow(reason=Reason.HELM_FAILED, rule=None, sign=None, fatal=None, workload=False, bare=True),
)
"""In the order in which causes explain others: an image that cannot be pulled explains a pod that is not ready, not the other
way round."""


def find_cause(evidence: Evidence) -> Cause | None:
    """Return the cause that explains most, or None where the evidence shows none."""
    for row in CAUSES:
        if row.rule and (cause := row.rule(evidence)):
            return cause
    return None


def shows_trouble(container: Container) -> bool:
    """Whether a container shows a cause, so that its state and its log are evidence."""
    return any(row.sign(container) for row in CAUSES if row.sign)


def fatal_signs(container: Container) -> list[Fatal]:
    """Return in which ways a container shows that waiting cannot succeed."""
    return [row.fatal for row in CAUSES if row.fatal and row.fatal.sign and row.fatal.sign(container)]


def fatal_refusal(reason: Reason) -> Fatal | None:
    """Return when pods that the API server refuses for this reason end the wait, or None for never."""
    return next((row.fatal for row in CAUSES if row.reason is reason and row.fatal and row.fatal.sign is None), None)


def on_its_way(pod: Pod) -> bool:
    """Whether a pod may still become ready or, if a Job made it, end well, as far as can be seen now."""
    if pod.ended or pod.deleting or any(c.state != "running" and shows_trouble(c) for c in pod.containers):
        return False
    return pod.of_job or not pod.ready
