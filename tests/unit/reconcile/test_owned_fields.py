"""Who owns which fields: what is read before helm runs and after it, and what the Event says."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.field_owners import Manager, OwnedField
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import owned_fields, taken_fields
from managedchart_operator.reconcile.owned_fields import read_owned_fields
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.taken_fields import FieldsOfOthers, describe, taken_since
from unit.reconcile.fakes import unavailable

WEB = ObjectRef("apps/v1", "Deployment", "web", "apps")


def managed(name: str, *managers: str) -> dict[str, Any]:
    """An object whose field spec.a these managers own."""
    entries = [{"manager": manager, "fieldsV1": {"f:spec": {"f:a": {}}}} for manager in managers]
    return {"metadata": {"name": name, "managedFields": entries}}


class FakeObjects:
    """Objects by name, whatever their kind and namespace; takes down what is read, and how."""

    locate_all = Objects.locate_all

    def __init__(self, **objects: dict[str, Any]) -> None:
        self.objects = objects
        self.asked: list[str] = []
        self.refused = ""
        self.failure = KubeError("not allowed", reason=Reason.FORBIDDEN, transient=True, status=403)
        self.answers = True

    async def namespaced(self, _version: str, kind: str) -> bool:
        return kind != "ClusterRole"

    async def list(
        self,
        _version: str,
        kind: str,
        *,
        namespace: str,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        keep: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> list[dict[str, Any]]:
        assert metadata_only, "a whole object may have a MiB"
        self.asked.append(f"{kind} {namespace or '-'} {labels or fields}")
        if not self.answers:
            await asyncio.Event().wait()
        if kind == self.refused:
            raise self.failure
        found = [found for name, found in self.objects.items() if labels or fields == f"metadata.name={name}"]
        return [kept for each in found if (kept := keep(each)) is not None]


def manifest(*names: str, kind: str = "Deployment", **meta: str) -> str:
    texts = "".join(f"  {key}: {value}\n" for key, value in meta.items())
    return "".join(f"---\napiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{texts}" for name in names)


def run_over(objects: FakeObjects, stored: StoredRelease | Exception | None) -> ReleaseRun:
    """A run over a release whose revision is stored like this."""

    async def read(_: Revision) -> StoredRelease | None:
        if isinstance(stored, Exception):
            raise stored
        return stored

    storage = SimpleNamespace(read=read)
    return cast("Any", SimpleNamespace(objects=objects, namespace="apps", name="web", storage=storage))


REVISION = Revision(1, "deployed", "v1")


async def look(objects: FakeObjects, text: str) -> tuple[ReleaseRun, FieldsOfOthers]:
    run = run_over(objects, StoredRelease({"manifest": text}))
    return run, (await read_owned_fields(run, REVISION)).of_others


async def test_a_taken_field_names_object_and_manager() -> None:
    objects = FakeObjects(web=managed("web", "kubectl"))
    seen = await look(objects, manifest("web"))
    objects.objects["web"] = managed("web", "helm")
    assert await taken_since(*seen) == ["Deployment apps/web spec.a (set by kubectl)"]


@pytest.mark.parametrize("now", [managed("web", "kubectl"), managed("web", "kubectl", "helm"), managed("web"), None])
async def test_other_fields_are_not_named(now: dict[str, Any] | None) -> None:
    """A run that failed before helm applied it, a chart that no longer sets it, an object that is deleted."""
    objects = FakeObjects(web=managed("web", "kubectl"))
    seen = await look(objects, manifest("web"))
    objects.objects = {"web": now} if now else {}
    assert await taken_since(*seen) == []


async def test_only_objects_with_foreign_fields_are_reread() -> None:
    objects = FakeObjects(web=managed("web", "kubectl", "helm"), db=managed("db", "helm"))
    seen = await look(objects, manifest("web", "db"))
    assert objects.asked == ["Deployment apps metadata.name=web", "Deployment apps metadata.name=db"]
    await taken_since(*seen)
    assert objects.asked[2:] == ["Deployment apps metadata.name=web"]


async def test_each_object_is_read_in_its_namespace() -> None:
    objects = FakeObjects()
    text = manifest("a") + manifest("b", namespace="other") + manifest("c", kind="ClusterRole", namespace="x")
    await look(objects, text)
    where = {"a": "Deployment apps", "b": "Deployment other", "c": "ClusterRole -"}
    assert objects.asked == [f"{place} metadata.name={name}" for name, place in where.items()]


async def test_many_of_a_kind_are_listed_once() -> None:
    objects = FakeObjects(b=managed("b", "kubectl"), stranger=managed("stranger", "kubectl"))
    seen = await look(objects, manifest("a", "b", "c", "d"))
    assert objects.asked == ["Deployment apps app.kubernetes.io/managed-by=Helm"]
    assert [ref.name for ref in seen[1]] == ["b"]


async def test_a_huge_release_is_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owned_fields, "MOST_OBJECTS", 2)
    objects = FakeObjects()
    await look(objects, manifest("a", "b", "c"))
    assert len(objects.asked) == 2


async def test_objects_of_the_deployed_revision_are_read_too() -> None:
    """A failed revision without an object need not have deleted it, and the next one may render it again."""
    objects = FakeObjects(web=managed("web", "kubectl"), db=managed("db", "kubectl"))
    run = run_over(objects, StoredRelease({"manifest": manifest("web")}))
    texts = {2: manifest("web"), 1: manifest("web", "db")}

    async def read(revision: Revision) -> StoredRelease:
        return StoredRelease({"manifest": texts[revision.number]})

    run.storage.read = read  # type: ignore[method-assign]
    found = await read_owned_fields(run, replace(REVISION, number=2), also=replace(REVISION, number=1))
    assert [ref.name for ref in found.of_others] == ["web", "db"]
    assert found.stored is not None
    assert found.stored.manifest == texts[2]
    assert len(objects.asked) == 2


@pytest.mark.parametrize("revision", [None, REVISION], ids=["none", "deleted"])
async def test_without_a_revision_nothing_is_read(revision: Revision | None) -> None:
    objects = FakeObjects()
    found = await read_owned_fields(run_over(objects, None), revision)
    assert (found.stored, found.of_others, objects.asked) == (None, {}, [])


async def test_an_unreadable_revision_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The upgrade continues: helm may be able to read it."""
    error = HelmError("the Secret cannot be read", reason=Reason.HELM_FAILED, transient=False)
    for stored in (error, StoredRelease({"manifest": "kind: ["})):
        assert (await read_owned_fields(run_over(FakeObjects(), stored), REVISION)).of_others == {}
    assert caplog.text.count("apps/web: cannot determine the fields of other managers: ") == 2


async def test_without_an_answer_the_upgrade_does_not_begin() -> None:
    """Otherwise helm would overwrite what is to be left."""
    objects = FakeObjects(web=managed("web", "kubectl"))
    objects.refused, objects.failure = "Deployment", unavailable()
    with pytest.raises(KubeError):
        await look(objects, manifest("web"))


async def test_a_forbidden_kind_does_not_hide_others(caplog: pytest.LogCaptureFixture) -> None:
    objects = FakeObjects(web=managed("web", "kubectl"))
    objects.refused = "StatefulSet"
    seen = await look(objects, manifest("web") + manifest("a", kind="StatefulSet"))
    assert list(seen[1]) == [WEB]
    assert caplog.text.count("not allowed") == 1


async def test_a_failed_look_afterwards_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(taken_fields, "LOOK_SECONDS", 0.05)
    objects = FakeObjects(web=managed("web", "kubectl"))
    seen = await look(objects, manifest("web"))
    objects.refused, objects.failure = "Deployment", unavailable()
    assert await taken_since(*seen) == []
    objects.answers = False
    async with asyncio.timeout(5):
        assert await taken_since(*seen) == []
    assert "no answer" in caplog.text
    assert "the API server did not answer within 0.05 s" in caplog.text


def taken(name: str) -> str:
    return f"{WEB} {OwnedField(('f:spec', f'f:{name}'), Manager('kubectl', 'scale'))}"


def test_the_event_names_five_fields_at_most() -> None:
    assert describe("Upgrade", [taken("a")]) == (
        "Upgrade took over fields that other managers had set: Deployment apps/web spec.a (set by kubectl, subresource scale)"
    )
    message = describe("Rollback", [taken(name) for name in "abcdefg"])
    assert message.startswith("Rollback took over fields")
    assert message.endswith("spec.e (set by kubectl, subresource scale); and 2 more")


def test_the_event_fits_with_long_names() -> None:
    """The API server refuses more than 1024 characters."""
    assert len(describe("Rollback", [taken("x" * 500)] * 1000)) < 1000


async def test_what_is_known_of_managers_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who may change the objects of a release may add ten thousands of entries to each."""
    monkeypatch.setattr(owned_fields, "_MOST_VALUES", 100)
    fields = {"f:data": {f"f:k{number}": {} for number in range(200)}}
    metadata = {"name": "a", "managedFields": [{"manager": "x", "fieldsV1": fields}]}
    _, found = await look(FakeObjects(a={"metadata": metadata}), manifest("a"))
    assert not found
    assert "more than 100 entries about the managers" in caplog.text
