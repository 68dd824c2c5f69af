"""Slots that namespaces share: nobody holds more than a share, nobody waits behind the queue of another one."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.fair_slots import FairSlots, share_of


@pytest.mark.parametrize(
    ("total", "share", "most"),
    [
        (1, 0.5, 1),
        (2, 0.5, 1),
        (3, 0.5, 2),
        (4, 0.5, 2),
        (56, 0.5, 28),
        (30, 0.1, 3),
        (4, 0.01, 1),
        (4, 0.99, 3),
        (4, 1.0, 4),
        (1, 1.0, 1),
    ],
)
def test_a_share_is_at_least_one_slot(total: int, share: float, most: int) -> None:
    """And never all of them if there are two, unless shares are off."""
    assert share_of(total, share) == most


class Users:
    """Tasks that hold slots until they are told to end."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.served: list[str] = []
        self.holding: list[tuple[str, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *names: str) -> None:
        """Ask for a slot for each namespace, in this order."""
        for name in names:
            self.tasks.append(asyncio.create_task(self._hold(name)))
        await _settle()

    async def _hold(self, name: str) -> None:
        done = asyncio.Event()
        async with self.slots.hold(name.rstrip("0123456789")):
            self.served.append(name)
            self.holding.append((name, done))
            await done.wait()

    async def end(self, name: str) -> None:
        """Let the first holder of this name give its slot back."""
        found = next(item for item in self.holding if item[0] == name)
        self.holding.remove(found)
        found[1].set()
        await _settle()

    async def end_all(self) -> None:
        while self.holding:
            await self.end(self.holding[0][0])
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_namespace_holds_at_most_its_share() -> None:
    """Also while nobody else wants some: what is lent to somebody who never ends is not there for the next one."""
    users = Users(FairSlots(4, share=0.5))
    await users.ask("a1", "a2", "a3", "a4")
    assert users.served == ["a1", "a2"]
    await users.ask("b1", "b2", "b3")
    assert users.served == ["a1", "a2", "b1", "b2"]
    await users.end("a1")
    assert users.served[-1] == "a3"
    await users.end_all()
    assert users.slots.held == 0


async def test_namespaces_are_served_in_turn() -> None:
    users = Users(FairSlots(2, share=0.5))
    await users.ask("a1", "b1", "a2", "a3", "a4", "b2", "c1", "c2")
    assert users.served == ["a1", "b1"]
    for name in ("a1", "b1", "a2", "b2", "c1", "a3"):
        await users.end(name)
    assert users.served[2:] == ["a2", "b2", "c1", "a3", "c2", "a4"]
    await users.end_all()


async def test_without_shares_one_namespace_takes_all() -> None:
    users = Users(FairSlots(3, share=1.0))
    await users.ask("a1", "a2", "a3", "b1")
    assert users.served == ["a1", "a2", "a3"]
    await users.end_all()


async def test_a_lent_slot_is_given_to_who_has_less() -> None:
    """The one namespace of the cluster used all slots; then another one comes."""
    alone = True
    users = Users(FairSlots(4, share=0.5, lends=lambda: alone))
    await users.ask("a1", "a2", "a3", "a4", "a5")
    assert users.served == ["a1", "a2", "a3", "a4"]
    alone = False
    await users.ask("b1", "b2", "b3")
    assert users.slots.held == 4
    await users.end("a1")
    await users.end("a2")
    assert users.served[4:] == ["b1", "b2"]
    await users.end("a3")
    assert users.served[6:] == ["a5"], "b holds its share"
    await users.end_all()


async def test_what_was_lent_is_missing_for_nobody() -> None:
    """Elastic slots: whoever has less than the share gets one at once, beyond the total."""
    alone = True
    users = Users(FairSlots(4, share=0.5, lends=lambda: alone, elastic=True))
    await users.ask("a1", "a2", "a3", "a4", "a5")
    assert users.served == ["a1", "a2", "a3", "a4"]
    alone = False
    await users.ask("b1", "b2", "b3")
    assert users.served[4:] == ["b1", "b2"]
    assert users.slots.held == 6
    await users.end("a1")
    await users.end("a2")
    assert users.served[6:] == [], "a still holds its share"
    await users.end("a3")
    assert users.served[6:] == ["a5"]
    await users.end_all()
    assert users.slots.held == 0


async def test_a_cancelled_wait_takes_no_slot() -> None:
    users = Users(FairSlots(2, share=0.5))
    await users.ask("a1", "a2", "a3")
    users.tasks[1].cancel()
    await _settle()
    await users.end("a1")
    assert users.served == ["a1", "a3"]
    await users.end_all()


async def test_a_slot_granted_to_a_cancelled_task_goes_on() -> None:
    """Both happen before the task runs again."""
    slots = FairSlots(1, share=0.5)
    await slots.acquire("a")
    waits = asyncio.create_task(slots.acquire("b"))
    follows = asyncio.create_task(slots.acquire("c"))
    await _settle()
    slots.release("a")
    waits.cancel()
    await asyncio.wait_for(follows, 1)
    assert waits.cancelled()
    slots.release("c")
    assert slots.held == 0


@given(
    total=st.integers(1, 5),
    share=st.sampled_from([0.1, 0.5, 0.7, 1.0]),
    steps=st.lists(st.tuples(st.sampled_from(["ask", "end", "cancel"]), st.integers(0, 9)), max_size=40),
)
def test_slots_are_shared_whatever_happens(total: int, share: float, steps: list[tuple[str, int]]) -> None:
    """Never more than all, never more than the share, and no slot is idle that somebody may have."""

    async def run() -> None:
        slots = FairSlots(total, share=share)
        holders: list[str] = []
        waiting: dict[asyncio.Task[None], str] = {}

        async def settle() -> None:
            await _settle()
            for task in [task for task in waiting if task.done()]:
                name = waiting.pop(task)
                holders.extend([] if task.cancelled() else [name])

        for action, number in steps:
            if action == "ask":
                name = "abc"[number % 3]
                waiting[asyncio.create_task(slots.acquire(name))] = name
            elif action == "end" and holders:
                slots.release(holders.pop(number % len(holders)))
            elif action == "cancel" and waiting:
                list(waiting)[number % len(waiting)].cancel()
            await settle()
            held = Counter(holders)
            assert slots.held == len(holders) <= total
            assert all(count <= share_of(total, share) for count in held.values())
            idle = len(holders) < total
            assert not (idle and any(held[name] < share_of(total, share) for name in waiting.values()))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for name in holders:
            slots.release(name)
        assert slots.held == 0

    asyncio.run(run())


@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=30))
def test_between_two_turns_everybody_has_one(asked: list[str]) -> None:
    """With one slot: a namespace that waits is passed over by each other one at most once."""

    async def run() -> list[str]:
        slots, served = FairSlots(1, share=0.5), []

        async def use(name: str) -> None:
            async with slots.hold(name):
                served.append(name)
                await asyncio.sleep(0)

        await slots.acquire("z")
        tasks = [asyncio.create_task(use(name)) for name in asked]
        await _settle()
        slots.release("z")
        await asyncio.gather(*tasks)
        return served

    served = asyncio.run(run())
    assert sorted(served) == sorted(asked)
    for position, name in enumerate(served):
        left = set(served[position + 1 :])
        after = served[position + 1 : position + 1 + len(left - {name})]
        assert name not in after or len(set(after)) == len(after)
        assert set(after) >= left - {name}
