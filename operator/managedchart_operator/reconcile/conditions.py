"""The one place that derives conditions.

Purpose: what a run's state means for Ready, Reconciling, Stalled, Released and Validated. Boundary: pure. Invariants: Ready
keeps its last truth while Reconciling is True, unless the release is known to be gone: then it is Unknown; no condition is
False without a reason and a message; Reconciling and Stalled exist only while they are True, and never both.
Source: kstatus (sigs.k8s.io/cli-utils `pkg/kstatus`): observedGeneration behind or Reconciling means in progress, Stalled
means failed, Ready means current.
"""

from managedchart_operator.api.status import Condition
from managedchart_operator.reasons import Reason

READY, RECONCILING, STALLED, RELEASED, VALIDATED = "Ready", "Reconciling", "Stalled", "Released", "Validated"
_ORDER = (READY, RECONCILING, STALLED, RELEASED, VALIDATED)


class Conditions:
    """Changes a list of conditions; each method is one state that a resource can get into."""

    def __init__(self, conditions: list[Condition], *, generation: int, now: str) -> None:
        self._by_type = {condition.type: condition for condition in conditions}
        self._generation = generation
        self._now = now

    def result(self) -> list[Condition]:
        """Return the conditions in a fixed order."""
        return [self._by_type[kind] for kind in _ORDER if kind in self._by_type]

    def working(self, message: str, *, gone: bool = False) -> None:
        """A run has begun; `gone` says that what was Ready is known to be gone."""
        self._set(RECONCILING, "True", Reason.PROGRESSING, message)
        self._by_type.pop(STALLED, None)
        if gone:
            self._by_type.pop(RELEASED, None)
        if gone or READY not in self._by_type:
            self._set(READY, "Unknown", Reason.PROGRESSING, message)

    def released(self) -> None:
        """The release matches the spec; what follows exec may still fail."""
        self._set(RELEASED, "True", Reason.DEPLOYED, "The release is deployed as the spec wants it")

    def in_sync(self, message: str) -> None:
        """A new generation changes nothing. `message` says what is deployed, for a release that counted as deleted."""
        self._by_type.pop(RECONCILING, None)
        self._by_type.pop(STALLED, None)
        for kind, known in list(self._by_type.items()):
            self._by_type[kind] = known.model_copy(update={"observed_generation": self._generation})
        if (ready := self._by_type.get(READY)) is None or ready.status != "True":
            self._set(READY, "True", Reason.DEPLOYED, message)

    def what_follows(self, message: str) -> None:
        """What comes after the failure is described in another way than before."""
        for kind in (RECONCILING, STALLED):
            if known := self._by_type.get(kind):
                self._by_type[kind] = known.model_copy(update={"message": message})

    def succeeded(self, reason: Reason, message: str, *, released: bool | None, validated: bool) -> None:
        """A run has ended well. `released` is None where the run was not about a release."""
        self._by_type.pop(RECONCILING, None)
        self._by_type.pop(STALLED, None)
        self._set(READY, "True", reason, message)
        if released is None:
            self._by_type.pop(RELEASED, None)
        else:
            self._set(RELEASED, "True" if released else "False", reason, message)
        if validated:
            self._set(VALIDATED, "True", reason, "The validate phase has passed")
        else:
            self._by_type.pop(VALIDATED, None)

    def failed(
        self, reason: Reason, message: str, *, stalled: bool, after: str, released: bool | None, validating: bool
    ) -> None:
        """A run has failed. `after` says what happens next.

        `released` tells whether the release itself is as desired, whatever failed before or after; it is None where exec
        has passed and was not about a release.
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
        self._by_type[kind] = Condition.model_validate(
            {
                "type": kind,
                "status": status,
                "reason": reason.value,
                "message": message,
                "observedGeneration": self._generation,
                "lastTransitionTime": since,
            }
        )
