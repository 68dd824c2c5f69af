"""Whether all is gone: told of every object, or not at all."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.blockers import MAX_LOOKS, references, still_there


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


class FakeKinds:
    """A cluster that knows ConfigMaps, Gadgets under another version, cluster-wide, and no Widgets."""

    def __init__(self) -> None:
        self.asked = 0

    async def namespaced(self, version: str, kind: str) -> bool:
        self.asked += 1
        if (version, kind) not in {("v1", "ConfigMap"), ("x/v2", "Gadget")}:
            raise KubeError("no kind", reason=Reason.KIND_MISSING, transient=True, status=404)
        return kind == "ConfigMap"

    async def served_version(self, version: str, kind: str) -> str | None:
        self.asked += 1
        return "x/v2" if kind == "Gadget" else None


async def test_objects_are_where_the_cluster_serves_them_now() -> None:
    """Not under a version that is gone; and a kind that is gone has none."""
    rendered = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
        for version, kind in (("v1", "ConfigMap"), ("x/v1", "Gadget"), ("x/v1", "Widget"))
        for name in "ab"
    ]
    kinds = FakeKinds()
    assert await references(cast("Any", kinds), "apps", rendered) == [
        *refs("a", "b"),
        ObjectRef("x/v2", "Gadget", "a"),
        ObjectRef("x/v2", "Gadget", "b"),
    ]
    assert kinds.asked == 6, "each kind is looked for once"
