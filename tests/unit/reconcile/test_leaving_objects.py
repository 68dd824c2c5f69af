"""The end of the objects of a release that is being uninstalled."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.leaving_objects import LeavingObjects
from managedchart_operator.reconcile.rendered import RenderedObjects
from unit.reconcile.fakes import unavailable
from unit.reconcile.world import MANIFEST, World

LEAVING = {"metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.example.com/b"]}}


async def leaving(world: World) -> LeavingObjects:
    """The objects of revision 1, a ConfigMap, as read before the uninstall."""
    world.secrets.add("deployed")
    run = await world.release_run()
    rendered = RenderedObjects(run.storage, run.sources)
    assert run.newest is not None
    await rendered.remember(run.newest, StoredRelease({"manifest": MANIFEST}), [])
    return LeavingObjects(rendered, run.objects)


async def test_without_a_manifest_everything_may_have_dependents() -> None:
    run = await World().release_run()
    assert await LeavingObjects(RenderedObjects(run.storage, run.sources), run.objects).have_dependents()


async def test_a_blocker_is_named_with_its_finalizer() -> None:
    world = World()
    objects = await leaving(world)
    world.cluster.objects["web"] = LEAVING
    assert not await objects.wait_until_deleted(0.05)
    assert [str(each) for each in await objects.blockers()] == [
        "ConfigMap apps/web (held by the finalizer a.example.com/b)"
    ]


async def test_what_is_kept_is_not_waited_for() -> None:
    """It is there, and nobody deletes it."""
    world = World()
    objects = await leaving(world)
    world.cluster.objects["web"] = {"metadata": {"name": "web"}}
    assert await objects.wait_until_deleted(0.05)


@pytest.mark.parametrize("error", [unavailable(), KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)])
async def test_only_an_outage_is_waited_out(error: KubeError) -> None:
    world = World()
    objects = await leaving(world)
    errors = [error]

    async def get(_: Any) -> None:
        if errors:
            raise errors.pop()

    cast("Any", world.cluster).get = get
    if error.reason is Reason.API_UNAVAILABLE:
        assert await objects.wait_until_deleted(5)
        assert errors == []
    else:
        with pytest.raises(KubeError):
            await objects.wait_until_deleted(5)
