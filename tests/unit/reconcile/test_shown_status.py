"""What `kubectl get managedcharts` shows of a resource, at every end of a pass."""

import pytest

from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason
from unit.reconcile.world import World

BROKEN = "Error: UPGRADE FAILED: something else\n"
REMOTE = {"chart": {"repository": "https://charts.example.com", "name": "web", "version": "1.x"}, "wait": False}


def shown(world: World) -> tuple[str | None, str | None, int | None]:
    """The columns CHART, VERSION and REVISION: of the release, else of the attempt."""
    status = world.status
    chart = status.get("release") or status["attempt"]
    return chart.get("chart"), chart.get("chartVersion"), (status.get("release") or {}).get("revision")


async def test_what_is_deployed_is_shown() -> None:
    world = World()
    world.put(REMOTE)
    await world.reconcile()
    assert shown(world) == ("web", "1.0.0", 1)
    assert world.status["summary"] == "web 1.0.0 is deployed as revision 1"


async def test_an_uninstalled_first_install_shows_its_chart() -> None:
    world = World()
    world.put(REMOTE)
    world.helm.refusals["upgrade"] = [BROKEN]
    await world.reconcile()
    assert "release" not in world.status
    assert shown(world) == ("web", "1.0.0", None)
    assert world.status["summary"] == world.status["lastFailure"]["message"]


async def test_a_chart_that_cannot_be_fetched_shows_what_the_spec_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.put(REMOTE)

    async def fetch(*_: object, **__: object) -> None:
        raise ChartError("there is none", reason=Reason.CHART_NOT_FOUND)

    monkeypatch.setattr(world.charts, "fetch", fetch)
    await world.reconcile()
    assert shown(world) == ("web", "1.x", None)


async def test_an_invalid_spec_shows_what_it_asks_for() -> None:
    world = World()
    world.put({**REMOTE, "timeout": "soon"})
    await world.reconcile()
    assert world.condition("Ready")["reason"] == "InvalidSpec"
    assert shown(world) == ("web", "1.x", None)


async def test_a_dry_run_shows_its_chart() -> None:
    world = World()
    world.put({**REMOTE, "dryRun": True})
    await world.reconcile()
    assert shown(world) == ("web", "1.0.0", None)


async def test_nothing_is_shown_of_what_was_uninstalled() -> None:
    world = World()
    world.put(REMOTE)
    await world.reconcile()
    world.put({"action": "Destroy"})
    await world.reconcile()
    assert world.status["phase"] == "Destroyed"
    assert shown(world) == (None, None, None)


async def test_the_status_of_an_earlier_operator_is_not_written_to_add_what_it_lacks() -> None:
    world = World()
    world.put(REMOTE)
    await world.reconcile()
    for field in ("chart", "chartVersion"):
        world.api.status["attempt"].pop(field)
    world.api.status.pop("summary")
    world.put()
    patches = len(world.api.patches)
    assert await world.reconcile() is None
    assert len(world.api.patches) == patches
    assert shown(world) == ("web", "1.0.0", 1)
