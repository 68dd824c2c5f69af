"""The end of the objects of a release that is being uninstalled."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.operations.uninstall import objects_end, objects_that_block
from managedchart_operator.reconcile.release_run import ReleaseRun
from unit.reconcile.fakes import unavailable
from unit.reconcile.world import MANIFEST, World

LEAVING = {"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.example.com/b"]}}


async def leaving(world: World, *, timeout: str = "50ms") -> ReleaseRun:
    """A run over revision 1, a ConfigMap, which was read before the uninstall."""
    world.secrets.add("deployed")
    run = await world.release_run({"timeout": timeout})
    assert run.newest is not None
    await run.evidence.rendered.remember(run.newest, StoredRelease({"manifest": MANIFEST}), [])
    return run


async def test_a_blocker_is_named_with_its_finalizer() -> None:
    world = World()
    run = await leaving(world)
    world.cluster.objects["web"] = LEAVING
    assert not await objects_end(run)
    assert [str(each) for each in await objects_that_block(run)] == [
        "ConfigMap apps/web (held by the finalizer a.example.com/b)"
    ]


async def test_what_is_kept_is_not_waited_for() -> None:
    """It is there, and nobody deletes it."""
    world = World()
    run = await leaving(world)
    world.cluster.objects["web"] = {"metadata": {"name": "web"}}
    assert await objects_end(run)


@pytest.mark.parametrize("error", [unavailable(), KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)])
async def test_only_an_outage_is_waited_out(error: KubeError) -> None:
    world = World()
    run = await leaving(world, timeout="5s")
    errors = [error]

    async def get(_: Any) -> None:
        if errors:
            raise errors.pop()

    cast("Any", world.cluster).get = get
    if error.reason is Reason.API_UNAVAILABLE:
        assert await objects_end(run)
        assert errors == []
    else:
        with pytest.raises(KubeError):
            await objects_end(run)
