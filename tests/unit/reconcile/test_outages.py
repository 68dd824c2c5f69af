"""The API server cannot be reached after exec: that says nothing about the release, which stays as it is until it can."""

from collections.abc import Sequence
from typing import Any

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.lifecycle.actions import running
from managedchart_operator.reasons import Reason
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


REFUSAL = 'configmaps "checked" is forbidden: User "u" cannot get resource "configmaps" in API group "" in the namespace "apps"'
IMPERSONATION = (
    'serviceaccounts "u" is forbidden: User "o" cannot impersonate resource "serviceaccounts" in API group "" in the'
    ' namespace "apps"'
)


@pytest.mark.parametrize("answer", [REFUSAL, IMPERSONATION])
@pytest.mark.parametrize("phase", ["PostExec", "Validate"])
async def test_an_api_server_that_has_just_started_rolls_nothing_back(
    monkeypatch: pytest.MonkeyPatch, phase: str, answer: str
) -> None:
    """It refuses everybody until it has read its roles."""
    monkeypatch.setattr(running, "_REFUSED_PAUSE_SECONDS", 0.0)
    world, asked = await refusing(answer, 3)
    world.cluster.permissions.for_a_moment = True
    world.put({"values": {"a": 1}, "lifecycle": {"actions": [check(phase)]}})
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "upgrade"]
    assert world.condition("Ready")["status"] == "True"
    assert len(asked) == 4
    assert next(each for each in world.status["phases"] if each["name"] == phase)["actions"][0]["attempts"] == 1


@pytest.mark.parametrize(("for_a_moment", "asked"), [(False, 1), (True, 11)])
async def test_a_refusal_that_lasts_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, *, for_a_moment: bool, asked: int
) -> None:
    """Of the API server, which says so when it is asked; or of an API behind it that has rules of its own."""
    monkeypatch.setattr(running, "_REFUSED_PAUSE_SECONDS", 0.0)
    world, requests = await refusing(REFUSAL, 1000)
    world.cluster.permissions.for_a_moment = for_a_moment
    world.put({"values": {"a": 1}, "lifecycle": {"actions": [check("Validate")]}})
    await world.reconcile()

    assert world.helm.commands == ["upgrade", "upgrade", "rollback"]
    assert len(requests) == asked


async def refusing(answer: str, times: int) -> tuple[World, list[str]]:
    """A world with revision 1 whose API server refuses an object so often; the list has the requests for it."""
    world, asked = World(), list[str]()
    world.put({"values": {"a": 0}})
    await world.reconcile()
    world.cluster.objects["checked"] = CHECKED
    found = world.cluster.get
    path = "/api/v1/namespaces/apps/configmaps/checked"
    refused = KubeError("403", reason=Reason.FORBIDDEN, transient=True, status=403, answer=answer, path=path)

    async def get(ref: Any) -> Any:
        if ref.name == "checked":
            asked.append(ref.name)
            if len(asked) <= times:
                raise refused
        return await found(ref)

    world.cluster.get = get  # type: ignore[method-assign]
    return world, asked


def _phases(world: World) -> Sequence[str]:
    return [each["name"] for each in world.status["phases"]]
