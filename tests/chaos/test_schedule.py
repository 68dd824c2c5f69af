"""The schedule of a run can be made again from its seed, and asks for everything that the issue names."""

import pytest

from chaos.schedule import Pods, Verb, resources, schedule


def test_a_seed_makes_the_same_schedule_again() -> None:
    first, again = (schedule(7, number=20, seconds=90) for _ in range(2))
    assert list(map(str, first)) == list(map(str, again))
    assert first == again
    assert first != schedule(8, number=20, seconds=90)


@pytest.mark.parametrize("seed", range(20))
def test_every_run_creates_everything_and_kills_everything(seed: int) -> None:
    actions = schedule(seed, number=8, seconds=12)
    assert set(Verb) - {Verb.DELETE} <= {action.verb for action in actions}
    assert {action.resource for action in actions if action.verb is Verb.APPLY} == set(resources(8))
    assert [action.at for action in actions] == sorted(action.at for action in actions)
    assert all(0 <= action.at <= 12 for action in actions)


def test_a_long_run_asks_for_all_kinds_of_wishes() -> None:
    actions = schedule(1, number=20, seconds=90)
    wishes = [action.wish for action in actions if action.wish]
    assert {wish.pods for wish in wishes} == set(Pods)
    assert any(wish.destroy for wish in wishes)
    assert any(action.verb is Verb.DELETE for action in actions)
    messages = [wish.message for wish in wishes]
    assert len(messages) == len(set(messages))


@pytest.mark.parametrize("seed", range(20))
def test_what_was_deleted_is_not_deleted_again_before_it_is_created(seed: int) -> None:
    there: dict[str, bool] = {}
    for action in schedule(seed, number=20, seconds=90):
        if action.resource:
            if action.verb is Verb.DELETE:
                assert there[action.resource.name]
            there[action.resource.name] = action.verb is Verb.APPLY
