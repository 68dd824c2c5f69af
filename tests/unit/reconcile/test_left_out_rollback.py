"""A rollback with objects that the wait leaves out: helm cannot leave them out, so the operator waits."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.errors.unready import Unready, not_ready
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.reconcile.operations.rollback import rollback
from unit.reconcile.world import World

EXCLUDE = {"waitFor": {"exclude": [{"kind": "Widget"}]}}
UNREADY = not_ready([Unready("Deployment", "apps", "web", "InProgress", "Ready: 0/1")], timed_out=True)


class FakeWait:
    """A wait that ends at once, perhaps with an error."""

    unready = frozenset[Any]()

    def __init__(self, error: HelmError | None) -> None:
        self.error = error

    async def within(self, _: float, *, redactor: Any) -> HelmError | None:
        return self.error


async def rolled_back(world: World, spec: dict[str, Any], error: HelmError | None = None) -> list[bool]:
    """Roll back to revision 1; return for each of the operator's waits whether something was left out."""
    for status in ("superseded", "failed"):
        world.secrets.add(status, {OWNER_LABEL: "uid-web"})
    run = await world.release_run({"wait": True, **spec})
    waits: list[bool] = []

    def of(*_: Any, left_out: Any, **__: Any) -> FakeWait:
        waits.append(bool(left_out))
        return FakeWait(error)

    services = replace(run.services, waits=cast("Any", SimpleNamespace(of=of, places=run.services.waits.places)))
    run = replace(run, services=services)
    await rollback(run, run.storage.revisions[-1])
    return waits


@pytest.mark.parametrize(("spec", "helm_waits"), [({}, True), (EXCLUDE, False), ({**EXCLUDE, "wait": False}, False)])
async def test_the_operator_waits_for_such_a_rollback(spec: dict[str, Any], *, helm_waits: bool) -> None:
    world = World()
    waits = await rolled_back(world, spec)
    assert ("--wait=watcher" in world.helm.ran[-1]) is helm_waits
    assert len(waits) == (1 if spec == EXCLUDE else 0)
    assert world.secrets.statuses == ["superseded", "superseded", "deployed"]


async def test_such_a_rollback_that_stays_unready_is_marked_failed() -> None:
    """As helm marks one for which it has waited."""
    world = World()
    with pytest.raises(HelmError, match="Not ready within the timeout"):
        await rolled_back(world, EXCLUDE, UNREADY)
    assert world.secrets.statuses[-1] == "failed"
