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


def made_by(*owners: dict[str, str], name: str = "pod", namespace: str = "apps", hash_of: str = "new") -> Any:
    """A pod that was made during the run."""
    meta = {
        "uid": name,
        "name": name,
        "namespace": namespace,
        "creationTimestamp": SINCE.isoformat(),
        "labels": {"controller-revision-hash": hash_of},
        "ownerReferences": list(owners),
    }
    return read_pod({"metadata": meta})


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
