"""What a pass over one resource is going to do.

`decide` makes the plan, and the reconciler carries it out.
"""

from dataclasses import dataclass

from managedchart_operator.helm.storage import Revision
from managedchart_operator.lifecycle.context import Operation


@dataclass(frozen=True, slots=True)
class InSync:
    """Do nothing: the release matches the spec."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing yet, since the same input has failed. `until` is when to retry, None for not without a change."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for another Helm operation; its lock is taken over at `until`. `because` begins a sentence."""

    until: float
    because: str
    deleted: bool = False
    """Whether that operation uninstalls the release."""


@dataclass(frozen=True, slots=True)
class AwaitingReadiness:
    """The newest revision is applied, and its objects have not been seen ready yet."""

    fail_on_timeout: bool
    """Whether the revision counts as failed if they do not become ready in time."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run the lifecycle. `because` is a sentence for Events and logs."""

    operation: Operation
    because: str
    unlock: Revision | None = None
    """A revision to mark failed first: no Helm operation works on it any more, and it is pending or was never seen ready."""
    awaiting: AwaitingReadiness | None = None
    """For `RESUME`: the wait for the release's objects, if it is not over."""
    continues: bool = False
    """For `RESUME`: whether the run continues the one that made the revision, so that its failure is the revision's."""
    changed_outside: bool = False
    deleted: bool = False
    """Whether the release is known to be deleted or being deleted."""

    @property
    def released(self) -> bool:
        """Whether the release matches the spec already."""
        return self.operation is Operation.RESUME and self.awaiting is None


Plan = InSync | Hold | Wait | Run
