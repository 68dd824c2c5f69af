"""`scale` sets the replicas by the subresource, and waits for the pods."""

import asyncio
from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.verbs import scale as verb
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import Bench, FakeCluster, bench

REF = ObjectRef("apps/v1", "Deployment", "web", "apps")


def deployment(replicas: int, running: int) -> dict[str, Any]:
    numbers = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), running)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, **numbers, "conditions": [{"type": "Available", "status": "True"}]},
    }


def scale(replicas: int, **more: Any) -> dict[str, Any]:
    return {"scale": {"kind": "Deployment", "name": "web", "replicas": replicas, **more}}


class Controlled(FakeCluster):
    """A controller starts and ends pods: at the second look after a change they are as many as `becomes` says."""

    becomes: int | None = None
    looks = 0

    async def request(self, method: str, path: str, **options: Any) -> Any:
        if method == "GET" and self.written:
            self.looks += 1
            if self.looks > 1 and self.becomes is not None:
                self.objects[REF] = deployment(self.becomes, self.becomes)
        return await super().request(method, path, **options)


def controlled(*, becomes: int) -> Bench:
    cluster = Controlled(stored(deployment(3, 3)).objects)
    cluster.becomes = becomes
    return bench(cluster=cluster)


async def test_scales_once_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "_LOOK_SECONDS", 0)
    on = controlled(becomes=0)

    done = await once(scale(0), on=on)
    again = await once(scale(0), on=on)

    assert done.message == "Scaled Deployment apps/web from 3 to 0"
    assert done.output == {"before": 3}
    assert again.message == "Deployment apps/web has 0 replicas already"
    assert [(body, query["fieldManager"]) for _, body, query in on.cluster.written] == [
        ({"spec": {"replicas": 0}}, "managedchart-action")
    ]


async def test_a_repeated_run_waits_for_the_pods_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator was killed after it had set the number."""
    monkeypatch.setattr(verb, "_LOOK_SECONDS", 0)
    on = bench(cluster=stored(deployment(0, 3)))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await once(scale(0), on=on)


async def test_does_not_wait_where_it_should_not() -> None:
    on = bench(cluster=stored(deployment(3, 3)))

    assert (await once(scale(5, wait=False), on=on)).message == "Scaled Deployment apps/web from 3 to 5"


async def test_another_scaler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An autoscaler sets the number back; the wait must not last until the timeout."""
    monkeypatch.setattr(verb, "_LOOK_SECONDS", 0)
    with pytest.raises(LifecycleError, match="was scaled to 3 by somebody else"):
        await once(scale(1), on=controlled(becomes=3))


async def test_a_missing_workload_is_named() -> None:
    with pytest.raises(LifecycleError, match="Deployment apps/web does not exist"):
        await once(scale(1), on=bench())


async def test_a_dry_run_changes_nothing() -> None:
    on = bench(cluster=stored(deployment(3, 3)))

    assert (await once(scale(1), on=on, preview=True)).message == "Would scale Deployment apps/web from 3 to 1"
    assert (await once(scale(1), on=bench(), preview=True)).message == "Deployment apps/web does not exist yet"
    assert on.cluster.written == []


@pytest.mark.parametrize("replicas", [-1, 1001, "2"])
async def test_refuses_odd_numbers(replicas: Any) -> None:
    with pytest.raises(SpecError, match=r"scale\.replicas"):
        await once(scale(replicas), on=bench())
