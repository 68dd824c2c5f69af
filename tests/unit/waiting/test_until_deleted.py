"""Waiting until objects are deleted: the answer covers all of them."""

import asyncio
from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting import deletion
from managedchart_operator.waiting.deletion import being_deleted, until_deleted

FORBIDDEN = KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)
NO_ANSWER = KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
DELETING = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
KEPT: dict[str, Any] = {"metadata": {}}


class FakeObjects:
    """Objects by name, each with its answers in order; the last one repeats, and an error is raised."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        self.asked.append(ref.name)
        answers = self.answers.get(ref.name, [None])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, KubeError):
            raise answer
        return cast("dict[str, Any] | None", answer)


def refs(*names: str) -> list[ObjectRef]:
    return [ObjectRef("v1", "ConfigMap", name, "apps") for name in names]


async def deleted(objects: FakeObjects, *names: str, seconds: float = 5) -> bool:
    return await until_deleted(cast("Any", objects), refs(*names), seconds)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "LOOK_SECONDS", 0.001)


async def test_deleted_and_kept_objects_end_the_wait() -> None:
    """A kept one is not being deleted: somebody has created it again."""
    objects = FakeObjects(kept=[KEPT], slow=[DELETING, DELETING, None])
    assert await deleted(objects, "kept", "slow", "missing")
    assert objects.asked == ["kept", "slow", "missing", "slow", "slow"], "only what is left is read again"


async def test_no_objects_cost_no_request() -> None:
    objects = FakeObjects()
    assert await deleted(objects)
    assert objects.asked == []


async def test_an_object_that_stays_times_out() -> None:
    assert not await deleted(FakeObjects(stuck=[DELETING]), "stuck", seconds=0.05)


async def test_a_silent_api_server_is_asked_again() -> None:
    assert await deleted(FakeObjects(a=[NO_ANSWER, DELETING, None]), "a")


async def test_a_silent_api_server_proves_nothing() -> None:
    assert not await deleted(FakeObjects(a=[NO_ANSWER]), "a", seconds=0.05)


async def test_an_object_that_cannot_be_read_ends_the_wait() -> None:
    with pytest.raises(KubeError) as raised:
        await deleted(FakeObjects(a=[DELETING, FORBIDDEN]), "a")
    assert raised.value is FORBIDDEN


async def test_every_object_is_read_however_many_there_are() -> None:
    """A release may have hundreds; the last one counts like the first."""
    names = [f"n{number}" for number in range(200)]
    objects = FakeObjects(last=[DELETING], kept=[KEPT])
    assert await being_deleted(cast("Any", objects), refs(*names, "kept", "last")) == refs("last")


async def test_thousands_of_objects_do_not_hold_up_the_loop() -> None:
    """A release Secret that anybody wrote may name them; a task for each at once took a second."""
    at_once = most = 0

    class Slow(FakeObjects):
        async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            return DELETING if ref.name == "n999" else None

    names = [f"n{number}" for number in range(1000)]
    assert await being_deleted(cast("Any", Slow()), refs(*names)) == refs("n999")
    assert most <= 200
