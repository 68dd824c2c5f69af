"""Whose a pod is: told once and for all where it is of another release."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.kube.objects import ObjectRef

RENDERED = frozenset({("Deployment", "web"), ("Pod", "alone"), ("CronJob", "nightly")})


@dataclass
class FakeObjects:
    """Objects by kind and name; remembers what was asked for."""

    owners: dict[tuple[str, str], tuple[str, str]]
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        self.asked.append((ref.kind, ref.name))
        owner = self.owners.get((ref.kind, ref.name))
        if owner is None:
            return None
        return {"metadata": {"ownerReferences": [{"kind": owner[0], "name": owner[1]}]}}


OWNERS = {
    ("ReplicaSet", "web-1"): ("Deployment", "web"),
    ("ReplicaSet", "other-1"): ("Deployment", "other"),
    ("Job", "nightly-1"): ("CronJob", "nightly"),
}


@pytest.mark.parametrize(
    ("name", "owner", "foreign"),
    [
        ("web-1-x", ("ReplicaSet", "web-1"), False),
        ("other-1-x", ("ReplicaSet", "other-1"), True),
        ("gone-1-x", ("ReplicaSet", "gone-1"), False),
        ("nightly-1-x", ("Job", "nightly-1"), False),
        ("db-0", ("StatefulSet", "db"), True),
        ("alone", None, False),
        ("stray", None, True),
    ],
)
async def test_a_pod_is_foreign_only_if_it_surely_comes_from_nothing_of_the_release(
    name: str, owner: tuple[str, str] | None, *, foreign: bool
) -> None:
    """Of one whose ReplicaSet is not there it cannot be told; that it is of an older revision may change."""
    owners = [{"kind": owner[0], "name": owner[1], "uid": "u"}] if owner else []
    pod = read_pod({"metadata": {"uid": name, "name": name, "ownerReferences": owners}})
    lineage = Lineage(cast("Any", FakeObjects(OWNERS)), "apps", RENDERED, datetime.now(UTC))
    assert await lineage.is_foreign(pod) is foreign
