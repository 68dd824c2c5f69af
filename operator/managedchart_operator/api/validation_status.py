"""What the status says about checks of a deployed release that fail."""

from managedchart_operator.api.earlier_status import StatusModel


class FailedChecks(StatusModel):
    """Failed checks of one origin: the spec, or a LifecycleProfile."""

    failures: int
    """How many validations in a row have failed, up to the failureThreshold of the origin."""
    action: str
    """The action that failed in the last one."""
    message: str
    """Why it failed."""
    since: str
    """When the first of them failed (RFC 3339)."""
    origin: str = "spec"
    """Whose checks they are: spec, or profile/ and the name of a LifecycleProfile."""


class ValidationStatus(FailedChecks):
    """Failed checks of a release that matches the spec: those that count most, and those of other origins."""

    others: list[FailedChecks] | None = None
    """Checks of other origins that fail too; absent if there are none."""
