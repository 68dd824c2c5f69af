"""What a run reports in addition to its error: the result of its operation, and warnings that stop nothing."""

from dataclasses import dataclass, field

from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.objects import ObjectRef

RELEASE_LEFT = "ReleaseLeft"
"""Reason of the Event that says what of a release stays in the cluster, and why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done; `message` is for the status and for logs."""

    message: str
    left: str = ""
    """Why the release was left although an uninstall was requested."""
    spared: tuple[ObjectRef, ...] = ()
    """The objects that were left because they existed before the release."""
    kept: str = ""
    """The end of a sentence about what an uninstall has kept."""
    changed: bool = True
    """Whether anything was changed in the cluster."""


@dataclass(slots=True)
class Journal:
    """Written by the operations and the lifecycle of one run, read by the reconciler."""

    outcome: Outcome | None = None
    """The result of the last operation of exec."""
    deployed: Revision | None = None
    """The revision that exec has deployed."""
    chart_version: str | None = None
    """The version of its chart, if the run has fetched it."""
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """Reason and message of each warning that was not posted yet."""

    def warn(self, reason: str, message: str) -> None:
        """Add a warning."""
        self.warnings.append((reason, message))

    def take_warnings(self) -> list[tuple[str, str]]:
        """Return the warnings since the last call."""
        taken, self.warnings = self.warnings, []
        return taken
