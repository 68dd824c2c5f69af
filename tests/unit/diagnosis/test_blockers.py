"""Whether all is gone: told of every object, or not at all."""

from typing import Any, cast

import pytest

from managedchart_operator.diagnosis.blockers import MAX_LOOKS, still_there
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason


class FakeObjects:
    """Objects by name: being deleted, kept, or refused."""

    def __init__(self, **objects: str) -> None:
        self.objects = objects

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        match self.objects.get(ref.name):
            case "going":
                return {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
            case "kept":
                return {"metadata": {}}
            case "refused":
                raise KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)
        return None


def refs(*names: str) -> list[ObjectRef]:
    return [ObjectRef("v1", "ConfigMap", name, "apps") for name in names]


async def test_each_object_is_looked_at_however_many_there_are() -> None:
    """A release may have hundreds; the last one counts like the first."""
    names = [f"n{number}" for number in range(MAX_LOOKS)]
    objects = cast("Any", FakeObjects(last="going", kept="kept"))
    assert await still_there(objects, refs(*names, "kept", "last")) == refs("last")


async def test_what_may_not_be_read_is_not_taken_for_gone() -> None:
    with pytest.raises(KubeError):
        await still_there(cast("Any", FakeObjects(a="refused")), refs("a"))
