"""Which release and revision a pod belongs to; another release is remembered."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.kube.objects import ObjectRef

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
VERSIONS = {
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "Rollout": "example.com/v1",
    "Cluster": "example.com/v1",
}
RENDERED = frozenset(
    {
        Identity("apps", "Deployment", "apps", "web"),
        Identity("apps", "Deployment", "other", "far"),
        Identity("apps", "StatefulSet", "apps", "db"),
        Identity("", "Pod", "apps", "alone"),
        Identity("batch", "CronJob", "apps", "nightly"),
        Identity("example.com", "Cluster", "", "whole"),
    }
)


def owner_of(kind: str, name: str, *, version: str = "") -> dict[str, str]:
    return {"apiVersion": version or VERSIONS[kind], "kind": kind, "name": name, "uid": f"uid-{name}"}


def body(*owners: dict[str, str], revision: str = "1", generation: int = 1, **status: Any) -> dict[str, Any]:
    """An object that its controller has seen, unless its generation is another one."""
    meta = {
        "annotations": {"deployment.kubernetes.io/revision": revision},
        "generation": generation,
        "ownerReferences": list(owners),
    }
    return {"metadata": meta, "status": {"observedGeneration": 1, **status}}


@dataclass
class FakeObjects:
    """Objects by kind, namespace and name."""

    found: dict[tuple[str, str, str], dict[str, Any]]

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        assert ref.api_version == VERSIONS[ref.kind]
        return self.found.get((ref.kind, ref.namespace, ref.name))


OBJECTS = {
    ("ReplicaSet", "apps", "web-1"): body(owner_of("Deployment", "web")),
    ("ReplicaSet", "apps", "web-0"): body(owner_of("Deployment", "web"), revision="0"),
    ("ReplicaSet", "apps", "other-1"): body(owner_of("Deployment", "other")),
    ("ReplicaSet", "apps", "twin-1"): body(owner_of("Deployment", "far")),
    ("ReplicaSet", "other", "far-1"): body(owner_of("Deployment", "far")),
    ("ReplicaSet", "other", "web-1"): body(owner_of("Deployment", "web")),
    ("ReplicaSet", "apps", "rollout-1"): body(owner_of("Deployment", "web", version="example.com/v1")),
    ("Deployment", "apps", "web"): body(),
    ("Deployment", "other", "far"): body(),
    ("StatefulSet", "apps", "db"): body(updateRevision="new"),
    ("Job", "apps", "nightly-1"): body(owner_of("CronJob", "nightly")),
}


def made_by(
    *owners: dict[str, str], name: str = "pod", namespace: str = "apps", hash_of: str = "new", **status: Any
) -> Any:
    """A pod that was made during the run."""
    meta = {
        "uid": name,
        "name": name,
        "namespace": namespace,
        "creationTimestamp": SINCE.isoformat(),
        "labels": {"controller-revision-hash": hash_of},
        "ownerReferences": list(owners),
    }
    return read_pod({"metadata": meta, "status": status})


def lineage_over(objects: dict[tuple[str, str, str], dict[str, Any]]) -> Lineage:
    return Lineage(cast("Any", FakeObjects(objects)), RENDERED, SINCE)


@pytest.mark.parametrize(
    ("pod", "foreign"),
    [
        (made_by(owner_of("ReplicaSet", "web-1")), False),
        (made_by(owner_of("ReplicaSet", "other-1")), True),
        (made_by(owner_of("ReplicaSet", "gone-1")), False),
        (made_by(owner_of("Job", "nightly-1")), False),
        (made_by(owner_of("StatefulSet", "unknown")), True),
        (made_by(name="alone"), False),
        (made_by(name="stray"), True),
        (made_by(owner_of("ReplicaSet", "far-1"), namespace="other"), False),
        (made_by(owner_of("ReplicaSet", "twin-1")), True),
        (made_by(owner_of("ReplicaSet", "web-1"), namespace="other"), True),
        (made_by(owner_of("ReplicaSet", "rollout-1")), True),
        (made_by(owner_of("StatefulSet", "db", version="example.com/v1")), True),
        (made_by(name="alone", namespace="other"), True),
        (made_by(owner_of("Cluster", "whole"), namespace="other"), False),
    ],
    ids=[
        "of a Deployment",
        "of another one",
        "its ReplicaSet is gone",
        "of a CronJob",
        "of a StatefulSet that is not rendered",
        "rendered itself",
        "made by hand",
        "in another namespace that is rendered",
        "of a Deployment of that name here",
        "of a Deployment of this name there",
        "of a kind of the same name in another group",
        "directly of such a kind",
        "a pod of this name there",
        "of a cluster-wide object",
    ],
)
async def test_an_uncertain_pod_is_not_foreign(pod: Any, *, foreign: bool) -> None:
    """Without its ReplicaSet it is unknown; a pod of an older revision is not foreign either."""
    assert await lineage_over(OBJECTS).is_foreign(pod) is foreign


WEB, FAR = Identity("apps", "Deployment", "apps", "web"), Identity("apps", "Deployment", "other", "far")
DB, WHOLE = Identity("apps", "StatefulSet", "apps", "db"), Identity("example.com", "Cluster", "", "whole")


@pytest.mark.parametrize(
    ("pod", "root"),
    [
        (made_by(owner_of("ReplicaSet", "web-1")), WEB),
        (made_by(owner_of("ReplicaSet", "web-0")), None),
        (made_by(owner_of("ReplicaSet", "far-1"), namespace="other"), FAR),
        (made_by(owner_of("ReplicaSet", "twin-1")), None),
        (made_by(owner_of("StatefulSet", "db")), DB),
        (made_by(owner_of("StatefulSet", "db"), hash_of="old"), None),
        (made_by(owner_of("StatefulSet", "db"), namespace="other"), None),
        (made_by(owner_of("Cluster", "whole"), namespace="other"), WHOLE),
    ],
)
async def test_only_pods_of_the_present_revision_have_a_root(pod: Any, root: Identity | None) -> None:
    """In the namespace of what made them."""
    assert await lineage_over(OBJECTS).root_of(pod) == root


@pytest.mark.parametrize(
    ("kind", "name", "pod"),
    [
        ("Deployment", "web", made_by(owner_of("ReplicaSet", "web-1"))),
        ("StatefulSet", "db", made_by(owner_of("StatefulSet", "db"))),
    ],
)
async def test_a_pod_counts_once_its_controller_has_seen_the_spec(kind: str, name: str, pod: Any) -> None:
    """Before that the status calls the former revision the newest one: a broken one, perhaps, that is being mended."""
    known = OBJECTS[kind, "apps", name]
    unseen = {**known, "metadata": {**known["metadata"], "generation": 2}}
    assert await lineage_over({**OBJECTS, (kind, "apps", name): unseen}).root_of(pod) is None


def old(name: str = "db-0", *, owner: str = "db", ready: bool = False, **status: Any) -> Any:
    """A pod of an earlier revision of a StatefulSet."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return made_by(owner_of("StatefulSet", owner), name=name, hash_of="old", conditions=conditions, **status)


@pytest.mark.parametrize(
    ("pod", "spec", "waits"),
    [
        (old(), {}, True),
        (old(), {"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate"}}, True),
        (old(ready=True), {}, False),
        (old(phase="Failed"), {}, False),
        (made_by(owner_of("StatefulSet", "db"), name="db-0"), {}, False),
        (old(owner="unknown"), {}, False),
        (made_by(owner_of("ReplicaSet", "web-0"), hash_of="old"), {}, False),
        (old(), {"podManagementPolicy": "Parallel"}, False),
        (old(), {"updateStrategy": {"type": "OnDelete"}}, False),
        (old("db-1"), {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, False),
        (old("db-2"), {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, True),
    ],
    ids=[
        "not ready",
        "said explicitly",
        "ready, so its turn comes",
        "ended, so it is created again",
        "of the present revision",
        "of another release",
        "of a Deployment",
        "replaced in parallel",
        "replaced by hand by design",
        "below the partition",
        "above the partition",
    ],
)
async def test_a_stateful_set_waits_for_an_old_pod(pod: Any, spec: dict[str, Any], *, waits: bool) -> None:
    """Only for one that is not ready, since it replaces the others."""
    objects = {**OBJECTS, ("StatefulSet", "apps", "db"): {**body(updateRevision="new"), "spec": spec}}
    assert await lineage_over(objects).not_replaced_by(pod) == (DB if waits else None)


async def test_an_old_pod_counts_once_its_stateful_set_has_seen_the_spec() -> None:
    unseen = body(generation=2, updateRevision="new")
    assert await lineage_over({**OBJECTS, ("StatefulSet", "apps", "db"): unseen}).not_replaced_by(old()) is None
