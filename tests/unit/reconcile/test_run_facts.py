"""What actions know about revisions does not depend on when, or how often, they ask."""

import pytest

from managedchart_operator.helm.storage import ATTEMPT_LABEL
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.run_facts import RevisionFacts
from unit.reconcile.world import World


@pytest.fixture
def world() -> World:
    return World()


async def facts(world: World, operation: Operation) -> RevisionFacts:
    return RevisionFacts(await world.release_run(), Run(operation, "Because"))


async def test_the_replaced_version_is_that_of_the_last_good_revision(world: World) -> None:
    """A failed attempt in between replaced nothing."""
    world.secrets.add("deployed")
    world.secrets.add("failed")

    assert await (await facts(world, Operation.UPGRADE)).replaced_version() == "1.0.0"


async def test_a_resumed_run_does_not_replace_its_own_revision(world: World) -> None:
    world.secrets.add("deployed")

    assert await (await facts(world, Operation.RESUME)).replaced_version() is None


async def test_the_answer_stays_when_the_revision_is_deleted(world: World) -> None:
    """An uninstall before a breaking version deletes it, and the actions after exec ask again."""
    world.secrets.add("deployed")
    found = await facts(world, Operation.UPGRADE)
    await found.replaced_version()
    world.secrets.secrets.clear()
    await found.run.storage.observe()

    assert await found.replaced_version() == "1.0.0"


async def test_the_stamp_is_that_of_the_newest_revision(world: World) -> None:
    world.secrets.add("superseded", {ATTEMPT_LABEL: "1.first"})
    world.secrets.add("deployed", {ATTEMPT_LABEL: "2.second"})

    assert (await facts(world, Operation.RESUME)).stamp == "second"


async def test_without_a_revision_there_is_no_stamp(world: World) -> None:
    assert (await facts(world, Operation.INSTALL)).stamp == ""


async def test_a_kill_in_helm_changes_no_replaced_stamp(world: World) -> None:
    """What was done before exec is not done again by the run that takes the pending revision over."""
    world.secrets.add("deployed", {ATTEMPT_LABEL: "1.first"})
    before = (await facts(world, Operation.UPGRADE)).replaced_stamp
    world.secrets.add("pending-upgrade", {ATTEMPT_LABEL: "2.second"})
    pending = (await facts(world, Operation.UPGRADE)).replaced_stamp
    world.secrets.mark("failed", of="pending-upgrade")

    assert before == pending == (await facts(world, Operation.UPGRADE)).replaced_stamp == "first"


async def test_the_next_revision_has_another_replaced_stamp(world: World) -> None:
    world.secrets.add("superseded", {ATTEMPT_LABEL: "1.first"})
    world.secrets.add("deployed", {ATTEMPT_LABEL: "2.second"})

    assert (await facts(world, Operation.UPGRADE)).replaced_stamp == "second"
