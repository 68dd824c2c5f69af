"""How many actions hold objects of others at once: all together bounded, fair between namespaces, and never while one waits."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions import places
from managedchart_operator.lifecycle.actions.verbs import restore
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once
from unit.lifecycle.fakes import FakeCluster, bench

OBJECTS = {"kind": "ConfigMap", "selector": {"matchLabels": {"app": "a"}}}
EXPECT = {"expect": {**OBJECTS, "expr": "true"}}
BACKUP = {"backup": {"objects": [OBJECTS]}}


def config(name: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "apps", "uid": name, "labels": {"app": "a"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


class Slow(FakeCluster):
    """Lists nothing before it is told to, and counts who reads, by namespaces of ManagedCharts."""

    reading: Counter[str]
    more: asyncio.Condition
    open: bool = False

    async def list(self, *kind: str, **options: Any) -> list[dict[str, Any]]:
        async with self.more:
            self.reading[PAYER.get()] += 1
            self.more.notify_all()
            await self.more.wait_for(lambda: self.open)
        return await super().list(*kind, **options)

    async def until(self, **counts: int) -> None:
        """Return when so many read."""
        async with asyncio.timeout(120), self.more:
            await self.more.wait_for(lambda: self.reading == Counter(counts))


@contextlib.asynccontextmanager
async def asking(cluster: Slow) -> AsyncIterator[Any]:
    """Run actions for namespaces in tasks, all of which end with the block."""
    tasks: list[asyncio.Task[Any]] = []

    def ask(payer: str, verb: Mapping[str, Any], count: int) -> None:
        async def run() -> None:
            PAYER.set(payer)
            await once(verb, on=bench(cluster=cluster), preview=True)

        tasks.extend(asyncio.create_task(run()) for _ in range(count))

    try:
        yield ask
        cluster.open = True
        async with cluster.more:
            cluster.more.notify_all()
        async with asyncio.timeout(120):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def cluster() -> Slow:
    cluster = Slow()
    cluster.reading, cluster.more = Counter(), asyncio.Condition()
    return cluster


@pytest.mark.parametrize(
    ("verb", "total"), [(EXPECT, places.EXPRESSIONS), (BACKUP, places.BACKUPS)], ids=["expect", "backup"]
)
async def test_no_more_actions_read_than_there_are_places(cluster: Slow, verb: dict[str, Any], total: int) -> None:
    """A namespace has half of them, so another one never waits for it; all end, since none waits in its place."""
    async with asking(cluster) as ask:
        ask("a", verb, total + 1)
        await cluster.until(a=total // 2)
        ask("b", verb, total + 1)
        await cluster.until(a=total // 2, b=total // 2)

        assert cluster.reading == {"a": total // 2, "b": total // 2}


async def test_an_action_that_waits_holds_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others of its namespace save meanwhile, where there is only one place."""
    monkeypatch.setattr(restore, "_POLL_SECONDS", 0.0)
    ref = ObjectRef("v1", "ConfigMap", "a", "apps")
    refused = asyncio.Event()

    class Refusing(FakeCluster):
        async def request(self, method: str, path: str, **options: Any) -> Any:
            try:
                return await super().request(method, path, **options)
            except KubeError:
                refused.set()
                raise

    on = bench(cluster=Refusing({ref: config("a")}))
    await once(BACKUP, on=on)
    del on.cluster.objects[ref]
    on.cluster.refuses = {ref: KubeError("no answer", reason=Reason.WEBHOOK_UNAVAILABLE, transient=True, status=500)}
    restoring = asyncio.create_task(once({"restore": {"from": "it"}}, on=on))
    try:
        async with asyncio.timeout(120):
            await refused.wait()
            await once(BACKUP, on=bench(cluster=FakeCluster({ref: config("a")})))
            assert not restoring.done()
            on.cluster.refuses = {}
            assert (await restoring).message.startswith("Restored 1 of 1 objects")
    finally:
        restoring.cancel()
        await asyncio.gather(restoring, return_exceptions=True)
