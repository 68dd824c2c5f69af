"""What unfinished revisions left of a release is deleted; nothing else is."""

import pytest
import yaml

from managedchart_operator.errors import KubeError
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.orphaned_objects import delete_objects_of
from unit.reconcile.fakes import FakeObjects

OURS = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "apps"}


SINCE = 1_767_225_600.0
"""2026-01-01T00:00:00Z"""


def revision(*names: str, version: str = "v1", annotations: dict[str, str] | None = None) -> StoredRelease:
    """A revision that renders these ConfigMaps."""
    return StoredRelease(
        {
            "manifest": yaml.safe_dump_all(
                {"apiVersion": version, "kind": "ConfigMap", "metadata": {"name": name, "annotations": annotations}}
                for name in names
            )
        }
    )


async def remains(
    objects: FakeObjects, newest: StoredRelease, *older: StoredRelease, failed: StoredRelease | None = None
) -> list[str]:
    """Delete, and return the names of what was deleted; `failed` is a revision that was stored at SINCE and failed."""
    found = await delete_objects_of(
        objects,  # type: ignore[arg-type]
        release="web",
        namespace="apps",
        newest=newest,
        good=older,
        failed=[failed] if failed else [],
        since=SINCE,
    )
    return [item["metadata"]["name"] for item in found]


async def test_only_orphaned_objects_are_deleted() -> None:
    objects = FakeObjects({"a": OURS, "b": OURS, "c": OURS, "d": OURS})
    assert await remains(objects, revision("a"), revision("a", "b"), revision("b", "c")) == ["b", "c"]
    assert objects.held == {"a": OURS, "d": OURS}


@pytest.mark.parametrize("version", ["apps/v1beta1", "extensions/v1beta1"])
async def test_another_version_or_group_may_be_the_same_object(version: str) -> None:
    objects = FakeObjects({"a": OURS})
    assert await remains(objects, revision("a", version="apps/v1"), revision("a", version=version)) == []
    assert objects.held == {"a": OURS}


async def test_what_the_newest_renders_stays_without_discovery() -> None:
    """An API server that does not answer once must not cost a live object."""
    objects = FakeObjects({"a": OURS})
    failures = iter([KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)])

    async def namespaced(*_: str) -> bool:
        for failure in failures:
            raise failure
        return True

    objects.namespaced = namespaced  # type: ignore[method-assign]
    assert await remains(objects, revision("a"), revision("a"), revision("a")) == []
    assert objects.held == {"a": OURS}


async def test_a_hook_of_the_newest_stays() -> None:
    objects = FakeObjects({"a": OURS})
    newest = StoredRelease({"hooks": [{"manifest": revision("a").manifest}]})
    assert await remains(objects, newest, revision("a")) == []


async def test_nothing_is_deleted_with_an_unreadable_newest() -> None:
    objects = FakeObjects({"a": OURS})
    assert await remains(objects, StoredRelease({"manifest": "a: [b"}), revision("a")) == []
    assert objects.held == {"a": OURS}


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {**OURS, "meta.helm.sh/release-name": "other"},
        {**OURS, "meta.helm.sh/release-namespace": "elsewhere"},
        {**OURS, "helm.sh/resource-policy": "keep"},
    ],
)
async def test_foreign_and_kept_objects_stay(annotations: dict[str, str]) -> None:
    objects = FakeObjects({"a": annotations})
    assert await remains(objects, revision(), revision("a")) == []
    assert objects.held == {"a": annotations}


async def test_a_kept_object_stays_without_its_annotation() -> None:
    objects = FakeObjects({"a": OURS})
    assert await remains(objects, revision(), revision("a", annotations={"helm.sh/resource-policy": "keep"})) == []
    assert objects.held == {"a": OURS}


@pytest.mark.parametrize(
    ("created", "good", "gone"),
    [
        ("2026-01-01T00:00:00Z", False, True),
        ("2025-12-31T23:59:59Z", False, False),
        ("2025-12-31T23:59:59Z", True, True),
    ],
    ids=["made", "adopted", "of a good revision too"],
)
async def test_what_a_failed_revision_only_adopted_stays(created: str, *, good: bool, gone: bool) -> None:
    """It was there before the revision was stored, so it is not the failed revision's to take along."""
    objects = FakeObjects({"a": OURS}, created=created)
    older = [revision("a")] if good else []
    deleted = await remains(objects, revision(), *older, failed=revision("a"))
    assert bool(deleted) is gone
    assert (objects.held == {}) is gone


async def test_deleted_and_unreadable_objects_are_skipped() -> None:
    assert await remains(FakeObjects({}), revision(), revision("a"), StoredRelease({"manifest": "a: [b"})) == []


async def test_dates_in_a_manifest_are_text() -> None:
    """`0000-00-00` once ended a deletion with an error of Python, for ever."""
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 2026-01-01}\ndata: {zero: 0000-00-00}\n"
    objects = FakeObjects({"2026-01-01": OURS})
    assert await remains(objects, revision("a"), StoredRelease({"manifest": text})) == ["2026-01-01"]
    assert objects.held == {}
