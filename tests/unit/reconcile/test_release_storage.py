"""What is put right in helm's storage after a wait in vain, and what is left alone."""

import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import Any, cast

from managedchart_operator.helm.storage import Revision, decode
from managedchart_operator.reconcile.release_storage import ReleaseStorage


def secret(number: int, status: str) -> dict[str, Any]:
    """A release Secret as helm writes it."""
    info = {"status": status, "description": "Upgrade complete"}
    document = {"name": "web", "version": number, "info": info, "chart": {"metadata": {"name": "web"}}}
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

    async def rewrite(self, found: dict[str, Any], *, release: str, labels: dict[str, str]) -> None:
        name = found["metadata"]["name"]
        self.rewritten.append(name)
        self.held[name] = {"metadata": {"name": name, "labels": labels}, "data": {"release": release}}

    async def delete(self, *, namespace: str, name: str) -> None:
        self.deleted.append(name)
        del self.held[name]

    def told(self) -> list[tuple[int, str, str, str]]:
        """Number, label, status and description of each revision, oldest first."""
        found = []
        for name in sorted(self.held):
            info = decode(self.held[name]).document["info"]
            labels = self.held[name]["metadata"]["labels"]
            found.append((int(labels["version"]), labels["status"], info["status"], info["description"]))
        return found


async def storage_of(*statuses: str) -> tuple[ReleaseStorage, FakeSecrets]:
    """A release whose revisions have these statuses, oldest first."""
    made = [secret(number, status) for number, status in enumerate(statuses, start=1)]
    secrets = FakeSecrets({one["metadata"]["name"]: one for one in made})
    storage = ReleaseStorage(cast("Any", secrets), "apps", "web")
    await storage.observe()
    return storage, secrets


def newest(storage: ReleaseStorage) -> Revision:
    """The newest revision, which there is."""
    assert storage.newest is not None
    return storage.newest


async def test_after_a_wait_in_vain_the_storage_is_as_helm_leaves_it() -> None:
    """The new revision failed, the good one before it deployed: what a rollback or an upgrade by hand relies on."""
    storage, secrets = await storage_of("superseded", "superseded", "deployed")
    await storage.fail(newest(storage), "not ready")
    assert secrets.told() == [
        (1, "superseded", "superseded", "Upgrade complete"),
        (2, "deployed", "deployed", "Upgrade complete"),
        (3, "failed", "failed", 'Upgrade "web" failed: not ready'),
    ]
    assert [revision.status for revision in storage.revisions] == ["failed", "deployed", "superseded"]


async def test_a_first_install_has_nothing_to_go_back_to() -> None:
    storage, secrets = await storage_of("deployed")
    await storage.fail(newest(storage), "not ready")
    assert secrets.told() == [(1, "failed", "failed", 'Release "web" failed: not ready')]


async def test_a_failed_revision_between_is_passed_over() -> None:
    storage, secrets = await storage_of("superseded", "failed", "deployed")
    await storage.fail(newest(storage), "not ready")
    assert [status for _, status, _, _ in secrets.told()] == ["deployed", "failed", "failed"]


async def test_what_somebody_else_has_changed_meanwhile_is_left_alone() -> None:
    """Here by an upgrade by hand, which has superseded ours."""
    storage, secrets = await storage_of("superseded", "deployed")
    seen = newest(storage)
    secrets.held["sh.helm.release.v1.web.v2"] = secret(2, "superseded")
    secrets.held["sh.helm.release.v1.web.v3"] = secret(3, "deployed")
    await storage.fail(seen, "not ready")
    assert secrets.rewritten == []


async def test_a_revision_that_nobody_works_on_any_more_is_failed_and_told_why() -> None:
    for status, why in (("pending-upgrade", "The helm that made"), ("deployed", "the operator ended while it waited")):
        storage, secrets = await storage_of("superseded", status)
        await storage.unlock(newest(storage))
        _, label, _, description = secrets.told()[1]
        assert (label, why in description) == ("failed", True), description


async def test_a_release_is_forgotten_with_its_newest_revision_last() -> None:
    """As long as that one is there, a successor knows that something is to be ended."""
    storage, secrets = await storage_of("superseded", "failed", "uninstalled")
    await storage.purge()
    assert secrets.deleted == [f"sh.helm.release.v1.web.v{number}" for number in (1, 2, 3)]
    assert storage.newest is None
