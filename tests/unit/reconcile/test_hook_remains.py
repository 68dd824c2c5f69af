"""Hooks that a killed helm left go with their release; nothing else does."""

from typing import Any

import pytest
import yaml

from managedchart_operator.helm.storage import StoredRelease
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reconcile.hook_remains import delete_hook_remains

HOOK = {"helm.sh/hook": "pre-install"}


class Objects:
    """The cluster's Jobs by name, with their annotations."""

    def __init__(self, jobs: dict[str, dict[str, str]]) -> None:
        self.jobs = jobs

    async def namespaced(self, _version: str, _kind: str) -> bool:
        return True

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        if ref.namespace != "apps" or ref.name not in self.jobs:
            return None
        return {"metadata": {"name": ref.name, "annotations": self.jobs[ref.name]}}

    async def delete(self, ref: ObjectRef) -> bool:
        return self.jobs.pop(ref.name, None) is not None


def release(*policies: str) -> StoredRelease:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "web-pre"}}
    return StoredRelease({"hooks": [{"manifest": yaml.safe_dump(job), "delete_policies": list(policies)}]})


@pytest.mark.parametrize("policy", ["hook-succeeded", "hook-failed"])
async def test_a_hook_that_should_go_when_it_ends_goes_with_the_release(policy: str) -> None:
    objects = Objects({"web-pre": HOOK, "other": HOOK})
    await delete_hook_remains(objects, namespace="apps", stored=release("before-hook-creation", policy))  # type: ignore[arg-type]
    assert objects.jobs == {"other": HOOK}


@pytest.mark.parametrize("policies", [(), ("before-hook-creation",)])
async def test_a_hook_that_is_meant_to_stay_stays(policies: tuple[str, ...]) -> None:
    """helm's documentation says so, and charts keep generated passwords this way."""
    objects = Objects({"web-pre": HOOK})
    await delete_hook_remains(objects, namespace="apps", stored=release(*policies))  # type: ignore[arg-type]
    assert objects.jobs == {"web-pre": HOOK}


async def test_an_object_of_that_name_that_is_no_hook_stays() -> None:
    objects = Objects({"web-pre": {}})
    await delete_hook_remains(objects, namespace="apps", stored=release("hook-succeeded"))  # type: ignore[arg-type]
    assert objects.jobs == {"web-pre": {}}


async def test_what_is_gone_is_no_error() -> None:
    await delete_hook_remains(Objects({}), namespace="apps", stored=release("hook-succeeded"))  # type: ignore[arg-type]
