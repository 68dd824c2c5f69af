"""What is repaired in helm's storage after a failed wait, and what is left alone."""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.manifest_edits import Drop, Rendered
from managedchart_operator.helm.storage import (
    LEFT_UNFINISHED,
    OWNER_LABEL,
    UNINSTALL_CALLED_OFF,
    UNINSTALL_INTERRUPTED,
    Revision,
)
from managedchart_operator.helm.stored_release import decode
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage

NONE: Mapping[int, str] = MappingProxyType({})
UNRECORDED = Ownership("uid")
NOT_READY = 'Upgrade "web" failed: not ready'


def secret(number: int, status: str, description: str = "Upgrade complete", **more: Any) -> dict[str, Any]:
    """A release Secret as helm writes it."""
    info = {"status": status, "description": description}
    document = {"name": "web", "version": number, "info": info, "chart": {"metadata": {"name": "web"}}, **more}
    packed = base64.b64encode(gzip.compress(json.dumps(document).encode()))
    labels = {"owner": "helm", "name": "web", "version": str(number), "status": status}
    return {
        "metadata": {"name": f"sh.helm.release.v1.web.v{number}", "labels": labels},
        "data": {"release": base64.b64encode(packed).decode()},
    }


@dataclass
class FakeSecrets:
    """Release Secrets by name."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    rewritten: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def list_metadata(self, *, namespace: str, release: str) -> list[dict[str, Any]]:
        return [found["metadata"] for found in self.held.values()]

    async def read(self, *, namespace: str, name: str) -> dict[str, Any] | None:
        return self.held.get(name)

    async def rewrite(self, found: dict[str, Any], *, release: str, labels: dict[str, str], own: bool = False) -> None:
        name = found["metadata"]["name"]
        self.rewritten.append(name)
        self.held[name] = {"metadata": {"name": name, "labels": labels}, "data": {"release": release}}

    async def delete(self, *, namespace: str, name: str) -> None:
        self.deleted.append(name)
        del self.held[name]

    def written(self) -> list[tuple[int, str, str, str]]:
        """Number, label, status and description of each revision, oldest first."""
        found = []
        for name in sorted(self.held):
            info = decode(self.held[name]).document["info"]
            labels = self.held[name]["metadata"]["labels"]
            found.append((int(labels["version"]), labels["status"], info["status"], info["description"]))
        return found


async def storage_of(
    *statuses: str, descriptions: Mapping[int, str] = NONE, ownership: Ownership = UNRECORDED
) -> tuple[ReleaseStorage, FakeSecrets]:
    """A release whose revisions have these statuses, oldest first, and descriptions by number, where not the usual one."""
    made = [
        secret(number, status, descriptions.get(number, "Upgrade complete"))
        for number, status in enumerate(statuses, start=1)
    ]
    secrets = FakeSecrets({one["metadata"]["name"]: one for one in made})
    storage = ReleaseStorage(cast("Any", secrets), "apps", "web", ownership)
    await storage.observe()
    return storage, secrets


def newest(storage: ReleaseStorage) -> Revision:
    """The newest revision, which there is."""
    assert storage.newest is not None
    return storage.newest


async def test_a_failed_wait_leaves_helms_own_storage() -> None:
    """The new revision failed, the good one before it deployed: what a rollback or an upgrade by hand relies on."""
    storage, secrets = await storage_of("superseded", "superseded", "deployed")
    await storage.mark_failed(newest(storage), "not ready")
    assert secrets.written() == [
        (1, "superseded", "superseded", "Upgrade complete"),
        (2, "deployed", "deployed", "Upgrade complete"),
        (3, "failed", "failed", 'Upgrade "web" failed: not ready'),
    ]
    assert [revision.status for revision in storage.revisions] == ["failed", "deployed", "superseded"]


async def test_a_first_install_has_no_good_revision() -> None:
    storage, secrets = await storage_of("deployed")
    await storage.mark_failed(newest(storage), "not ready")
    assert secrets.written() == [(1, "failed", "failed", 'Release "web" failed: not ready')]


async def test_failed_revisions_are_not_good() -> None:
    storage, secrets = await storage_of("superseded", "failed", "deployed")
    await storage.mark_failed(newest(storage), "not ready")
    assert [status for _, status, _, _ in secrets.written()] == ["deployed", "failed", "failed"]


@pytest.mark.parametrize("why", ['Release "web" failed: not ready', NOT_READY, LEFT_UNFINISHED])
async def test_a_superseded_failed_revision_is_failed_again(why: str) -> None:
    """helm supersedes the newest one where none is deployed, as soon as the next one is applied."""
    storage, secrets = await storage_of("superseded", "deployed", descriptions={1: why})
    await storage.mark_failed(newest(storage), "not ready")
    assert secrets.written() == [(1, "failed", "failed", why), (2, "failed", "failed", NOT_READY)]
    assert await storage.last_good() is None


async def test_the_good_revision_is_deployed_again() -> None:
    storage, secrets = await storage_of("superseded", "superseded", "deployed", descriptions={2: NOT_READY})
    await storage.mark_failed(newest(storage), "not ready")
    assert [status for _, status, _, _ in secrets.written()] == ["deployed", "failed", "failed"]


@pytest.mark.parametrize(
    ("statuses", "good"),
    [
        (["superseded", "deployed", "failed"], 2),
        (["superseded", "superseded", "failed"], 2),
        (["deployed", "failed", "superseded", "failed"], 1),
        (["failed", "superseded", "failed", "failed"], 2),
        (["failed"], None),
        (["failed", "failed", "failed"], None),
        (["uninstalled", "failed"], None),
        ([], None),
    ],
)
async def test_a_deployed_revision_is_the_best_target(statuses: list[str], good: int | None) -> None:
    """Nothing good means a first install: it is uninstalled instead."""
    storage, _ = await storage_of(*statuses)
    found = await storage.last_good()
    assert (found.number if found else None) == good


async def test_what_never_became_ready_is_not_good() -> None:
    """helm supersedes failed revisions too: here the second one by a rollback that failed itself, the third by an upgrade."""
    never = {2: 'Rollback "web" failed: not ready', 3: NOT_READY}
    storage, _ = await storage_of("superseded", "superseded", "superseded", "failed", descriptions=never)
    found = await storage.last_good()
    assert found is not None
    assert found.number == 1


async def test_an_unreadable_revision_may_be_good() -> None:
    """What was deployed once must not be uninstalled."""
    storage, secrets = await storage_of("superseded", "failed")
    secrets.held["sh.helm.release.v1.web.v1"]["data"]["release"] = "bm90IGEgcmVsZWFzZQ=="
    found = await storage.last_good()
    assert found is not None
    assert found.number == 1


async def test_a_concurrent_change_is_left_alone() -> None:
    """Here by an upgrade by hand, which superseded it."""
    storage, secrets = await storage_of("superseded", "deployed")
    seen = newest(storage)
    secrets.held["sh.helm.release.v1.web.v2"] = secret(2, "superseded")
    secrets.held["sh.helm.release.v1.web.v3"] = secret(3, "deployed")
    await storage.mark_failed(seen, "not ready")
    assert secrets.rewritten == []


async def test_an_abandoned_revision_is_marked_failed() -> None:
    for status, why in (
        ("pending-upgrade", "The helm that made"),
        ("deployed", "the operator was stopped while it waited"),
    ):
        storage, secrets = await storage_of("superseded", status)
        await storage.unlock(newest(storage))
        _, label, _, description = secrets.written()[1]
        assert (label, why in description) == ("failed", True), description


@pytest.mark.parametrize(
    ("statuses", "recorded_good", "description"),
    [
        (["superseded", "uninstalling"], {2}, UNINSTALL_INTERRUPTED),
        (["uninstalling"], {1}, UNINSTALL_INTERRUPTED),
        (["deployed", "uninstalling"], set(), LEFT_UNFINISHED),
        (["uninstalling"], set(), LEFT_UNFINISHED),
    ],
    ids=["good", "a good first", "failed after a good one", "a failed first"],
)
async def test_an_interrupted_uninstall_stays_known_as_good(
    statuses: list[str], recorded_good: set[int], description: str
) -> None:
    """helm upgrades over a failed revision only; whether it was good decides what a failed upgrade rolls back to."""
    records = Ownership("uid", recorded={1: 1.0, 2: 1.0}, recorded_good=frozenset(recorded_good))
    storage, secrets = await storage_of(*statuses, ownership=records)
    await storage.unlock(newest(storage))
    assert secrets.written()[-1][1:] == ("failed", "failed", description)
    secrets.held["newer"] = {
        **secret(9, "failed", NOT_READY),
        "metadata": {**secret(9, "failed")["metadata"], "name": "newer"},
    }
    await storage.observe()
    good = await storage.last_good()
    expected = len(statuses) if description == UNINSTALL_INTERRUPTED else 1 if len(statuses) == 2 else None
    assert (good.number if good else None) == expected


async def test_a_called_off_uninstall_restores_the_status() -> None:
    good = Ownership("uid", recorded={2: 1.0}, recorded_good=frozenset({2}))
    storage, secrets = await storage_of("superseded", "uninstalling", ownership=good)
    await storage.call_off_uninstall(newest(storage))
    assert secrets.written()[-1][1:] == ("deployed", "deployed", UNINSTALL_CALLED_OFF)
    storage, secrets = await storage_of("deployed", "uninstalling")
    await storage.call_off_uninstall(newest(storage))
    assert [label for _, label, _, _ in secrets.written()] == ["deployed", "failed"]


async def test_superseded_failed_revisions_are_searched() -> None:
    """Here an upgrade and its rollback failed, and helm calls both superseded since; revision 1 was good."""
    never = {2: NOT_READY, 3: 'Rollback "web" failed: not ready'}
    storage, _ = await storage_of("superseded", "superseded", "superseded", "deployed", descriptions=never)
    assert [found.revision.number for found in await storage.read_unfinished()] == [3, 2]


async def test_a_recorded_good_revision_costs_no_read() -> None:
    """What every upgrade meets must cost nothing."""
    good = Ownership("uid", recorded={1: 1.0}, recorded_good=frozenset({1}))
    storage, secrets = await storage_of("superseded", "deployed", ownership=good)
    secrets.held["sh.helm.release.v1.web.v1"]["data"] = {}
    secrets.read = None  # type: ignore[assignment,method-assign]
    assert await storage.read_unfinished() == []


async def test_purge_deletes_the_newest_revision_last() -> None:
    """As long as that one is there, a successor knows that something is to be ended."""
    storage, secrets = await storage_of("superseded", "failed", "uninstalled")
    await storage.purge()
    assert secrets.deleted == [f"sh.helm.release.v1.web.v{number}" for number in (1, 2, 3)]
    assert storage.newest is None


@pytest.mark.parametrize(
    ("statuses", "versions"),
    [
        (["superseded", "deployed"], []),
        (["failed", "superseded", "deployed"], []),
        (["superseded", "failed", "failed", "deployed"], [3, 2]),
        (["superseded", "deployed", "failed"], [2]),
        (["failed", "deployed", "failed", "pending-upgrade"], [3, 2]),
        (["failed", "failed"], [1]),
        (["failed"], []),
    ],
)
async def test_unfinished_revisions_are_found(statuses: list[str], versions: list[int]) -> None:
    storage, secrets = await storage_of(*statuses)
    assert [found.revision.number for found in await storage.read_unfinished()] == versions
    for name in list(secrets.held)[:-1]:
        secrets.held[name]["data"]["release"] = "bm90IGEgcmVsZWFzZQ=="
    assert await storage.read_unfinished() == []


# ---- the stored objects

GONE = "---\napiVersion: x/v1\nkind: Widget\nmetadata: {name: a}\n"
REST = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def drop(rendered: Rendered) -> Drop | None:
    """Take all Widgets out."""
    return Drop() if rendered.kind == "Widget" else None


async def stored_by(owner: str | None, secrets: FakeSecrets | None = None) -> tuple[ReleaseStorage, FakeSecrets]:
    """A release with one revision that renders a Widget and a ConfigMap."""
    secrets = secrets or FakeSecrets()
    made = secret(1, "deployed", manifest=GONE + REST, hooks=[{"name": "h", "manifest": GONE}])
    if owner:
        made["metadata"]["labels"][OWNER_LABEL] = owner
    secrets.held[made["metadata"]["name"]] = made
    storage = ReleaseStorage(cast("Any", secrets), "apps", "web", UNRECORDED)
    await storage.observe()
    return storage, secrets


async def test_a_stored_manifest_is_rewritten_once() -> None:
    storage, secrets = await stored_by("uid")
    before = secrets.held[newest(storage).secret]
    assert await storage.rewrite_manifest(newest(storage), drop, hooks=True)
    assert not await storage.rewrite_manifest(newest(storage), drop, hooks=True)
    assert secrets.rewritten == [newest(storage).secret]
    after = secrets.held[newest(storage).secret]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert decode(after).document == {**decode(before).document, "manifest": REST, "hooks": []}


@pytest.mark.parametrize("owner", [None, "another"])
async def test_a_revision_of_others_is_not_rewritten(owner: str | None) -> None:
    storage, secrets = await stored_by(owner)
    assert not await storage.rewrite_manifest(newest(storage), drop)
    assert secrets.rewritten == []


async def test_a_revision_with_a_new_owner_is_kept() -> None:
    """Whose it is counts when it is written, not when it was seen."""
    storage, secrets = await stored_by("uid")
    seen = newest(storage)
    await stored_by("another", secrets)
    assert not await storage.rewrite_manifest(seen, drop)
    assert secrets.rewritten == []


async def test_a_deleted_revision_is_not_rewritten() -> None:
    storage, secrets = await stored_by("uid")
    secrets.held.clear()
    assert not await storage.rewrite_manifest(newest(storage), drop)


@dataclass
class ChangingSecrets(FakeSecrets):
    """Secrets that somebody else changes just before they are written, so many times."""

    changes: int = 0

    async def rewrite(self, found: dict[str, Any], *, release: str, labels: dict[str, str], own: bool = False) -> None:
        if self.changes:
            self.changes -= 1
            labels["changed"] = str(self.changes)
            self.held[found["metadata"]["name"]]["metadata"]["labels"] = labels
            raise KubeError("changed", reason=Reason.API_UNAVAILABLE, transient=True, status=409)
        await super().rewrite(found, release=release, labels=labels)


async def test_a_concurrent_change_is_read_again() -> None:
    storage, secrets = await stored_by("uid", ChangingSecrets(changes=2))
    assert await storage.rewrite_manifest(newest(storage), drop)
    assert secrets.held[newest(storage).secret]["metadata"]["labels"]["changed"] == "0", "the change of the other stays"


async def test_endless_changes_are_an_error() -> None:
    storage, secrets = await stored_by("uid", ChangingSecrets(changes=100))
    with pytest.raises(KubeError) as refused:
        await storage.rewrite_manifest(newest(storage), drop)
    assert refused.value.status == 409
    assert secrets.rewritten == []
