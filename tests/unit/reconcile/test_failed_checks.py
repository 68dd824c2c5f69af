"""Which failed checks count where those of several origins fail."""

import pytest

from managedchart_operator.api.validation_status import FailedChecks, ValidationStatus
from managedchart_operator.reconcile.failed_checks import by_origin, failed_again, summary

NOW = "2026-01-01T00:00:00Z"


def failing(**failures: int) -> dict[str, FailedChecks]:
    """Failed checks of these origins."""
    return {
        origin: FailedChecks(failures=count, action=f"of-{origin}", message="no", since=NOW, origin=origin)
        for origin, count in failures.items()
    }


@pytest.mark.parametrize(
    ("found", "shown", "first", "invalid"),
    [
        ({"a": 1}, "", "a", False),
        ({"a": 1, "b": 2}, "", "b", False),
        ({"a": 2, "b": 2}, "", "a", False),
        ({"a": 1, "b": 3}, "", "b", True),
        ({"a": 3, "b": 3}, "", "a", True),
        ({"a": 3, "b": 3}, "b", "b", True),
        ({"a": 3, "b": 1}, "b", "a", True),
        # Its profile has become invalid: how often its checks may fail is not known, and they have not passed.
        ({"a": 1, "gone": 1}, "gone", "gone", True),
        ({"a": 1, "gone": 9}, "", "gone", False),
    ],
    ids=str,
)
def test_the_origin_that_counts_most_is_shown(found: dict[str, int], shown: str, first: str, invalid: bool) -> None:
    """The one that is shown stays, so that nothing is written anew; its checks have to pass."""
    known = failing(**found)
    if shown == "b" and found["b"] < 3:
        del known["b"]

    status, is_invalid = summary(known, {"a": 3, "b": 3}, shown=shown)

    assert status is not None
    assert (status.origin, is_invalid) == (first, invalid)
    assert by_origin(status) == known


def test_nothing_is_shown_where_nothing_fails() -> None:
    assert summary({}, {"a": 3}, shown="a") == (None, False)


def test_failures_are_counted_up_to_the_threshold() -> None:
    (known,) = failing(a=2).values()

    again = failed_again(known, origin="a", action="x", message="why", now="later", threshold=2)

    assert (again.failures, again.action, again.message, again.since) == (2, "x", "why", NOW)
    assert failed_again(None, origin="a", action="x", message="why", now="later", threshold=2).since == "later"


def test_a_status_without_an_origin_is_about_the_spec() -> None:
    """As builds of the operator wrote it in which all origins were counted together."""
    status = ValidationStatus.model_validate({"failures": 1, "action": "x", "message": "no", "since": NOW})

    assert list(by_origin(status)) == ["spec"]
