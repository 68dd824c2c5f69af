"""How many Events one object may cause (S21)."""

from managedchart_operator.kube import event_limits
from managedchart_operator.kube.event_limits import BURST, SIMILAR, EventLimits
from managedchart_operator.kube.events import KEPT
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def written(limits: EventLimits, reasons: list[str], uid: str = "u") -> list[str]:
    return [reason for reason in reasons if limits.admit(uid, reason) is not None]


def test_a_storm_of_one_reason_ends_after_ten() -> None:
    limits = EventLimits(Clock())
    assert len(written(limits, ["HelmFailed"] * 1000)) == SIMILAR


def test_what_was_left_out_is_counted_in_the_next_one() -> None:
    clock = Clock()
    limits = EventLimits(clock)
    written(limits, ["HelmFailed"] * (SIMILAR + 7))
    clock.now += event_limits.WINDOW_SECONDS
    assert limits.admit("u", "HelmFailed") == 7
    assert limits.admit("u", "HelmFailed") == 0


def test_changing_reasons_end_with_the_burst() -> None:
    limits = EventLimits(Clock())
    reasons = ["Deployed", "UpgradeStarted", "HelmFailed"]
    assert len(written(limits, reasons * 100)) == BURST


def test_a_burst_is_followed_by_one_each_five_minutes() -> None:
    clock = Clock()
    limits = EventLimits(clock)
    reasons = ["Deployed", "UpgradeStarted", "HelmFailed"]
    written(limits, reasons * 100)
    clock.now += event_limits.REFILL_SECONDS
    assert len(written(limits, reasons * 100)) == 1


def test_the_first_of_a_reason_is_always_written() -> None:
    """Nobody hides a failure behind a storm of others."""
    limits = EventLimits(Clock())
    written(limits, ["Deployed", "UpgradeStarted", "HelmFailed"] * 100)
    assert written(limits, ["ImagePull", "ImagePull"]) == ["ImagePull"]


def test_what_must_be_kept_is_always_written() -> None:
    limits = EventLimits(Clock())
    for _ in range(100):
        assert limits.admit("u", "ReleaseLeft", keep=True) == 0
    assert RELEASE_LEFT in KEPT


def test_one_object_takes_nothing_from_another() -> None:
    limits = EventLimits(Clock())
    written(limits, ["HelmFailed"] * 1000, uid="attacker")
    assert written(limits, ["HelmFailed"], uid="victim") == ["HelmFailed"]


def test_its_memory_is_bounded() -> None:
    limits = EventLimits(Clock())
    for number in range(event_limits.OBJECTS + 100):
        limits.admit(f"u{number}", "Deployed")
    for number in range(event_limits.REASONS + 100):
        limits.admit("u", f"Reason{number}")
    assert len(limits._objects) == event_limits.OBJECTS
    assert len(limits._objects["u"].reasons) == event_limits.REASONS
