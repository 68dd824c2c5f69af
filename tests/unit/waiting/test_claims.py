"""Which claims the pods of a release mount as soon as it is applied."""

from typing import Any

import pytest

from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.waiting.claims import Consumers, binds_late

POD = {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "data"}}]}
APPS = "apps/v1"


def claim(name: str = "data", namespace: str = "apps") -> ObjectRef:
    return ObjectRef("v1", "PersistentVolumeClaim", name, namespace)


def item(api_version: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def workload(api_version: str, kind: str, **spec: Any) -> dict[str, Any]:
    return item(api_version, kind, template={"spec": POD}, **spec)


@pytest.mark.parametrize(
    ("rendered", "mounts"),
    [
        (workload(APPS, "Deployment"), True),
        (workload(APPS, "Deployment", replicas=2), True),
        (workload(APPS, "Deployment", replicas=0), False),
        (workload(APPS, "Deployment", paused=True), False),
        (workload(APPS, "StatefulSet"), True),
        (workload(APPS, "StatefulSet", replicas=0), False),
        (workload(APPS, "DaemonSet"), True),
        (workload(APPS, "ReplicaSet", replicas=0), False),
        (workload("v1", "ReplicationController"), True),
        (workload("batch/v1", "Job"), True),
        (workload("batch/v1", "Job", suspend=True), False),
        (workload("batch/v1", "Job", parallelism=0), False),
        (item("batch/v1", "CronJob", jobTemplate={"spec": {"template": {"spec": POD}}}), False),
        (item("v1", "Pod", **POD), True),
        (item("v1", "Pod"), False),
        (item("example.com/v1", "Deployment", template={"spec": POD}), False),
        ({"kind": "Pod"}, False),
        ({"apiVersion": APPS, "kind": "Deployment", "spec": {"template": ["x"]}}, False),
        ({"apiVersion": "v1", "kind": "Pod", "spec": {"volumes": {"a": "b"}}}, False),
    ],
)
def test_only_pods_that_run_at_once_are_consumers(rendered: dict[str, Any], *, mounts: bool) -> None:
    assert Consumers.of([rendered], namespace="apps").mounts(claim()) is mounts


def test_a_pod_mounts_the_claims_of_its_own_namespace() -> None:
    other = {**workload(APPS, "Deployment"), "metadata": {"name": "web", "namespace": "other"}}
    consumers = Consumers.of([other], namespace="apps")
    assert consumers.mounts(claim(namespace="other"))
    assert not consumers.mounts(claim())


@pytest.mark.parametrize(
    ("name", "mounts"),
    [("data-web-0", True), ("data-web-1", True), ("data-web-2", False), ("data-web", False), ("data-web-x", False)],
)
def test_a_stateful_set_mounts_the_claims_it_creates(name: str, *, mounts: bool) -> None:
    """A chart may render one of them itself, for an existing volume."""
    templates = [{"metadata": {"name": "data"}}]
    rendered = item(APPS, "StatefulSet", replicas=2, volumeClaimTemplates=templates)
    assert Consumers.of([rendered], namespace="apps").mounts(claim(name)) is mounts


def test_a_huge_stateful_set_costs_no_memory() -> None:
    templates = [{"metadata": {"name": "data"}}]
    rendered = item(APPS, "StatefulSet", replicas=10**9, ordinals={"start": 7}, volumeClaimTemplates=templates)
    consumers = Consumers.of([rendered], namespace="apps")
    assert consumers.mounts(claim("data-web-7"))
    assert not consumers.mounts(claim("data-web-6"))


class FakeObjects:
    """One claim, and the StorageClasses by name."""

    def __init__(self, found: dict[str, Any] | None, **modes: str) -> None:
        self._found, self._modes = found, modes

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        if ref.kind == "PersistentVolumeClaim":
            return self._found
        mode = self._modes.get(ref.name)
        return {"volumeBindingMode": mode} if mode else None


@pytest.mark.parametrize(
    ("found", "late"),
    [
        ({"spec": {"storageClassName": "late"}}, True),
        ({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "late"}}}, True),
        ({"spec": {"storageClassName": "now"}}, False),
        ({"spec": {"storageClassName": "missing"}}, False),
        ({"spec": {"storageClassName": ""}}, False),
        ({"spec": {}}, False),
        ({"spec": {"storageClassName": "late", "volumeName": "pv"}}, False),
        (None, False),
    ],
)
async def test_a_claim_binds_late_by_its_class(found: dict[str, Any] | None, *, late: bool) -> None:
    objects = FakeObjects(found, late="WaitForFirstConsumer", now="Immediate")
    assert await binds_late(objects, claim()) is late  # type: ignore[arg-type]
