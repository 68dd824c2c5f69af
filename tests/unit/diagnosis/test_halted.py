"""Objects that no controller works on explain a timeout that nothing else explains."""

from typing import Any

import pytest

from managedchart_operator.api.status import FailureEvent
from managedchart_operator.diagnosis.halted import find_halted
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason

WAITS = FailureEvent(
    type="Normal",
    reason="WaitForFirstConsumer",
    object="PersistentVolumeClaim a",
    message="waiting for first consumer to be created before binding",
    count=1,
)


class FakeObjects:
    """Every object is as it is given; counts how many were looked at."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self._found = found
        self.asked: list[ObjectRef] = []

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        self.asked.append(ref)
        return self._found


def item(api_version: str, kind: str, name: str = "a") -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


JOB, DEPLOYMENT = item("batch/v1", "Job"), item("apps/v1", "Deployment")
CLAIM = item("v1", "PersistentVolumeClaim")
PENDING = {"status": {"phase": "Pending"}}


async def halted(
    rendered: list[dict[str, Any]],
    found: dict[str, Any] | None,
    *,
    events: tuple[FailureEvent, ...] = (),
    unready: frozenset[ObjectRef] | None = None,
) -> Any:
    return await find_halted(
        FakeObjects(found),  # type: ignore[arg-type]
        namespace="apps",
        rendered=rendered,
        events=events,
        unready=unready,
    )


async def test_a_suspended_job_has_a_resume_command() -> None:
    cause = await halted([JOB], {"spec": {"suspend": True}})
    assert (cause.reason, cause.message) == (Reason.TIMEOUT, "Job apps/a is suspended, so it does not run")
    assert "kubectl -n apps patch job a" in cause.hint


async def test_a_paused_deployment_has_a_resume_command() -> None:
    cause = await halted([DEPLOYMENT], {"spec": {"paused": True}})
    assert (cause.reason, cause.message) == (
        Reason.TIMEOUT,
        "Deployment apps/a is paused, so its pods are not replaced",
    )
    assert "kubectl -n apps rollout resume deployment a" in cause.hint


async def test_an_unused_claim_quotes_its_event() -> None:
    cause = await halted([CLAIM], PENDING, events=(WAITS,))
    assert cause.reason is Reason.VOLUME_UNBOUND
    assert cause.message == (
        "PersistentVolumeClaim apps/a waits for a volume: waiting for first consumer to be created before binding"
    )


@pytest.mark.parametrize(
    ("rendered", "found", "events"),
    [
        (JOB, {"spec": {"suspend": False}}, ()),
        (JOB, {"spec": {"suspend": True}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, ()),
        (JOB, None, ()),
        (DEPLOYMENT, {"spec": {}}, ()),
        (CLAIM, PENDING, ()),
        (CLAIM, {"status": {"phase": "Bound"}}, (WAITS,)),
        (item("example.com/v1", "Job"), {"spec": {"suspend": True}}, ()),
        (item("v1", "ConfigMap"), {"spec": {"suspend": True}}, ()),
        ({"kind": "Job", "apiVersion": "batch/v1"}, {"spec": {"suspend": True}}, ()),
    ],
)
async def test_running_objects_are_not_a_cause(
    rendered: dict[str, Any], found: dict[str, Any] | None, events: tuple[FailureEvent, ...]
) -> None:
    assert await halted([rendered], found, events=events) is None


async def test_a_mounted_claim_is_not_the_cause() -> None:
    pod = {**item("v1", "Pod"), "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "a"}}]}}
    assert await halted([CLAIM, pod], PENDING, events=(WAITS,)) is None


async def test_only_unready_objects_are_a_cause() -> None:
    """The operator's own wait passes over a suspended Job; then it failed for something else."""
    suspended = {"spec": {"suspend": True}}
    assert await halted([JOB], suspended, unready=frozenset()) is None
    assert await halted([JOB], suspended, unready=frozenset({ObjectRef("batch/v1", "Job", "a", "apps")}))


async def test_the_number_of_requests_is_bounded() -> None:
    objects = FakeObjects({})
    rendered = [item("batch/v1", "Job", f"job-{number}") for number in range(1000)]
    await find_halted(objects, namespace="apps", rendered=rendered, events=(), unready=None)  # type: ignore[arg-type]
    assert len(objects.asked) == 20
