"""The conditions in every state, held to what kstatus makes of them."""

from collections.abc import Callable, Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.status import Condition
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.conditions import Conditions, summary_of

Outcome = Literal["InProgress", "Failed", "Current"]
Step = Callable[[Conditions], list[Condition]]


def kstatus(conditions: Sequence[Condition], *, generation: int, observed: int) -> Outcome:
    """What kubectl plug-ins, Argo CD and Flux read from a resource that they know nothing else of."""
    status = {condition.type: condition.status for condition in conditions}
    if observed != generation or status.get("Reconciling") == "True":
        return "InProgress"
    if status.get("Stalled") == "True":
        return "Failed"
    return "Current" if status.get("Ready", "True") == "True" else "InProgress"


def working(conditions: Conditions) -> list[Condition]:
    return conditions.working("Upgrade: the input has changed")


def succeeded(conditions: Conditions) -> list[Condition]:
    return conditions.succeeded(Reason.DEPLOYED, "deployed", released=True, validated=True)


def skipped(conditions: Conditions) -> list[Condition]:
    return conditions.succeeded(Reason.SKIPPED, "nothing was changed", released=False, validated=False)


def retrying(conditions: Conditions) -> list[Condition]:
    return conditions.failed(
        Reason.TIMEOUT, "no pods", stalled=False, after="attempt 1 failed", released=False, validating=False
    )


def stalled(conditions: Conditions) -> list[Condition]:
    return conditions.failed(
        Reason.VALUES_INVALID, "bad", stalled=True, after="useless", released=False, validating=False
    )


def not_validated(conditions: Conditions) -> list[Condition]:
    return conditions.failed(
        Reason.LIFECYCLE_FAILED, "no answer", stalled=True, after="gave up", released=True, validating=True
    )


STEPS: dict[Step, Outcome] = {
    working: "InProgress",
    succeeded: "Current",
    skipped: "Current",
    retrying: "InProgress",
    stalled: "Failed",
    not_validated: "Failed",
}
steps = st.sampled_from(list(STEPS))


def after(*taken: Step) -> list[Condition]:
    """The conditions after these steps, one a second, each of the next generation."""
    known: list[Condition] = []
    for number, step in enumerate(taken, start=1):
        known = step(Conditions(known, generation=number, now=f"2026-01-01T00:00:{number:02d}Z"))
    return known


def named(conditions: list[Condition]) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions}


@given(st.lists(steps, min_size=1, max_size=8))
def test_kstatus_reads_every_state_correctly(taken: list[Step]) -> None:
    """Whatever came before."""
    assert kstatus(after(*taken), generation=1, observed=1) == STEPS[taken[-1]]


@given(st.lists(steps, min_size=1, max_size=8))
def test_a_new_generation_is_in_progress(taken: list[Step]) -> None:
    assert kstatus(after(*taken), generation=2, observed=1) == "InProgress"


@given(st.lists(steps, min_size=1, max_size=8))
def test_reconciling_and_stalled_exclude_each_other(taken: list[Step]) -> None:
    found = named(after(*taken))
    assert not {"Reconciling", "Stalled"} <= found.keys()
    assert all(found[kind].status == "True" for kind in ("Reconciling", "Stalled") if kind in found)


@given(st.lists(steps, min_size=1, max_size=8))
def test_every_condition_has_reason_and_message(taken: list[Step]) -> None:
    for condition in after(*taken):
        assert Reason(condition.reason)
        assert condition.message


@given(st.lists(steps, min_size=1, max_size=8), steps)
def test_transition_times_change_only_with_the_status(taken: list[Step], last: Step) -> None:
    before, now = named(after(*taken)), named(after(*taken, last))
    for kind in before.keys() & now.keys():
        changed = before[kind].status != now[kind].status
        assert (before[kind].last_transition_time != now[kind].last_transition_time) == changed
    for kind in now.keys() - before.keys():
        assert now[kind].last_transition_time == f"2026-01-01T00:00:{len(taken) + 1:02d}Z"


@given(st.lists(steps, max_size=6))
def test_ready_stays_while_reconciling(taken: list[Step]) -> None:
    """A deployed application does not go away because a new version is on its way: Ready does not flap."""
    before, now = named(after(*taken)), named(after(*taken, working))
    if "Ready" in before:
        assert now["Ready"] == before["Ready"]
    else:
        assert now["Ready"].status == "Unknown"


@given(st.lists(steps, min_size=1, max_size=8))
def test_conditions_have_a_fixed_order(taken: list[Step]) -> None:
    kinds = [condition.type for condition in after(*taken)]
    assert kinds == [kind for kind in ("Ready", "Reconciling", "Stalled", "Released", "Validated") if kind in kinds]


@pytest.mark.parametrize("step", [succeeded, skipped, retrying, stalled, not_validated])
def test_ready_names_the_generation_that_was_run(step: Step) -> None:
    assert named(after(working, working, step))["Ready"].observed_generation == 3
    assert named(after(step, working))["Ready"].observed_generation == 1


def test_released_says_whether_the_release_matches() -> None:
    assert named(after(succeeded))["Released"].status == "True"
    assert named(after(succeeded, retrying))["Released"].status == "False"
    assert "Released" not in named(after(succeeded, skipped))


def test_a_failed_validation_keeps_released() -> None:
    found = named(after(succeeded, not_validated))
    assert (found["Released"].status, found["Validated"].status, found["Ready"].status) == ("True", "False", "False")


def test_released_does_not_depend_on_validation() -> None:
    assert named(after(retrying))["Released"].status == "False"
    assert named(after(retrying, not_validated))["Released"].status == "True"


def test_validated_is_removed_without_a_validation() -> None:
    assert named(after(succeeded))["Validated"].status == "True"
    assert "Validated" not in named(after(succeeded, skipped))


def test_ready_is_unknown_after_the_release_was_deleted() -> None:
    """What was Ready does not exist any more; the end of the run shows whether it does again."""
    conditions = Conditions([], generation=1, now="2026-01-01T00:00:00Z")
    conditions.succeeded(Reason.DEPLOYED, "deployed", released=True, validated=True)
    changed = conditions.working("installs it again", deleted=True)
    found = {condition.type: condition.status for condition in changed}
    assert found["Ready"] == "Unknown"
    assert "Released" not in found
    assert found["Reconciling"] == "True"


def test_the_summary_is_one_short_line_about_the_present() -> None:
    """While a run is under way what it does, else what Ready says."""
    assert summary_of([]) is None
    conditions = Conditions([], generation=1, now="now")
    assert summary_of(working(conditions)) == "Upgrade: the input has changed"
    assert summary_of(succeeded(conditions)) == "deployed"
    assert summary_of(retrying(conditions)) == "no pods"

    long = conditions.failed(
        Reason.TIMEOUT, "x\n" * 300, stalled=True, after="gave up", released=False, validating=False
    )
    summary = summary_of(long)
    assert summary is not None
    assert len(summary) == 120
    assert "\n" not in summary
    assert summary.endswith("…")
