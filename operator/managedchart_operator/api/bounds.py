"""The bounds of the durations in a spec.

One resource with a back-off of a millisecond would keep the operator busy, and one with a timeout of a year would keep a slot.
The CRD refuses such a value when it is written. Resources that were stored before it did so stay as they are, because the API
server leaves unchanged fields alone; the models accept them, and `reconcile.clamping` says what is used instead.
"""

from dataclasses import dataclass
from typing import Any

from managedchart_operator.api.duration import between, seconds

# Longer than any rollout that somebody waits for, and short enough that a slot that is never given back is noticed.
LONGEST = "24h"
# A failed attempt may cost a helm process, ten requests and an Event.
SHORTEST_BACKOFF = "1s"


@dataclass(frozen=True, slots=True)
class Bound:
    """The bounds of one duration. `field` is its path below `spec`, `remedy` begins with a verb."""

    field: str
    remedy: str
    least: str | None = None
    most: str = LONGEST

    @property
    def limits(self) -> str:
        """The bounds in words."""
        return f"at most {self.most}" if self.least is None else f"from {self.least} to {self.most}"

    def rules(self) -> dict[str, Any]:
        """Return the CEL rules of the field, for `json_schema_extra`."""
        name = self.field.rpartition(".")[2]
        return between(self.least, self.most, f"{name} can be {self.limits}: {self.remedy}")

    def clamped(self, duration: str) -> str:
        """Return the duration, or the bound that it is beyond."""
        if self.least is not None and seconds(duration) < seconds(self.least):
            return self.least
        return self.most if seconds(duration) > seconds(self.most) else duration


TIMEOUT = Bound("timeout", "shorten it, or set spec.wait to false if the objects need longer to become ready")
FAIL_FAST_GRACE = Bound("failFastGrace", "shorten it, or set spec.failFast to false")
BACKOFF = Bound("retry.backoff", "write a duration like 10s or 5m", least=SHORTEST_BACKOFF)
MAX_BACKOFF = Bound("retry.maxBackoff", "write a duration like 5m or 1h", least=SHORTEST_BACKOFF)
