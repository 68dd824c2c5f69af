"""How many passes hold a spec at once (S22)."""

import asyncio

import pytest

from managedchart_operator.reconcile.planning_places import (
    LARGE_SPEC_BYTES,
    MAX_CONCURRENT_LARGE_PLANS,
    MAX_CONCURRENT_PLANS,
    PlanningPlaces,
)


@pytest.mark.parametrize(
    ("size", "most"), [(1000, MAX_CONCURRENT_PLANS), (LARGE_SPEC_BYTES + 1, MAX_CONCURRENT_LARGE_PLANS)]
)
async def test_so_many_passes_plan_at_once(size: int, most: int) -> None:
    places, planning, done = PlanningPlaces(), 0, asyncio.Event()

    async def plan() -> None:
        nonlocal planning
        async with places.take(size):
            planning += 1
            await done.wait()

    tasks = [asyncio.create_task(plan()) for _ in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert planning == most
    async with asyncio.timeout(1):
        async with places.take(1000) if size > LARGE_SPEC_BYTES else asyncio.timeout(1):
            pass  # large specs hold nobody up
    done.set()
    await asyncio.gather(*tasks)
    assert planning == 100
