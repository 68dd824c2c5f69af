"""Derives all conditions of a resource from the state of a run; nothing else does.

Ready keeps its last status while Reconciling is True, except that it becomes Unknown once the release is known to be deleted.
Reconciling and Stalled exist only while they are True, and never at the same time.
Source: kstatus (sigs.k8s.io/cli-utils `pkg/kstatus`): observedGeneration behind or Reconciling means in progress, Stalled
means failed, Ready means current.
"""

from collections.abc import Sequence

from managedchart_operator.api.status import SUMMARY_LENGTH, Condition
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import one_line

READY, RECONCILING, STALLED, RELEASED, VALIDATED = "Ready", "Reconciling", "Stalled", "Released", "Validated"
CLAMPED, LIFECYCLE_MISSING = "Clamped", "LifecycleMissing"
_ORDER = (READY, RECONCILING, STALLED, RELEASED, VALIDATED, CLAMPED, LIFECYCLE_MISSING)
_NOTICES = {CLAMPED: Reason.SPEC_CLAMPED, LIFECYCLE_MISSING: Reason.LIFECYCLE_UNKNOWN}
"""The conditions that say something beside the state of the release, and their reasons."""


def summary_of(conditions: Sequence[Condition]) -> str | None:
    """Return in one short line what is going on, or else what Ready says; None where nothing is known yet."""
    by_type = {condition.type: condition for condition in conditions}
    reconciling = by_type.get(RECONCILING)
    working = reconciling is not None and reconciling.reason == Reason.PROGRESSING
    shown = reconciling if working else by_type.get(READY)
    return one_line(shown.message, SUMMARY_LENGTH) if shown else None


class Conditions:
    """Changes conditions; each public method is one state of a resource, and returns its conditions in a fixed order."""

    def __init__(self, conditions: list[Condition], *, generation: int, now: str) -> None:
        self._by_type = {condition.type: condition for condition in conditions}
        self._generation = generation
        self._now = now

    def working(self, message: str, *, deleted: bool = False) -> list[Condition]:
        """A run has begun; `deleted` says that the release is known to be deleted, or is about to be."""
        self._set(RECONCILING, "True", Reason.PROGRESSING, message)
        self._remove(STALLED)
        if deleted:
            self._remove(RELEASED)
        if deleted or READY not in self._by_type:
            self._set(READY, "Unknown", Reason.PROGRESSING, message)
        return self._result()

    def released(self) -> list[Condition]:
        """The release matches the spec; what follows exec may still fail."""
        self._set(RELEASED, "True", Reason.DEPLOYED, "The release matches the spec")
        return self._result()

    def in_sync(self, message: str, *, validated: bool) -> list[Condition]:
        """A new generation changes nothing. `message` says what is deployed, where Ready has to become True again.

        It stays False while the release is not `validated`: its checks fail.
        """
        self._remove(RECONCILING, STALLED)
        for kind, known in self._by_type.items():
            self._by_type[kind] = known.model_copy(update={"observed_generation": self._generation})
        if validated and ((ready := self._by_type.get(READY)) is None or ready.status != "True"):
            self._set(READY, "True", Reason.DEPLOYED, message)
        return self._result()

    def noticed(self, kind: str, message: str) -> list[Condition]:
        """CLAMPED: values of the stored spec are beyond a bound. LIFECYCLE_MISSING: nothing has the name of the lifecycle.

        The message is "" if that is no longer so.
        """
        self._set(kind, "True" if message else None, _NOTICES[kind], message)
        return self._result()

    def checks_failed(self, message: str) -> list[Condition]:
        """The checks of the deployed release have failed as often as they may."""
        self._set(READY, "False", Reason.VALIDATION_FAILED, message)
        self._set(VALIDATED, "False", Reason.VALIDATION_FAILED, message)
        return self._result()

    def checks_passed(self, message: str) -> list[Condition]:
        """The checks of the deployed release pass again; `message` says what is deployed."""
        self._set(READY, "True", Reason.DEPLOYED, message)
        self._set(VALIDATED, "True", Reason.DEPLOYED, "The checks have passed")
        return self._result()

    def what_follows(self, message: str) -> list[Condition]:
        """The message about what follows the failure has changed."""
        for kind in (RECONCILING, STALLED):
            if known := self._by_type.get(kind):
                self._by_type[kind] = known.model_copy(update={"message": message})
        return self._result()

    def succeeded(self, reason: Reason, message: str, *, released: bool, validated: bool) -> list[Condition]:
        """A run has succeeded. `released` says whether the release now matches the spec; else the run did not deploy."""
        self._remove(RECONCILING, STALLED)
        self._set(READY, "True", reason, message)
        self._set(RELEASED, "True" if released else None, reason, message)
        self._set(VALIDATED, "True" if validated else None, reason, "The validate phase has passed")
        return self._result()

    def failed(
        self, reason: Reason, message: str, *, stalled: bool, after: str, released: bool | None, validating: bool
    ) -> list[Condition]:
        """A run has failed. `after` says what happens next.

        `released` says whether the release itself matches the spec, whatever else failed; None where exec succeeded without
        deploying anything.
        """
        self._set(READY, "False", reason, message)
        self._set(RECONCILING, None if stalled else "True", Reason.RETRY_SCHEDULED, after)
        self._set(STALLED, "True" if stalled else None, reason, after)
        if released:
            self.released()
        else:
            self._set(RELEASED, None if released is None else "False", reason, message)
        if validating:
            self._set(VALIDATED, "False", reason, message)
        return self._result()

    def _set(self, kind: str, status: str | None, reason: Reason, message: str) -> None:
        """Set a condition; None removes it."""
        known = self._by_type.pop(kind, None)
        if status is None:
            return
        since = known.last_transition_time if known is not None and known.status == status else self._now
        self._by_type[kind] = Condition(
            type=kind,
            status=status,
            reason=reason.value,
            message=message,
            observed_generation=self._generation,
            last_transition_time=since,
        )

    def _remove(self, *kinds: str) -> None:
        for kind in kinds:
            self._by_type.pop(kind, None)

    def _result(self) -> list[Condition]:
        return [self._by_type[kind] for kind in _ORDER if kind in self._by_type]
