"""helm processes start as far as memory and CPU reach."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from managedchart_operator.fair_slots import PAYER
from managedchart_operator.helm import slots as slots_module
from managedchart_operator.helm.child_limits import DEFAULT_MEMORY_BYTES, LIGHT_MEMORY_BYTES, MIB
from managedchart_operator.helm.slots import HelmSlots, applies_for, light_for, memory_needed, processes_for


@pytest.mark.parametrize(("memory", "processes"), [(256, 4), (512, 4), (1024, 14), (3072, 56), (65536, 256)])
def test_processes_follow_the_memory(memory: int, processes: int) -> None:
    assert processes_for(memory * MIB) == processes


@pytest.mark.parametrize(("cpus", "applies"), [(0.1, 2), (1.0, 2), (2.0, 4), (2.5, 5), (16.0, 32)])
def test_applies_follow_the_cpus(cpus: float, applies: int) -> None:
    assert applies_for(cpus, 64 * 1024 * MIB) == applies


@pytest.mark.parametrize(("memory", "each", "applies"), [(512, 512, 1), (3072, 512, 3), (3072, 256, 7), (8192, 512, 8)])
def test_applies_fit_into_the_memory(memory: int, each: int, applies: int) -> None:
    assert applies_for(4, memory * MIB, each=each * MIB) == applies


@pytest.mark.parametrize("memory", [2048, 3072, 4096, 16384])
@pytest.mark.parametrize("cpus", [0.5, 2, 4, 64])
def test_the_defaults_fit_into_a_pod(memory: int, cpus: float) -> None:
    """S11: helm at its limits, the operator and its workers. The kernel ends all of a container's processes at once."""
    applies = applies_for(cpus, memory * MIB)
    assert memory_needed(applies=applies, each=DEFAULT_MEMORY_BYTES) <= memory * MIB
    light = light_for(memory * MIB, applies=applies, each=DEFAULT_MEMORY_BYTES)
    more = (light - 2) * LIGHT_MEMORY_BYTES
    assert memory_needed(applies=applies, each=DEFAULT_MEMORY_BYTES) + more <= memory * MIB


async def test_processes_without_an_apply_slot_are_bounded() -> None:
    slots = HelmSlots(processes=8, applies=8, light=1, free_memory=Memory(10**12))
    async with slots.process(applies=False):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), slots.process(applies=False):
                pytest.fail("a second one runs")
        async with asyncio.timeout(1), slots.process(applies=True):
            assert slots.running == 2


class Memory:
    """Memory of which each helm takes a part."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self) -> int:
        return self.free


@contextlib.asynccontextmanager
async def waiting_helm(slots: HelmSlots) -> AsyncIterator[None]:
    """A helm process that has applied and waits."""
    async with slots.process(applies=True) as applied:
        applied()
        yield


@contextlib.asynccontextmanager
async def follower(slots: HelmSlots) -> AsyncIterator[asyncio.Event]:
    """A helm process that asks to start; yields the event of its start."""
    begun = asyncio.Event()

    async def run() -> None:
        async with slots.process(applies=True):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await asyncio.sleep(0.05)
    yield begun
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_without_memory_helm_waits_for_another_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would kill one in the middle of an upgrade."""
    monkeypatch.setattr(slots_module, "_POLL_SECONDS", 60.0)  # so that only the end of a process wakes it
    memory = Memory(DEFAULT_MEMORY_BYTES)
    slots = HelmSlots(processes=8, applies=8, free_memory=memory)
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(waiting_helm(slots))
        memory.free = DEFAULT_MEMORY_BYTES - 1
        async with follower(slots) as begun:
            assert (slots.running, begun.is_set()) == (1, False)
            await first.aclose()
            await asyncio.wait_for(begun.wait(), 1)


async def test_freed_memory_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "_POLL_SECONDS", 0.01)
    memory = Memory(0)
    slots = HelmSlots(processes=8, applies=8, free_memory=memory)
    async with waiting_helm(slots), follower(slots) as begun:
        assert not begun.is_set()
        memory.free = DEFAULT_MEMORY_BYTES
        await asyncio.wait_for(begun.wait(), 1)


async def test_applying_processes_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory that they may still need is reserved."""
    monkeypatch.setattr(slots_module, "_POLL_SECONDS", 0.01)
    slots = HelmSlots(processes=8, applies=8, free_memory=Memory(2 * DEFAULT_MEMORY_BYTES))
    async with slots.process(applies=True) as applied, slots.process(applies=True), follower(slots) as begun:
        assert not begun.is_set()
        applied()
        await asyncio.wait_for(begun.wait(), 1)


async def test_one_helm_always_runs() -> None:
    """Else nothing would ever happen again; with luck the chart is small."""
    slots = HelmSlots(processes=8, applies=8, free_memory=Memory(0))
    async with asyncio.timeout(1), slots.process(applies=True):
        assert slots.running == 1


async def test_a_cancelled_wait_for_memory_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "_POLL_SECONDS", 60.0)
    memory = Memory(0)
    slots = HelmSlots(processes=2, applies=1, free_memory=memory)
    async with waiting_helm(slots):
        async with follower(slots) as begun:
            assert not begun.is_set()
        assert (slots.running, slots.applying) == (1, 0)
        memory.free = DEFAULT_MEMORY_BYTES
        async with asyncio.timeout(1), slots.process(applies=True):
            assert slots.running == 2


# ---- namespaces


async def held(stack: contextlib.AsyncExitStack, slots: HelmSlots, namespace: str, *, applies: bool = True) -> bool:
    """Whether a helm process of the namespace starts at once; it runs until the stack is closed."""
    process = slots.process(applies=applies, namespace=namespace)
    try:
        async with asyncio.timeout(0.05):
            await stack.enter_async_context(process)
    except TimeoutError:
        return False
    return True


async def test_templates_that_never_end_take_half_of_the_apply_slots() -> None:
    """S12: the other namespaces go on."""
    slots = HelmSlots(processes=8, applies=4, free_memory=lambda: 1 << 40, share=0.5)
    async with contextlib.AsyncExitStack() as stack:
        assert [await held(stack, slots, "a") for _ in range(3)] == [True, True, False]
        assert [await held(stack, slots, "b") for _ in range(3)] == [True, True, False]
        assert (slots.applying, slots.running) == (4, 4)
    assert (slots.applying, slots.running) == (0, 0)


async def test_pulls_that_never_answer_take_half_of_the_processes() -> None:
    """S12b: they need no apply slot, and every upgrade needs a process."""
    slots = HelmSlots(processes=4, applies=4, free_memory=lambda: 1 << 40, share=0.5)
    async with contextlib.AsyncExitStack() as stack:
        assert [await held(stack, slots, "a", applies=False) for _ in range(3)] == [True, True, False]
        assert await held(stack, slots, "b")


async def test_without_a_namespace_the_payer_counts() -> None:
    """A download is shared by all who wait for it; it counts for the first."""
    slots = HelmSlots(processes=2, applies=2, free_memory=lambda: 1 << 40, share=0.5)
    async with contextlib.AsyncExitStack() as stack:
        PAYER.set("a")
        assert await held(stack, slots, "", applies=False)
        assert not await held(stack, slots, "a", applies=False)
        assert await held(stack, slots, "b", applies=False)


async def test_the_only_namespace_may_apply_with_all_slots() -> None:
    alone = True
    slots = HelmSlots(processes=8, applies=4, free_memory=lambda: 1 << 40, share=0.5, lends=lambda: alone)
    async with contextlib.AsyncExitStack() as stack:
        assert [await held(stack, slots, "a") for _ in range(5)] == [True] * 4 + [False]
        alone = False
        assert not await held(stack, slots, "b"), "memory is for so many only, so it waits until one ends"
