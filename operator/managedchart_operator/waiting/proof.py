"""Whether a revision that helm has applied is proven: all its objects were seen ready.

helm ends when the objects are applied; the operator waits for them afterwards. Until that wait succeeds the revision is
`AwaitingReadiness`. A wait that fails returns `NotReady`: the facts for the error of the run.
"""

from dataclasses import dataclass

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.unready import Unready, not_ready
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.waiting.kstatus import Readiness


@dataclass(frozen=True, slots=True)
class AwaitingReadiness:
    """The newest revision is applied, and its objects have not been seen ready yet."""

    fail_on_timeout: bool
    """Whether the revision counts as failed if they do not become ready in time."""


@dataclass(frozen=True, slots=True)
class UnreadyObject:
    """An object that is not ready, and its state."""

    ref: ObjectRef
    readiness: Readiness


@dataclass(frozen=True, slots=True)
class NotReady:
    """The result of a wait that did not see all objects ready."""

    objects: tuple[UnreadyObject, ...]
    timed_out: bool
    """Whether the time ran out; otherwise the wait ended early because it could not succeed."""

    def error(self) -> HelmError:
        """Return the error of the upgrade, the same as that of helm's own wait."""
        return not_ready(
            [
                Unready(
                    kind=each.ref.kind,
                    namespace=each.ref.namespace,
                    name=each.ref.name,
                    status=each.readiness.state,
                    message=each.readiness.message,
                )
                for each in self.objects
            ],
            timed_out=self.timed_out,
        )
