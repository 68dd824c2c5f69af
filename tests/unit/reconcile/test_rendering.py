"""S12: a chart that is never rendered holds its slot for a while, whatever spec.timeout says."""

import asyncio

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.child_limits import ChildLimits
from managedchart_operator.helm.storage import ATTEMPT_LABEL, attempt_label
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import rendering
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.rendering import Rendering
from unit.reconcile.world import World


async def begun(world: World) -> ReleaseRun:
    world.helm.limits = ChildLimits(render_seconds=0.01)
    return await world.release_run()


async def test_a_chart_that_is_not_rendered_in_time_is_too_large() -> None:
    world = World()
    world.secrets.add("deployed", {ATTEMPT_LABEL: attempt_label("another", number=1)})
    error = await asyncio.wait_for(Rendering(await begun(world)).until_too_long(), 5)
    assert str(error) == "Helm upgrade did not finish rendering within 0.01 s and was stopped"
    assert (error.reason, error.transient) == (Reason.CHART_TOO_LARGE, False)  # type: ignore[attr-defined]


async def test_a_stored_revision_has_been_rendered() -> None:
    """Helm may apply it, and wait for its hooks, for as long as spec.timeout says."""
    world = World()
    run = await begun(world)
    world.secrets.add("pending-upgrade", {ATTEMPT_LABEL: attempt_label(run.attempt, number=1)})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Rendering(run).until_too_long(), 0.2)


async def test_a_helm_that_waits_has_rendered() -> None:
    """Then the storage is not asked."""
    world, waits = World(), []
    watch = Rendering(await begun(world), lambda: waits.append(1))
    watch.helm_waits()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch.until_too_long(), 0.2)
    assert waits == [1]


async def test_an_api_server_that_does_not_answer_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_ASK_AGAIN_SECONDS", 0.01)
    world, asked = World(), []
    run = await begun(world)
    answer = run.storage.secrets.list_metadata

    async def list_metadata(**which: str) -> object:
        asked.append(which)
        if len(asked) < 3:
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        return await answer(**which)

    monkeypatch.setattr(run.storage.secrets, "list_metadata", list_metadata)
    error = await asyncio.wait_for(Rendering(run).until_too_long(), 5)
    assert "did not finish rendering" in str(error)
    assert len(asked) == 3
