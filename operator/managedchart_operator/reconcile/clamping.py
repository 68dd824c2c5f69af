"""What is used instead of durations that are beyond their bounds, in specs that were stored before the bounds existed.

`api.bounds` has the bounds. The digest of an input is computed from the spec as it is stored, so that a clamped duration
deploys nothing.
"""

from managedchart_operator.api.bounds import BACKOFF, FAIL_FAST_GRACE, MAX_BACKOFF, TIMEOUT, Bound
from managedchart_operator.api.spec import ManagedChartSpec


def clamp(spec: ManagedChartSpec) -> tuple[ManagedChartSpec, str]:
    """Return the spec within the bounds, and a sentence about what was changed; "" if nothing was."""
    timeout, grace = TIMEOUT.clamped(spec.timeout), FAIL_FAST_GRACE.clamped(spec.fail_fast_grace)
    backoff, longest = BACKOFF.clamped(spec.retry.backoff), MAX_BACKOFF.clamped(spec.retry.max_backoff)
    changes = [
        f"spec.{bound.field} is {stored}, but can be {bound.limits}: the operator uses {used}"
        for bound, stored, used in _pairs(
            (TIMEOUT, spec.timeout, timeout),
            (FAIL_FAST_GRACE, spec.fail_fast_grace, grace),
            (BACKOFF, spec.retry.backoff, backoff),
            (MAX_BACKOFF, spec.retry.max_backoff, longest),
        )
    ]
    if not changes:
        return spec, ""
    retry = spec.retry.model_copy(update={"backoff": backoff, "max_backoff": longest})
    within = spec.model_copy(update={"timeout": timeout, "fail_fast_grace": grace, "retry": retry})
    return within, "; ".join(changes)


def _pairs(*fields: tuple[Bound, str, str]) -> list[tuple[Bound, str, str]]:
    return [(bound, stored, used) for bound, stored, used in fields if stored != used]
