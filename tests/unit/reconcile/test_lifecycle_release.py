"""The release as a lifecycle sees it."""

from typing import Any

import pytest

from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import HelmError
from managedchart_operator.lifecycle.context import InstalledRelease, Operation
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.operations.install_or_upgrade import install_or_upgrade
from managedchart_operator.reconcile.operations.outcome import Outcome
from unit.reconcile.world import World

OURS = {"managedchart.dev/owner": "uid-web", "managedchart.dev/attempt": "1.word"}
TOO_LARGE = (
    'Error: create: failed to create: Secret "sh.helm.release.v1.web.v1" is invalid: data: Too long: may not be more than '
    "1048576 bytes\n"
)
NOT_DECODED = (
    'Error: unable to build kubernetes objects from release manifest: unable to decode "": json: cannot unmarshal bool into Go '
    "struct field ObjectMeta.metadata.labels of type string\n"
)
NOT_RENDERED = (
    'Error: web/templates/a.yaml:1:6\n  executing "web/templates/a.yaml" at <.Values.a.b>:\n    nil pointer\n'
)


async def release(world: World, operation: Operation = Operation.UPGRADE) -> LifecycleRelease:
    return LifecycleRelease(await world.release_run(), Run(operation, "because"))


async def test_an_upgrade_is_noted_for_the_run() -> None:
    world = World()
    seen = await release(world)
    assert await seen.upgrade() == "Deployed web 1.0.0"
    assert seen.run.journal.outcome == Outcome("Deployed web 1.0.0")
    assert world.secrets.statuses == ["deployed"]


async def test_a_dry_run_makes_no_revision() -> None:
    world = World()
    seen = await release(world, Operation.DRY_RUN)

    async def try_apply(*_: Any, **__: Any) -> None:
        return None

    world.cluster.try_apply = try_apply  # type: ignore[attr-defined]
    assert (await seen.upgrade()).startswith("Dry run of web 1.0.0: 1 objects rendered and validated")
    assert world.secrets.statuses == []


async def test_nothing_installed_is_nothing_to_uninstall() -> None:
    world = World()
    seen = await release(world)
    assert await seen.installed() is None
    assert not await seen.deployed_here()
    assert not await seen.uninstall()
    assert world.helm.commands == []


async def test_what_is_installed_is_described_and_uninstalled() -> None:
    world = World()
    world.secrets.add("deployed", OURS)
    seen = await release(world)
    assert await seen.installed() == InstalledRelease(1, "web", "1.0.0")
    assert await seen.deployed_here()
    assert await seen.uninstall()
    assert world.secrets.statuses == []


async def test_a_too_large_release_names_its_largest_parts() -> None:
    """Nothing of it is in the cluster."""
    world = World()
    world.helm.refusals["upgrade"] = [TOO_LARGE]
    seen = await release(world)
    with pytest.raises(HelmError):
        await seen.upgrade()
    findings = await seen.collect_evidence()
    assert world.helm.commands == ["upgrade", "upgrade"]
    assert "--dry-run=server" in world.helm.ran[1]
    assert findings.detail or findings.incomplete


@pytest.mark.parametrize("operation", [Operation.UPGRADE, Operation.DRY_RUN])
async def test_an_object_of_a_wrong_form_is_named_with_its_template(operation: Operation) -> None:
    """Helm names neither, nor does it render the chart in a dry run that asks the API server."""
    world = World()
    world.helm.refusals["upgrade"] = [NOT_DECODED]
    seen = await release(world, operation)
    with pytest.raises(HelmError):
        await seen.upgrade()
    world.helm.manifest = "---\n# Source: web/templates/a.yaml\nkind: ConfigMap\nmetadata: {name: a, labels: {b: on}}\n"
    findings = await seen.collect_evidence()
    assert "--dry-run=client" in world.helm.ran[1]
    assert findings.detail == "see metadata.labels.b of ConfigMap a in template web/templates/a.yaml"
    assert findings.incomplete is None


async def test_a_template_that_does_not_render_adds_nothing() -> None:
    """The error names its place."""
    world = World()
    world.helm.refusals["upgrade"] = [NOT_RENDERED, NOT_RENDERED]
    seen = await release(world)
    with pytest.raises(HelmError):
        await seen.upgrade()
    assert await seen.collect_evidence() == Findings()


async def test_the_labels_prove_who_made_a_revision() -> None:
    world = World()
    run = await world.release_run()
    await install_or_upgrade(run)
    labels = world.secrets.secrets[1]["metadata"]["labels"]
    assert labels["managedchart.dev/owner"] == "uid-web"
    assert labels["managedchart.dev/attempt"] == f"1.{run.attempt}"
    assert labels["managedchart.dev/digest"] == (await run.sources.read()).digest.text
