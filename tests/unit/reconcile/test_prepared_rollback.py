"""A rollback over fields that are left to their managers goes to a revision that is made for it."""

import asyncio
from typing import Any

import pytest

from managedchart_operator.helm.manifest import parse_manifest
from managedchart_operator.helm.manifest_edits import SetFields, rewrite
from managedchart_operator.helm.manifest_fields import FieldEdit
from managedchart_operator.helm.stored_release import StoredRelease, decode, packed
from managedchart_operator.reconcile.prepared_rollback import PREPARED
from unit.reconcile import world as worlds
from unit.reconcile.test_reconciler import BROKEN, deployed
from unit.reconcile.world import World

LEAVE = {"conflicts": {"leave": [{"managers": ["injector"]}]}}
HELD = {"metadata": {"name": "web", "managedFields": [{"manager": "injector", "fieldsV1": {"f:data": {"f:a": {}}}}]}}


@pytest.fixture(autouse=True)
def _a_field_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "MANIFEST", f"{worlds.MANIFEST}data: {{a: from-the-chart, b: other}}\n")


async def failing(**spec: Any) -> World:
    """A world in which the next upgrade fails, and an injector holds a field."""
    world = await deployed(**spec)
    world.cluster.objects["web"] = HELD
    world.put({"values": {"a": 1}})
    world.helm.refusals["upgrade"] = [BROKEN]
    return world


def stored(world: World, number: int) -> StoredRelease:
    return decode(world.secrets.secrets[number])


async def test_the_prepared_revision_lacks_the_field() -> None:
    world = await failing(**LEAVE)
    await world.reconcile()
    assert world.helm.ran[-1][:3] == ["rollback", "web", "3"]
    assert any(text.startswith("--description=Rollback to 1 by ") for text in world.helm.ran[-1])
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]
    prepared, labels = stored(world, 3), world.secrets.secrets[3]["metadata"]["labels"]
    assert "from-the-chart" not in prepared.manifest.partition("apiVersion")[2]
    assert "b: other" in prepared.manifest
    assert prepared.description == PREPARED.format(1)
    assert (prepared.document["version"], prepared.document["chart"]) == (3, stored(world, 1).document["chart"])
    original = world.secrets.secrets[1]["metadata"]["labels"]
    changed = {name for name in labels if labels[name] != original.get(name)} - {"status"}
    assert changed == {"version", "createdAt", "managedchart.dev/attempt"}
    assert labels["managedchart.dev/attempt"].startswith("3.")
    assert prepared.document["info"]["last_deployed"] > "2026"


async def test_the_prepared_revision_is_applied_by_the_server() -> None:
    """Client-side helm compares with the newest revision, which is this one, and would keep what the failed one added."""
    world = await failing(**LEAVE)
    for secret in world.secrets.secrets.values():
        document = {**decode(secret).document, "apply_method": "csa"}
        secret["data"]["release"] = packed(document)
    await world.reconcile()
    assert world.helm.ran[-1][:3] == ["rollback", "web", "3"]
    assert "--force-conflicts" in world.helm.ran[-1]
    assert stored(world, 3).applied_by_server


async def test_a_field_that_was_left_is_restored_in_a_deleted_object() -> None:
    """The manifest of the revision lacks it, so helm would create the object without it."""
    world = await failing(**LEAVE)
    world.cluster.objects.pop("web")
    secret = world.secrets.secrets[1]
    manifest = rewrite(worlds.MANIFEST, lambda _: SetFields((FieldEdit(("f:data", "f:a")),)))
    secret["data"]["release"] = packed({**decode(secret).document, "manifest": manifest})
    await world.reconcile()
    assert world.helm.ran[-1][:3] == ["rollback", "web", "3"]
    assert parse_manifest(stored(world, 3).manifest)[0]["data"] == {"a": "from-the-chart", "b": "other"}


async def test_without_such_a_field_no_revision_is_prepared() -> None:
    for world in (await failing(), await failing(conflicts={"leave": [{"managers": ["other"]}]})):
        await world.reconcile()
        assert world.helm.ran[-1][:3] == ["rollback", "web", "1"]
        assert len(world.secrets.secrets) == 3


async def test_a_stop_after_the_preparation_changes_nothing() -> None:
    """The next operator finds the prepared revision, and rolls back to it."""
    world = await failing(**LEAVE)

    def stop() -> None:
        raise asyncio.CancelledError

    world.secrets.on_create = stop
    with pytest.raises(asyncio.CancelledError):
        await world.reconcile()
    assert world.secrets.statuses == ["deployed", "failed", "failed"]
    world.secrets.on_create = None
    await world.reconcile()
    assert world.helm.ran[-1][:3] == ["rollback", "web", "3"]
    assert world.secrets.statuses[-1] == "deployed"
    assert len(world.secrets.secrets) == 4
    assert world.event_messages("RolledBack") == ["Rolled back to revision 1"]


async def test_what_the_failed_revision_made_is_deleted_before_helm_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that is killed during helm's rollback finds a good revision afterwards, and does not look behind it."""
    world, ran = await failing(**LEAVE), []

    async def delete(*_: Any) -> None:
        ran.append([command for command in world.helm.commands if command == "rollback"])

    monkeypatch.setattr("managedchart_operator.reconcile.operations.rollback.delete_orphaned_objects", delete)
    await world.reconcile()
    assert ran == [[], ["rollback"]]
