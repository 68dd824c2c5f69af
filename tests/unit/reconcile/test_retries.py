"""When a failure is tried again, when it is only looked at, and when neither."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.spec import Retry
from managedchart_operator.errors import OperatorError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, RetryPlan, after_failure

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROBE = 600.0
MAY_HEAL = OperatorError("x", reason=Reason.API_UNAVAILABLE, transient=True)
WILL_NOT = OperatorError("x", reason=Reason.VALUES_INVALID, transient=False)


def after(
    failures: int,
    *,
    error: OperatorError = MAY_HEAL,
    retry: Retry | None = None,
    taken_back: bool = True,
    disturbed: bool = False,
    endless: bool = False,
) -> RetryPlan:
    return after_failure(
        error,
        retry or Retry(),
        failures=failures,
        now=NOW,
        probe=PROBE,
        taken_back=taken_back,
        applied_and_rolled_back=disturbed,
        endless=endless,
    )


def test_the_wait_doubles_up_to_its_limit() -> None:
    retry = Retry(limit=10, backoff="10s", max_backoff="1m")
    waits = [after(failures, retry=retry).at for failures in range(1, 6)]
    assert waits == [NOW + timedelta(seconds=seconds) for seconds in (10, 20, 40, 60, 60)]


def test_the_message_says_when_it_goes_on() -> None:
    plan = after(2)
    assert plan.message == "Attempt 2 failed; retrying at 2026-01-01T00:00:20Z"
    assert (plan.stalled, plan.gave_up) == (False, False)


def test_what_cannot_heal_is_not_tried_again() -> None:
    plan = after(1, error=WILL_NOT)
    assert (plan.at, plan.stalled, plan.gave_up) == (None, True, False)
    assert plan.message == (
        "Not retried automatically; change the spec or set the annotation managedchart.dev/retry to a new value"
    )


def test_a_rolled_back_upgrade_is_not_retried_automatically() -> None:
    """Each attempt would disturb what runs; the message names both ways to have another one."""
    plan = after(1, disturbed=True)
    assert (plan.at, plan.stalled, plan.gave_up) == (None, True, True)
    assert "spec.retry.afterRollback to true" in plan.message
    assert "managedchart.dev/retry" in plan.message


def test_after_rollback_retries_as_any_other_failure() -> None:
    wanted = after(1)
    assert after(1, retry=Retry(after_rollback=True), disturbed=True) == wanted
    assert wanted.at is not None


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_retries_end_after_the_limit(limit: int) -> None:
    """The limit counts retries: the first attempt is none."""
    retry = Retry(limit=limit)
    plans = [after(failures, retry=retry) for failures in range(1, limit + 2)]
    assert [plan.stalled for plan in plans] == [False] * limit + [True]
    assert plans[-1].gave_up
    attempts = "1 attempt" if limit == 0 else f"{limit + 1} attempts"
    assert plans[-1].message.startswith(f"Gave up after {attempts} (spec.retry.limit {limit}); ")


@pytest.mark.parametrize("reason", sorted(WORKLOAD_REASONS))
def test_what_was_taken_back_is_not_looked_at_any_more(reason: Reason) -> None:
    """Nothing is left of it that could heal by itself."""
    error = OperatorError("x", reason=reason, transient=True)
    assert after(6, error=error).at is None
    assert after(6, error=error, taken_back=False).at == NOW + timedelta(seconds=PROBE)


def test_what_was_given_up_is_looked_at_when_its_cause_may_go() -> None:
    """An API server or a registry that comes back ends a stall without anybody's help."""
    plan = after(6)
    assert (plan.at, plan.stalled, plan.gave_up) == (NOW + timedelta(seconds=PROBE), True, True)
    assert plan.message.endswith("; checking again at 2026-01-01T00:10:00Z")


@pytest.mark.parametrize("error", [MAY_HEAL, WILL_NOT])
def test_a_removal_never_gives_up(error: OperatorError) -> None:
    plan = after(1_000_000, error=error, retry=Retry(limit=0), endless=True)
    assert (plan.at, plan.stalled) == (NOW + timedelta(minutes=5), False)


@given(failures=st.integers(1, 10_000), backoff=st.integers(1, 3600), most=st.integers(1, 3600))
def test_no_wait_is_shorter_than_the_one_before_or_longer_than_its_limit(
    failures: int, backoff: int, most: int
) -> None:
    retry = Retry(limit=1000, backoff=f"{backoff}s", max_backoff=f"{most}s")
    this = after(failures, retry=retry, endless=True).at
    following = after(failures + 1, retry=retry, endless=True).at
    assert this is not None
    assert following is not None
    assert NOW < this <= following <= NOW + timedelta(seconds=most)


DEFECT = OperatorError("x", reason=Reason.INTERNAL_ERROR, transient=True)


@pytest.mark.parametrize("endless", [False, True])
def test_a_defect_is_tried_again_with_a_back_off_of_our_own(*, endless: bool) -> None:
    """Whatever the spec says: one that asks for a millisecond would fill the log."""
    retry = Retry(limit=100, backoff="1ms", max_backoff="1ms")
    waits = [(after(failures, error=DEFECT, retry=retry, endless=endless).at or NOW) - NOW for failures in range(1, 8)]
    assert [wait.total_seconds() for wait in waits] == [30, 60, 120, 240, 480, 600, 600]


def test_a_defect_is_not_tried_again_sooner_than_the_spec_says() -> None:
    retry = Retry(backoff="5m", max_backoff="1h")
    assert after(1, error=DEFECT, retry=retry).at == NOW + timedelta(minutes=5)
