"""A resource whose status cannot be stored (S26)."""

from dataclasses import replace

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.answers import error_of
from managedchart_operator.reconcile.unwritable import Unwritable, is_too_large
from unit.reconcile.fakes import chart, unavailable
from unit.reconcile.world import World

TOO_LARGE = b'{"message": "etcdserver: request is too large"}'


def refused() -> KubeError:
    return error_of(500, TOO_LARGE, method="PATCH", path="/x")


class Clock:
    """A time that tests move."""

    now = 7.0

    def __call__(self) -> float:
        return self.now


def test_the_pause_doubles_up_to_ten_minutes() -> None:
    clock = Clock()
    unwritable = Unwritable(clock)
    assert unwritable.delay(chart()) == 0
    assert [unwritable.failed(chart()) for _ in range(7)] == [30, 60, 120, 240, 480, 600, 600]
    clock.now += 599
    assert unwritable.delay(chart()) == 1
    clock.now += 1
    assert unwritable.delay(chart()) == 0


@pytest.mark.parametrize("change", [{"generation": 2}, {"uid": "other"}, {"deleting": True}])
def test_a_change_is_tried_at_once(change: dict[str, object]) -> None:
    unwritable = Unwritable(Clock())
    unwritable.failed(chart())
    assert unwritable.delay(replace(chart(), **change)) == 0  # type: ignore[arg-type]


def test_what_the_api_server_says_is_recognised() -> None:
    assert is_too_large(refused())
    assert not is_too_large(unavailable())
    assert not is_too_large(None)


async def test_a_status_that_cannot_be_stored_is_written_once_a_pass() -> None:
    """The passes that others ask for in between write nothing and run nothing."""
    world = World()
    world.put({"action": "Skip"})
    world.api.failures = [refused() for _ in range(100)]
    reconciler = world.reconciler()
    key = world.resource.key if world.resource else None
    assert key is not None
    assert await reconciler.reconcile(key) == 30
    assert len(world.api.patches) <= 2
    written = len(world.api.patches)
    for _ in range(10):
        again = await reconciler.reconcile(key)
        assert again is not None
        assert 0 < again <= 30
    assert len(world.api.patches) == written
    [event] = world.event_messages("StatusTooLarge")
    assert "kubectl -n apps edit managedchart web" in event


async def test_a_smaller_spec_is_carried_out_at_once() -> None:
    world = World()
    world.put({"action": "Skip"})
    world.api.failures = [refused() for _ in range(3)]
    reconciler = world.reconciler()
    assert world.resource is not None
    await reconciler.reconcile(world.resource.key)
    world.api.failures = []
    world.put({"action": "Skip", "values": {}})
    assert await reconciler.reconcile(world.resource.key) is None
    assert world.condition("Ready")["status"] == "True"
