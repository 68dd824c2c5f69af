"""The labels of namespaces that attach profiles: a change is noticed without a pass, and costs nobody else anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from managedchart_operator.api.resource import Key
from managedchart_operator.errors import KubeError
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.subject import RecentLabels
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.label_watch import LabelWatch
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store
from unit.lifecycle.profiles.samples import FakeNamespaces, profile
from unit.reconcile.fakes import chart

IN_PROD = {"namespaces": {"selector": {"matchLabels": {"env": "prod"}}}}
BLOCKED = {"attempt": {"failedProfile": {"name": "p", "uid": "u", "generation": 1}}}


class Asked(Scheduler):
    """Remembers for which resources a pass was asked, each time."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def request(self, key: Key, *, interrupt: bool = False) -> None:
        """Not an interrupting one: what runs goes on."""
        assert not interrupt
        self.keys.append(f"{key.namespace}/{key.name}")


class Bench:
    """Two namespaces with ManagedCharts, one profile by namespace labels, and what watches the labels."""

    def __init__(self) -> None:
        self.store, self.asked, self.profiles = Store(), Asked(), Profiles()
        self.namespaces = FakeNamespaces({"a": {}, "b": {}})
        self.labels = RecentLabels(self.namespaces)
        for name in ("one", "two"):
            self.store.put(chart(name, namespace="a"))
        self.store.put(chart("other", namespace="b"))
        self.delays: list[float] = []
        self.watch = LabelWatch(self.store, self.asked, self.profiles, self.labels, seconds=0.001, chance=self.chance)

    def chance(self, least: float, most: float) -> float:
        self.delays.append(most - least)
        return 0.0

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the rounds go on until something holds."""
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 -- the stand-ins have no events
                await asyncio.sleep(0.001)

    async def rounds(self, count: int = 3) -> None:
        """Let some rounds pass."""
        reads = self.namespaces.reads
        await self.until(lambda: self.namespaces.reads >= reads + 2 * count)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.profiles.put(await profile("p", match=IN_PROD))
    for namespace in ("a", "b"):
        await made.labels.labels(namespace)
    yield made
    await made.watch.close()


def known(bench: Bench) -> dict[str, Any]:
    return bench.namespaces.known  # type: ignore[return-value]


async def test_a_changed_label_has_the_resources_of_its_namespace_looked_at(bench: Bench) -> None:
    """Once for each change, and not all at the same moment."""
    known(bench)["a"] = {"env": "prod"}
    await bench.until(lambda: len(bench.asked.keys) == 2)
    await bench.rounds()
    assert sorted(bench.asked.keys) == ["a/one", "a/two"]
    assert all(bench.delays)

    known(bench)["a"] = {}
    await bench.until(lambda: len(bench.asked.keys) == 4)


async def test_a_label_that_attaches_no_other_profile_costs_nothing(bench: Bench) -> None:
    known(bench)["a"] = {"team": "x"}
    await bench.rounds()

    assert bench.asked.keys == []


async def test_a_change_that_a_pass_has_read_counts_for_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass over one resource reads the new labels first, and the rounds would see no change any more."""
    await bench.watch.close()
    monkeypatch.setattr("managedchart_operator.lifecycle.profiles.subject._FRESH_SECONDS", 0.0)
    await bench.labels.look("a")
    known(bench)["a"] = {"env": "prod"}
    await bench.labels.labels("a")

    await bench.until(lambda: sorted(bench.asked.keys) == ["a/one", "a/two"])


async def test_nobody_is_asked_where_no_profile_goes_by_labels(bench: Bench) -> None:
    bench.profiles.remove("p")
    await bench.until(lambda: not bench.labels._known)
    reads = bench.namespaces.reads
    await asyncio.sleep(0.01)

    assert bench.namespaces.reads == reads


async def test_a_namespace_without_managedcharts_is_forgotten(bench: Bench) -> None:
    bench.store.remove(Key("b", "other"), uid="uid-other")

    await bench.until(lambda: list(bench.labels._known) == ["a"])


async def test_labels_that_cannot_be_read_are_asked_for_again(bench: Bench) -> None:
    bench.namespaces.error = KubeError("no", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
    await bench.rounds()
    assert bench.asked.keys == []

    bench.namespaces.error = None
    known(bench)["b"] = {"env": "prod"}
    await bench.until(lambda: bench.asked.keys == ["b/other"])


async def test_a_deletion_is_looked_at_only_if_a_profile_blocks_it(bench: Bench) -> None:
    """A pass over one that is being deleted tries the removal again."""
    bench.store.put(chart("one", namespace="a", deleting=True, resource_version=2))
    bench.store.put(chart("two", namespace="a", deleting=True, resource_version=2, status=BLOCKED))
    known(bench)["a"] = {"env": "prod"}
    known(bench)["b"] = {"env": "prod"}

    await bench.until(lambda: "b/other" in bench.asked.keys)
    assert sorted(bench.asked.keys) == ["a/two", "b/other"]
