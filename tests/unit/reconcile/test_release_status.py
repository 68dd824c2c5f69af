"""How the status describes the newest revision."""

from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.release_run import release_status
from unit.reconcile.world import MADE, World

OURS = {"managedchart.dev/owner": "uid-web", "managedchart.dev/attempt": "1.word", "managedchart.dev/digest": "d1"}


async def test_the_status_shows_what_helm_stored() -> None:
    world = World()
    world.secrets.add("deployed", OURS)
    described = await release_status(await world.release_run(), digest=Digest("d1"))
    assert described is not None
    assert (described.revision, described.status, described.digest) == (1, "deployed", "d1")
    assert (described.chart, described.chart_version, described.last_deployed) == ("web", "1.0.0", MADE)


async def test_a_release_of_others_is_not_described() -> None:
    """Whoever reads this resource may not read that release."""
    world = World()
    world.secrets.add("deployed", {**OURS, "managedchart.dev/owner": "somebody"})
    assert await release_status(await world.release_run(), digest=Digest("d1")) is None


async def test_an_unreadable_revision_has_the_deployed_chart() -> None:
    world = World()
    world.secrets.add("deployed", OURS)
    world.secrets.secrets[1]["data"]["release"] = "unreadable"
    run = await world.release_run()
    unread = await release_status(run, digest=Digest("d1"))
    assert unread is not None
    assert (unread.revision, unread.chart) == (1, None)
    await run.sources.fetch()
    described = await release_status(run, digest=Digest("d1"))
    assert described is not None
    assert described.chart_version == "1.0.0"


async def test_without_a_release_there_is_nothing_to_describe() -> None:
    assert await release_status(await World().release_run(), digest=Digest("d1")) is None
