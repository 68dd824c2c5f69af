"""What a pass over one resource is going to do: one of a few plans, which `decide` makes (and the planner, `Check`) and
the reconciler carries out.
"""

from dataclasses import dataclass

from managedchart_operator.helm.storage import Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.waiting.proof import AwaitingReadiness


@dataclass(frozen=True, slots=True)
class InSync:
    """Nothing: the release is as the spec wants it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing yet: the same input has failed. `until` is when to try again, None for not without a change."""

    until: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for another Helm operation; its lock is taken over at `until`. `because` is the beginning of a sentence."""

    until: float
    because: str
    gone: bool = False
    """Whether the release is being removed by that operation."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run the lifecycle. `because` is a sentence for Events and logs."""

    operation: Operation
    because: str
    unlock: Revision | None = None
    """A revision that nobody works on any more, pending or never seen ready: mark it failed first."""
    awaiting: AwaitingReadiness | None = None
    """For `RESUME`: the wait for the release's objects is not over."""
    continues: bool = False
    """For `RESUME`: the run carries on the one that made the revision, so that its failure is the revision's."""
    changed_outside: bool = False
    gone: bool = False
    """Whether the release is known to be deleted, or to be on its way."""

    @property
    def released(self) -> bool:
        """Whether the release matches the spec already."""
        return self.operation is Operation.RESUME and self.awaiting is None


@dataclass(frozen=True, slots=True)
class Check:
    """Only look again later: the retries are used up, and the workloads are still unhealthy."""


Plan = InSync | Hold | Wait | Check | Run
