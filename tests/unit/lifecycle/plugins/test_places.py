"""Processes of plug-ins work as far as memory reaches, and nobody waits in a circle."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from managedchart_operator.fair_slots import PAYER
from managedchart_operator.lifecycle.plugins import places as places_module
from managedchart_operator.lifecycle.plugins.places import MIB, Place, Places, bytes_for, places_for

EACH = 256 * MIB


@contextlib.asynccontextmanager
async def phase(places: Places, namespace: str = "a") -> AsyncIterator[Place]:
    PAYER.set(namespace)
    async with asyncio.timeout(2), places.hold() as place:
        yield place


@contextlib.asynccontextmanager
async def asking(places: Places, namespace: str = "a") -> AsyncIterator[asyncio.Event]:
    """A phase that asks for a place; yields the event of its start."""
    begun = asyncio.Event()

    async def run() -> None:
        PAYER.set(namespace)
        async with places.hold():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await asyncio.sleep(0.02)
    try:
        yield begun
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(("spare", "places"), [(-5, 2), (0, 2), (511, 2), (512, 3), (4096, 10), (65536, 32)])
def test_places_follow_the_memory(spare: int, places: int) -> None:
    assert places_for(spare * MIB, each=EACH) == places
    assert bytes_for(places, each=EACH) - bytes_for(2, each=EACH) <= max(spare, 0) * MIB


async def test_a_namespace_never_has_all_places() -> None:
    places = Places(2, each=EACH, share=0.5)
    async with phase(places), asking(places) as second:
        assert not second.is_set(), "of the same namespace"
        async with asking(places, "b") as other:
            assert other.is_set()


async def test_a_phase_that_waits_for_its_release_has_no_place() -> None:
    """So the rollouts of many run at once, and helm's slots are never waited for with a place."""
    places = Places(2, each=EACH, share=0.5)
    async with phase(places) as first:
        async with first.left():
            assert places.growth == 0
            async with phase(places) as second, second.left(), phase(places):
                assert places.growth == EACH
                assert places.phases.held == 3
        assert places.growth == EACH


async def test_the_answer_waits_for_a_place() -> None:
    places = Places(1, each=EACH, share=1)
    answered = asyncio.Event()

    async def rollout(place: Place) -> None:
        async with place.left():
            pass
        answered.set()

    async with phase(places) as first:
        first.leave()
        async with phase(places):
            back = asyncio.create_task(rollout(first))
            await asyncio.sleep(0.02)
            assert not answered.is_set()
        await asyncio.wait_for(back, 1)
        assert places.growth == EACH
    assert places.growth == 0


async def test_calls_that_end_together_take_one_place() -> None:
    places = Places(2, each=EACH, share=1)

    async def call(place: Place) -> None:
        async with place.left():
            await asyncio.sleep(0)

    async with phase(places) as place:
        await asyncio.gather(*(call(place) for _ in range(5)))
        assert places.growth == EACH
    assert places.growth == 0


async def test_a_cancelled_call_waits_for_no_place() -> None:
    places = Places(1, each=EACH, share=1)
    begun = asyncio.Event()

    async def call(place: Place) -> None:
        async with place.left():
            begun.set()
            await asyncio.Event().wait()

    async with phase(places) as place:
        task = asyncio.create_task(call(place))
        await begun.wait()
        async with phase(places):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 1)
    assert places.growth == 0


async def test_a_phase_waits_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may have taken it: phases that wait for their release, and helm. One may always work."""
    monkeypatch.setattr(places_module, "_POLL_SECONDS", 0.02)
    places = Places(4, each=EACH, share=1)
    free = 0
    places.free_memory = lambda: free
    async with phase(places), asking(places) as second:
        assert not second.is_set()
        free = 2 * EACH - 1
        await asyncio.sleep(0.05)
        assert not second.is_set()
        free = 2 * EACH
        await asyncio.wait_for(second.wait(), 1)


async def test_a_phase_that_gives_up_leaves_nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "_POLL_SECONDS", 0.02)
    places = Places(2, each=EACH, share=1)
    places.free_memory = lambda: 0
    async with phase(places):
        async with asking(places):
            pass
        assert places.growth == EACH
    async with phase(places):
        pass
    assert (places.growth, places.phases.held) == (0, 0)
