"""Which stored revisions are rewritten for kinds that the cluster does not serve, and what is left alone."""

import base64
import gzip
import json
from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.manifest_edits import Drop, Edit, Keep, rendered_in
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.helm.stored_release import decode
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import change_stored
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.unknown_kinds import UnknownKinds
from unit.reconcile.fakes import unavailable

ERROR = HelmError(
    "No such kind", reason=Reason.KIND_MISSING, transient=True, text="no matches for kind", hint="install it"
)


def of(kind: str, name: str = "a", *, version: str = "x.example.com/v1", namespace: str = "") -> str:
    """An object of a manifest."""
    where = f", namespace: {namespace}" if namespace else ""
    return f"---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}{where}}}\n"


class FakeSecrets:
    """Release Secrets by name; all of one release."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}
        self.rewritten: list[str] = []

    def add(
        self,
        manifest: str,
        *,
        hook: str = "",
        owner: str | None = "uid",
        status: str = "superseded",
        description: str = "",
    ) -> None:
        """Add a revision."""
        number = len(self.held) + 1
        document: dict[str, Any] = {"manifest": manifest, "info": {"description": description}}
        if hook:
            document["hooks"] = [{"manifest": hook, "events": ["pre-delete"]}]
        packed = base64.b64encode(gzip.compress(json.dumps(document).encode()))
        labels = {"version": str(number), "status": status, **({OWNER_LABEL: owner} if owner else {})}
        name = f"sh.helm.release.v1.web.v{number}"
        self.held[name] = {
            "metadata": {"name": name, "labels": labels},
            "data": {"release": base64.b64encode(packed).decode()},
        }

    def manifest(self, number: int) -> str:
        """What a revision has stored."""
        return decode(self.held[f"sh.helm.release.v1.web.v{number}"]).manifest

    async def list_metadata(self, **_: str) -> list[dict[str, Any]]:
        return [found["metadata"] for found in self.held.values()]

    async def read(self, *, name: str, **_: str) -> dict[str, Any] | None:
        return self.held.get(name)

    async def rewrite(self, found: dict[str, Any], *, release: str, labels: dict[str, str], own: bool) -> None:
        assert own
        self.rewritten.append(found["metadata"]["name"])
        self.held[found["metadata"]["name"]] = {**found, "data": {"release": release}}


class FakeObjects:
    """A cluster that serves ConfigMaps, Gadgets under another version, and no Widgets; `down` does not answer for a kind."""

    def __init__(self, *, down: str = "") -> None:
        self.down = down
        self.asked: list[str] = []

    async def served_version(self, api_version: str, kind: str) -> str | None:
        self.asked.append(kind)
        if kind == self.down:
            raise unavailable()
        return {"ConfigMap": api_version, "Gadget": "x.example.com/v2"}.get(kind)


async def removed(secrets: FakeSecrets, *, hooks: bool = True, objects: FakeObjects | None = None) -> list[str]:
    """Remove unknown kinds from all revisions."""
    storage = ReleaseStorage(cast("Any", secrets), "apps", "web", Ownership("uid"))
    await storage.observe()
    unknown = UnknownKinds(cast("Any", objects or FakeObjects()), storage, hooks=hooks)
    return await unknown.remove_from(storage.revisions, error=ERROR)


async def test_an_unknown_kind_is_removed_and_reported() -> None:
    secrets = FakeSecrets()
    secrets.add(of("ConfigMap") + of("Widget", namespace="there") + of("Widget", "b"))
    [sentence] = await removed(secrets)
    assert secrets.manifest(1) == of("ConfigMap")
    assert "Widget there/a; Widget b of x.example.com/v1 was removed from the stored revision 1" in sentence


async def test_an_unserved_version_becomes_the_served_one() -> None:
    """It still exists: removed from the manifest it would stay behind for ever."""
    secrets = FakeSecrets()
    secrets.add(of("ConfigMap") + of("Gadget"))
    [sentence] = await removed(secrets)
    assert [each.api_version for each in rendered_in(secrets.manifest(1))] == ["x.example.com/v1", "x.example.com/v2"]
    assert "Gadget a of the stored revision 1 is now stored as x.example.com/v2" in sentence


async def test_a_second_run_writes_nothing() -> None:
    """As after a kill between the rewriting and the next helm."""
    secrets = FakeSecrets()
    secrets.add(of("Widget") + of("Gadget"), hook=of("Widget"))
    assert len(await removed(secrets)) == 2
    secrets.rewritten.clear()
    assert [sentence for sentence in await removed(secrets) if "removed" in sentence] == []
    assert secrets.rewritten == []


async def test_nothing_is_rewritten_where_every_kind_is_served() -> None:
    secrets = FakeSecrets()
    secrets.add(of("ConfigMap"), hook=of("ConfigMap"))
    assert await removed(secrets) == []
    assert secrets.rewritten == []


async def test_each_kind_is_looked_up_once() -> None:
    secrets, objects = FakeSecrets(), FakeObjects()
    for _ in range(2):
        secrets.add(of("Widget") + of("Widget", "b") + of("ConfigMap"))
    await removed(secrets, objects=objects)
    assert sorted(objects.asked) == ["ConfigMap", "Widget"]


async def test_hooks_count_only_where_they_are_run() -> None:
    secrets = FakeSecrets()
    secrets.add(of("ConfigMap"), hook=of("Widget"))
    assert await removed(secrets, hooks=False) == []
    assert len(await removed(secrets)) == 1
    assert decode(secrets.held["sh.helm.release.v1.web.v1"]).hook_manifests == []


async def test_a_revision_of_others_is_not_rewritten() -> None:
    secrets = FakeSecrets()
    secrets.add(of("Widget"), owner="another")
    secrets.add(of("Widget"))
    with pytest.raises(HelmError) as refused:
        await removed(secrets)
    assert refused.value.message.startswith(
        "Revision 1, which this resource did not make, has Widget a of x.example.com/v1, a kind that the cluster no longer"
    )
    assert (refused.value.reason, refused.value.transient) == (Reason.KIND_MISSING, True)
    assert "helm mapkubeapis web --namespace apps" in (refused.value.hint or "")
    assert secrets.rewritten == []


async def test_in_doubt_nothing_is_rewritten() -> None:
    """An APIService that is down: helm takes its kinds for unknown, too."""
    secrets = FakeSecrets()
    secrets.add(of("Widget"))
    secrets.add(of("Gizmo"))
    with pytest.raises(HelmError) as refused:
        await removed(secrets, objects=FakeObjects(down="Gizmo"))
    assert refused.value.message.startswith("No such kind; ")
    assert "no answer" in refused.value.message
    assert (refused.value.reason, refused.value.transient) == (Reason.KIND_MISSING, True)
    assert secrets.rewritten == []


@pytest.mark.parametrize("version", ["", "a/b/c", "v1?x=y", "../v1", "X/v1"])
async def test_an_invalid_version_is_not_looked_up(version: str) -> None:
    secrets, objects = FakeSecrets(), FakeObjects()
    secrets.add(of("Widget", version=version))
    assert await removed(secrets, objects=objects) == []
    assert objects.asked == []


# ---- objects that helm is to leave alone

KEPT = [ObjectRef("x.example.com/v2", "Gadget", "a", "apps"), ObjectRef("x.example.com/v1", "Role", "all")]
OURS = of("Gadget") + of("Role", "all", namespace="wrong")
OTHERS = of("Gadget", "b") + of("Gadget", namespace="there") + of("Widget") + of("Gadget", version="y/v1")


async def changed(secrets: FakeSecrets, change: Edit) -> bool:
    """Change KEPT in the stored revisions."""
    storage = ReleaseStorage(cast("Any", secrets), "apps", "web", Ownership("uid"))
    await storage.observe()
    return await change_stored(storage, KEPT, change)


@pytest.mark.parametrize("change", [Keep(), Drop()])
async def test_only_the_named_objects_are_changed(change: Edit) -> None:
    secrets = FakeSecrets()
    secrets.add(OURS + OTHERS, status="failed")
    assert await changed(secrets, change)
    assert secrets.manifest(1).endswith(OTHERS)
    own = secrets.manifest(1).removesuffix(OTHERS)
    assert own.count("helm.sh/resource-policy") == (2 if isinstance(change, Keep) else 0)
    assert len(rendered_in(own)) == (2 if isinstance(change, Keep) else 0)
    assert not await changed(secrets, change), "a second call has nothing to write"


async def test_every_unready_revision_is_changed() -> None:
    """What an unfinished revision renders is deleted with the release; the last good one did not take anything over."""
    secrets = FakeSecrets()
    secrets.add(OURS)
    secrets.add(OURS, status="failed")
    secrets.add(OURS, description='Upgrade "web" failed: not ready')
    secrets.add(OURS, status="failed", owner="another")
    secrets.add(OURS, status="failed")
    assert await changed(secrets, Drop())
    assert [secrets.manifest(number) for number in range(1, 6)] == [OURS, "", "", OURS, ""]
