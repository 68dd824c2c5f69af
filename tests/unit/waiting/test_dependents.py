"""The dependents of a release's objects are found; in doubt there are some."""

from typing import Any

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.deletion import have_dependents


class Objects:
    """A cluster with one workload in the namespace apps; counts the reads of it."""

    def __init__(self, status: dict[str, Any] | None = None, *, generation: int = 1, error: bool = False) -> None:
        self.status, self.generation, self.error, self.looks = status, generation, error, 0

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        self.looks += 1
        if self.error:
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        if self.status is None or ref.namespace != "apps":
            return None
        return {"metadata": {"generation": self.generation}, "status": {"observedGeneration": 1, **self.status}}


def rendered(*kinds: str) -> list[dict[str, Any]]:
    return [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "web"}}
        for version, _, kind in (kind.rpartition("/") for kind in kinds)
    ]


async def found(objects: Objects, *kinds: str) -> bool:
    return await have_dependents(objects, "apps", rendered(*kinds))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("apps/v1/Deployment", {"replicas": 2}, True),
        ("apps/v1/Deployment", {"replicas": 0}, False),
        ("apps/v1/Deployment", {}, False),
        ("apps/v1/StatefulSet", {"replicas": 1}, True),
        ("apps/v1/ReplicaSet", {"replicas": 1}, True),
        ("apps/v1/DaemonSet", {"currentNumberScheduled": 1}, True),
        ("apps/v1/DaemonSet", {"currentNumberScheduled": 0, "replicas": 3}, False),
    ],
)
async def test_a_workload_with_pods_has_dependents(kind: str, status: dict[str, Any], *, expected: bool) -> None:
    assert await found(Objects(status), "v1/Service", kind) is expected


@pytest.mark.parametrize(
    "kind",
    ["batch/v1/Job", "batch/v1/CronJob", "v1/Pod", "example.com/v1/Database", "apps/v2/Deployment", "v1/Namespace"],
)
async def test_unknown_kinds_have_dependents(kind: str) -> None:
    """Their pods, even those that have ended, or what a controller made of them would be left for a while."""
    assert await found(Objects(), kind)


async def test_objects_that_own_nothing_are_not_read() -> None:
    objects = Objects(error=True)
    kinds = ["v1/ConfigMap", "v1/Secret", "v1/Service", "v1/ServiceAccount", "networking.k8s.io/v1/Ingress"]
    kinds += [
        "rbac.authorization.k8s.io/v1/ClusterRole",
        "policy/v1/PodDisruptionBudget",
        "autoscaling/v2/HorizontalPodAutoscaler",
    ]
    kinds += ["apiextensions.k8s.io/v1/CustomResourceDefinition"]
    assert not await found(objects, *kinds)
    assert objects.looks == 0


async def test_in_doubt_there_are_dependents() -> None:
    assert await found(Objects(error=True), "apps/v1/Deployment")
    assert await found(Objects({"replicas": 0}, generation=2), "apps/v1/Deployment"), "its controller is behind"


async def test_deleted_objects_have_no_dependents() -> None:
    assert not await found(Objects(None), "apps/v1/Deployment")


async def test_an_object_without_a_name_does_not_exist() -> None:
    """helm refuses it, but a release's Secret may hold one, and it must not block the uninstall."""
    nameless = [{"apiVersion": "apps/v1", "kind": "Deployment"}]
    assert not await have_dependents(Objects(), "apps", nameless)  # type: ignore[arg-type]
