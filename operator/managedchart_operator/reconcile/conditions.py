"""Derives the conditions Ready, Reconciling, Stalled, Released and Validated from the state of a run; nothing else does.

Ready keeps its last status while Reconciling is True, except that it becomes Unknown once the release is known to be deleted.
Reconciling and Stalled exist only while they are True, and never at the same time.
Source: kstatus (sigs.k8s.io/cli-utils `pkg/kstatus`): observedGeneration behind or Reconciling means in progress, Stalled
means failed, Ready means current.
"""

from managedchart_operator.api.status import Condition
from managedchart_operator.reasons import Reason

READY, RECONCILING, STALLED, RELEASED, VALIDATED = "Ready", "Reconciling", "Stalled", "Released", "Validated"
_ORDER = (READY, RECONCILING, STALLED, RELEASED, VALIDATED)


class Conditions:
    """Changes a list of conditions; each method is one state of a resource."""

    def __init__(self, conditions: list[Condition], *, generation: int, now: str) -> None:
        self._by_type = {condition.type: condition for condition in conditions}
        self._generation = generation
        self._now = now

    def result(self) -> list[Condition]:
        """Return the conditions in a fixed order."""
        return [self._by_type[kind] for kind in _ORDER if kind in self._by_type]

    def working(self, message: str, *, deleted: bool = False) -> None:
        """A run has begun; `deleted` says that the release is known to be deleted."""
        self._set(RECONCILING, "True", Reason.PROGRESSING, message)
        self._by_type.pop(STALLED, None)
        if deleted:
            self._by_type.pop(RELEASED, None)
        if deleted or READY not in self._by_type:
            self._set(READY, "Unknown", Reason.PROGRESSING, message)

    def released(self) -> None:
        """The release matches the spec; what follows exec may still fail."""
        self._set(RELEASED, "True", Reason.DEPLOYED, "The release matches the spec")

    def in_sync(self, message: str) -> None:
        """A new generation changes nothing. `message` says what is deployed, where Ready has to become True again."""
        self._by_type.pop(RECONCILING, None)
        self._by_type.pop(STALLED, None)
        for kind, known in list(self._by_type.items()):
            self._by_type[kind] = known.model_copy(update={"observed_generation": self._generation})
        if (ready := self._by_type.get(READY)) is None or ready.status != "True":
            self._set(READY, "True", Reason.DEPLOYED, message)

    def what_follows(self, message: str) -> None:
        """The message about what follows the failure has changed."""
        for kind in (RECONCILING, STALLED):
            if known := self._by_type.get(kind):
                self._by_type[kind] = known.model_copy(update={"message": message})

    def succeeded(self, reason: Reason, message: str, *, released: bool, validated: bool) -> None:
        """A run has succeeded. `released` says whether the release now matches the spec; else the run did not deploy."""
        self._by_type.pop(RECONCILING, None)
        self._by_type.pop(STALLED, None)
        self._set(READY, "True", reason, message)
        if released:
            self._set(RELEASED, "True", reason, message)
        else:
            self._by_type.pop(RELEASED, None)
        if validated:
            self._set(VALIDATED, "True", reason, "The validate phase has passed")
        else:
            self._by_type.pop(VALIDATED, None)

    def failed(
        self, reason: Reason, message: str, *, stalled: bool, after: str, released: bool | None, validating: bool
    ) -> None:
        """A run has failed. `after` says what happens next.

        `released` says whether the release itself matches the spec, whatever else failed; None where exec succeeded without
        deploying anything.
        """
        self._set(READY, "False", reason, message)
        if stalled:
            self._by_type.pop(RECONCILING, None)
            self._set(STALLED, "True", reason, after)
        else:
            self._by_type.pop(STALLED, None)
            self._set(RECONCILING, "True", Reason.RETRY_SCHEDULED, after)
        if released is None:
            self._by_type.pop(RELEASED, None)
        elif released:
            self.released()
        else:
            self._set(RELEASED, "False", reason, message)
        if validating:
            self._set(VALIDATED, "False", reason, message)

    def _set(self, kind: str, status: str, reason: Reason, message: str) -> None:
        known = self._by_type.get(kind)
        since = known.last_transition_time if known is not None and known.status == status else self._now
        self._by_type[kind] = Condition(
            type=kind,
            status=status,
            reason=reason.value,
            message=message,
            observed_generation=self._generation,
            last_transition_time=since,
        )
