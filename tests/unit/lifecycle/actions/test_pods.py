"""Why nothing runs of what an action has started."""

from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.pods import why_not_running
from managedchart_operator.lifecycle.actions.scene import Scene
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import FakeCluster, bench

LABELS = "job=a"
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 Insufficient cpu"}


def scene_of(cluster: FakeCluster) -> Scene:
    on = bench(cluster=cluster)
    return Scene("it", Phase.PRE_EXEC, on.context, on.context.cluster, {})


def pod(**status: Any) -> dict[ObjectRef, dict[str, Any]]:
    meta = {"name": "a-x", "namespace": "apps", "uid": "p", "labels": {"job": "a"}}
    return {ObjectRef("v1", "Pod", "a-x", "apps"): {"metadata": meta, "status": status}}


def event(name: str, message: str, seen: str | None) -> dict[ObjectRef, dict[str, Any]]:
    body = {"metadata": {"name": name, "namespace": "apps"}, "message": message, "lastTimestamp": seen}
    return {ObjectRef("v1", "Event", name, "apps"): body}


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ({}, ""),
        (pod(conditions=[UNSCHEDULABLE]), ": Pod a-x cannot be scheduled: 1 Insufficient cpu"),
        (pod(phase="Pending"), ""),
        (
            {
                **event("a", "no quota", "2026-11-26T10:00:01Z"),
                **event("b", "no account", "2026-11-26T10:00:02Z"),
                **event("c", "old", None),
            },
            ": no account",
        ),
    ],
    ids=["nothing is known", "unschedulable", "a pod that starts", "the last Event"],
)
async def test_it_is_said_why(objects: dict[ObjectRef, dict[str, Any]], said: str) -> None:
    scene = scene_of(FakeCluster(objects))
    assert await why_not_running(scene, str, labels=LABELS, owner="u") == said


async def test_a_missing_permission_hides_no_other_error() -> None:
    class Refusing(FakeCluster):
        async def list(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
            raise KubeError("no", reason=Reason.FORBIDDEN, transient=False, status=403)

    assert await why_not_running(scene_of(Refusing()), str, labels=LABELS, owner="u") == ""


async def test_a_long_message_is_cut_before_it_is_searched() -> None:
    """Whoever may write Events may write a megabyte, and while patterns search it, nothing else runs."""
    searched: list[int] = []

    def redact(text: str) -> str:
        searched.append(len(text))
        return text

    cluster = FakeCluster(event("a", "x" * 1_000_000, "2026-11-26T10:00:01Z"))
    said = await why_not_running(scene_of(cluster), redact, labels=LABELS, owner="u")

    assert max(searched) < 5000
    assert len(said) <= 502
