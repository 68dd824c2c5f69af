"""Hooks that a killed helm process left are deleted with their release; nothing else is."""

import pytest
import yaml

from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.reconcile.orphaned_objects import delete_orphaned_hooks
from unit.reconcile.fakes import FakeObjects

HOOK = {"helm.sh/hook": "pre-install"}


def release(*policies: str) -> StoredRelease:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "web-pre"}}
    return StoredRelease({"hooks": [{"manifest": yaml.safe_dump(job), "delete_policies": list(policies)}]})


@pytest.mark.parametrize("policy", ["hook-succeeded", "hook-failed"])
async def test_a_self_deleting_hook_is_deleted(policy: str) -> None:
    objects = FakeObjects({"web-pre": HOOK, "other": HOOK})
    await delete_orphaned_hooks(objects, namespace="apps", stored=release("before-hook-creation", policy))  # type: ignore[arg-type]
    assert objects.held == {"other": HOOK}


@pytest.mark.parametrize("policies", [(), ("before-hook-creation",)])
async def test_any_other_hook_stays(policies: tuple[str, ...]) -> None:
    """helm's documentation says so, and charts keep generated passwords this way."""
    objects = FakeObjects({"web-pre": HOOK})
    await delete_orphaned_hooks(objects, namespace="apps", stored=release(*policies))  # type: ignore[arg-type]
    assert objects.held == {"web-pre": HOOK}


async def test_an_object_that_is_not_a_hook_stays() -> None:
    objects = FakeObjects({"web-pre": {}})
    await delete_orphaned_hooks(objects, namespace="apps", stored=release("hook-succeeded"))  # type: ignore[arg-type]
    assert objects.held == {"web-pre": {}}


async def test_a_deleted_hook_is_not_an_error() -> None:
    await delete_orphaned_hooks(FakeObjects({}), namespace="apps", stored=release("hook-succeeded"))  # type: ignore[arg-type]


async def test_unreadable_hooks_do_not_block_the_uninstall(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is deleted then, and the operator's log says so."""
    objects = FakeObjects({"web-pre": HOOK})
    stored = StoredRelease({"hooks": [{"manifest": "kind: [", "delete_policies": ["hook-succeeded"]}]})
    await delete_orphaned_hooks(objects, namespace="apps", stored=stored)  # type: ignore[arg-type]
    assert objects.held == {"web-pre": HOOK}
    assert "cannot read the hooks" in caplog.text


async def test_an_annotation_like_a_date_is_text() -> None:
    manifest = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: web-pre, annotations: {until: 2026-02-30}}\n"
    objects = FakeObjects({"web-pre": HOOK})
    stored = StoredRelease({"hooks": [{"manifest": manifest, "delete_policies": ["hook-succeeded"]}]})
    await delete_orphaned_hooks(objects, namespace="apps", stored=stored)  # type: ignore[arg-type]
    assert objects.held == {}
