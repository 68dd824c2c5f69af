"""helm is run once more where a stored kind that the cluster no longer serves has stopped it."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.reconcile.helm_call import HelmCall, run_helm
from unit.reconcile.world import World

UNKNOWN = (
    "Error: UPGRADE FAILED: unable to build kubernetes objects from current release manifest: resource mapping not found for "
    'name: "web" namespace: "" from "": no matches for kind "ConfigMap" in version "v1"\n'
)
OURS = {"managedchart.dev/owner": "uid-web", "managedchart.dev/attempt": "1.word"}
UPGRADE = ["upgrade", "web", "/charts/web"]


def refusing(*texts: str, owner: str = "uid-web", served: bool = False) -> World:
    """A release with one revision, and an upgrade that fails with these texts."""
    world = World()
    world.secrets.add("deployed", {**OURS, "managedchart.dev/owner": owner})
    world.helm.refusals["upgrade"] = list(texts)

    async def served_version(api_version: str, _: str) -> str | None:
        return api_version if served else None

    cast("Any", world.cluster).served_version = served_version
    return world


async def test_the_object_is_removed_and_helm_retried() -> None:
    world = refusing(UNKNOWN)
    run = await world.release_run()
    await run_helm(run, HelmCall(UPGRADE))
    assert world.helm.commands == ["upgrade", "upgrade"]
    [(reason, message)] = run.journal.take_warnings()
    assert reason == "KindMissing"
    assert "ConfigMap" in message


async def test_served_kinds_are_not_removed() -> None:
    world = refusing(UNKNOWN, served=True)
    with pytest.raises(HelmError):
        await run_helm(await world.release_run(), HelmCall(UPGRADE))
    assert world.helm.commands == ["upgrade"]


async def test_a_dry_run_changes_no_stored_revision() -> None:
    world = refusing(UNKNOWN)
    call = HelmCall([*UPGRADE, "--dry-run=server"], dry_run=True)
    with pytest.raises(HelmError) as raised:
        await run_helm(await world.release_run(), call)
    assert "dryRun: false" in (raised.value.hint or "")
    assert world.helm.commands == ["upgrade"]


async def test_rendering_for_a_deployment_repairs_the_stored_revision() -> None:
    """A lifecycle asks for the rendered objects before it deploys."""
    world = refusing(UNKNOWN)
    call = HelmCall([*UPGRADE, "--dry-run=server"], keep_stdout=True)
    await run_helm(await world.release_run(), call)
    assert world.helm.commands == ["upgrade", "upgrade"]


async def test_any_other_error_is_raised_at_once() -> None:
    world = refusing("Error: UPGRADE FAILED: something else\n")
    run = await world.release_run()
    with pytest.raises(HelmError, match="something else"):
        await run_helm(run, HelmCall(UPGRADE))
    assert world.helm.commands == ["upgrade"]
    assert run.storage.is_current, "helm may have made a revision, whose secrets were read to redact the text"
