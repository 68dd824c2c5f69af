"""Which failed checks of a deployed release count, where several origins have checks that fail. Pure.

Each origin (the spec, each LifecycleProfile) has its own interval and its own failureThreshold, and heals nothing but its own
failures: a tenant's check that passes every ten seconds must not hide the one of an administrator that fails.
"""

from collections.abc import Mapping

from managedchart_operator.api.validation_status import FailedChecks, ValidationStatus


def by_origin(status: ValidationStatus | None) -> dict[str, FailedChecks]:
    """Return the failed checks of each origin."""
    if status is None:
        return {}
    first = FailedChecks(**status.model_dump(exclude={"others"}))
    return {each.origin: each for each in (first, *(status.others or ()))}


def failed_again(
    known: FailedChecks | None, *, origin: str, action: str, message: str, now: str, threshold: int
) -> FailedChecks:
    """Return the failed checks of an origin after one more failure; they are counted up to the threshold."""
    failures = min((known.failures if known else 0) + 1, threshold)
    since = known.since if known else now
    return FailedChecks(failures=failures, action=action, message=message, since=since, origin=origin)


def summary(
    failing: Mapping[str, FailedChecks], thresholds: Mapping[str, int], *, shown: str
) -> tuple[ValidationStatus | None, bool]:
    """Return what the status says about these failed checks, and whether they make the resource not Ready.

    `shown` is the origin for which it is not Ready now, "" if it is Ready. That one is shown until its checks pass; then the
    first one that has failed as often as it may; else the one that has failed most often. `thresholds` are those of the origins
    whose checks can run; a profile that has become invalid has none.
    """
    if not failing:
        return None, False
    reached = [origin for origin, most in thresholds.items() if origin in failing and failing[origin].failures >= most]
    invalid = shown in failing or bool(reached)
    if shown in failing:
        first = shown
    elif reached:
        first = reached[0]
    else:
        first = max(failing.values(), key=lambda each: each.failures).origin
    others = [each for origin, each in failing.items() if origin != first]
    return ValidationStatus(**failing[first].model_dump(), others=others or None), invalid
