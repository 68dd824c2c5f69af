"""The API server cannot be reached after exec: that says nothing about the release, which stays as it is until it can."""

from collections.abc import Sequence
from typing import Any

import pytest

from unit.reconcile.fakes import unavailable
from unit.reconcile.world import World

CHECKED = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "checked"}}
MESSAGE = (
    "The release stays as it is, because the API server did not answer the actions and checks that follow its deployment."
    " Attempt 1 failed; retrying at "
)


def check(phase: str, name: str = "check") -> dict[str, Any]:
    """An action that reads an object, and does not repeat an attempt."""
    return {"name": name, "phase": phase, "timeout": "10ms", "exists": {"kind": "ConfigMap", "name": "checked"}}


class Outage:
    """The API server does not answer for one object, until `over`."""

    def __init__(self, world: World) -> None:
        self._found = world.cluster.get
        self.over = False
        world.cluster.get = self._get  # type: ignore[method-assign]

    async def _get(self, ref: Any) -> Any:
        if ref.name == "checked" and not self.over:
            raise unavailable()
        return await self._found(ref)


async def upgraded(*actions: dict[str, Any], **spec: Any) -> tuple[World, Outage]:
    """A world in which revision 2 is deployed, and its actions have met an outage."""
    world = World()
    world.put({"values": {"a": 0}})
    await world.reconcile()
    outage = Outage(world)
    world.put({"values": {"a": 1}, "lifecycle": {"actions": actions}, **spec})
    await world.reconcile()
    return world, outage


@pytest.mark.parametrize("phase", ["PostExec", "Validate"])
async def test_an_outage_rolls_nothing_back(phase: str) -> None:
    world, _ = await upgraded(check(phase))

    assert world.helm.commands == ["upgrade", "upgrade"]
    assert world.secrets.statuses == ["superseded", "deployed"]
    assert world.condition("Reconciling")["message"].startswith(MESSAGE)
    assert world.condition("Released")["status"] == "True"
    failure = world.status["lastFailure"]
    assert (failure["reason"], failure["message"]) == ("ApiUnavailable", "Action check (exists) failed: no answer")
    assert "revision" not in failure
    assert "failedRevision" not in world.status["attempt"]


async def test_an_outage_uninstalls_no_first_install() -> None:
    world = World()
    Outage(world)
    world.put({"lifecycle": {"actions": [check("PostExec")]}})
    await world.reconcile()

    assert world.helm.commands == ["upgrade"]
    assert world.condition("Reconciling")["message"].startswith(MESSAGE)


async def test_what_was_not_answered_is_asked_again() -> None:
    """However often: the limit of the retries is for releases that fail."""
    world, outage = await upgraded(check("Validate"), retry={"limit": 0})
    for _ in range(2):
        world.retry_now()
        await world.reconcile()
    assert (world.status["attempt"]["outlook"], world.status["attempt"]["failures"]) == ("Retry", 3)

    outage.over = True
    world.cluster.objects["checked"] = CHECKED
    world.retry_now()
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "upgrade"], "it is deployed already"
    assert world.condition("Ready")["status"] == "True"
    assert "lastFailure" not in world.status


@pytest.mark.parametrize("outages", [1, 2])
async def test_what_fails_after_an_outage_is_rolled_back(outages: int) -> None:
    """The retry continues the run that has made the revision, so the failure is the revision's."""
    world, outage = await upgraded(check("Validate"))
    for _ in range(outages - 1):
        world.retry_now()
        await world.reconcile()

    outage.over = True
    world.retry_now()
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]
    assert (
        world.status["lastFailure"]["message"] == "Action check (exists) failed: ConfigMap apps/checked does not exist"
    )
    assert world.status["lastFailure"]["revision"] == 2
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]


async def test_an_outage_runs_nothing_that_is_for_a_failed_deployment() -> None:
    """Such an action may delete what it takes for broken."""
    on_failure = {"name": "clean", "phase": "OnDeployFailure", "exists": {"kind": "ConfigMap", "name": "a"}}
    world, _ = await upgraded(check("Validate"), on_failure)

    assert _phases(world)[-1] == "Validate"


async def test_a_long_good_revision_is_not_rolled_back_after_an_outage() -> None:
    """Its run has ended; then the operator could not even look at the release."""
    world, outage = await upgraded(check("Validate"))
    outage.over = True
    world.cluster.objects["checked"] = CHECKED
    world.retry_now()
    await world.reconcile()
    assert world.condition("Ready")["status"] == "True"

    world.secrets.failure = unavailable()
    world.put({"timeout": "7m"})
    await world.reconcile()
    world.secrets.failure = None
    world.cluster.objects.clear()
    world.retry_now()
    await world.reconcile()

    assert "rollback" not in world.helm.commands


def _phases(world: World) -> Sequence[str]:
    return [each["name"] for each in world.status["phases"]]
