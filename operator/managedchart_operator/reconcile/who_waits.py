"""Decides who waits for the objects of a release: the operator, or helm, or one after the other.

The operator does, without a process, unless hooks have to run after the wait, since only helm runs those. helm treats a Job
that its ttlSecondsAfterFinished deleted as never ready, so then the operator waits for the Jobs after helm.
"""

from dataclasses import dataclass

from managedchart_operator.charts.late_hooks import text_has_late_hooks, text_has_ttl_jobs


@dataclass(frozen=True, slots=True)
class WhoWaits:
    """`helm` and `operator` may both be true; `helm_for_jobs` says whether helm waits for Jobs too."""

    helm: bool
    helm_for_jobs: bool
    operator: bool


def who_waits(*, wait: bool, late_hooks: bool, ttl_jobs: bool, values: bytes) -> WhoWaits:
    """Return who waits. `wait` is spec.wait; the hooks and Jobs may be in the chart or in the `values`."""
    if not wait:
        return WhoWaits(helm=False, helm_for_jobs=False, operator=False)
    if not (late_hooks or text_has_late_hooks(values)):
        return WhoWaits(helm=False, helm_for_jobs=False, operator=True)
    vanish = ttl_jobs or text_has_ttl_jobs(values)
    return WhoWaits(helm=True, helm_for_jobs=not vanish, operator=vanish)
