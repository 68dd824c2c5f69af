"""Objects that block an uninstall are named, with a command that helps."""

from typing import Any, cast

import pytest

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.deletion import MAX_LOOKS, MAX_NAMED, Blocker, blocked, find_blockers


class FakeObjects:
    """Every object is being deleted, some with a finalizer; `kept` is not, `missing` does not exist, `refused` is not shown."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.asked = 0

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        self.asked += 1
        match ref.name:
            case "missing":
                return None
            case "kept":
                return {"metadata": {}}
            case "refused":
                raise KubeError("no", reason=Reason.FORBIDDEN, transient=True, status=403)
        finalizers = ["example.com/held"] if ref.name in self.held else []
        return {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers}}


def refs(*names: str) -> list[ObjectRef]:
    return [ObjectRef("v1", "ConfigMap", name, "apps") for name in names]


async def named(objects: FakeObjects, *names: str) -> list[str]:
    return [blocker.ref.name for blocker in await find_blockers(cast("Any", objects), refs(*names))]


async def test_objects_with_finalizers_are_named_first() -> None:
    assert await named(FakeObjects("z"), "missing", "a", "kept", "refused", "z") == ["z", "a"]


async def test_requests_and_names_are_bounded() -> None:
    objects = FakeObjects()
    assert len(await named(objects, *(f"n{number:03}" for number in range(2 * MAX_LOOKS)))) == MAX_NAMED
    assert objects.asked == MAX_LOOKS


def test_a_finalizer_is_named_and_how_to_remove_it() -> None:
    error = blocked([Blocker(refs("one")[0], ("example.com/held",)), Blocker(refs("two")[0], ())], text="helm's own")
    assert error.message == (
        "The uninstall waits for ConfigMap apps/one (held by the finalizer example.com/held); "
        "ConfigMap apps/two (being deleted)"
    )
    assert error.objects == [("v1", "ConfigMap", "one", "apps"), ("v1", "ConfigMap", "two", "apps")]
    assert (error.text, error.reason) == ("helm's own", Reason.UNINSTALL_BLOCKED)
    assert error.hint is not None
    assert error.hint.endswith(
        """kubectl patch ConfigMap one --namespace apps --type=merge --patch '{"metadata": {"finalizers": null}}'"""
    )


@pytest.mark.parametrize(
    ("ref", "command"),
    [
        (ObjectRef("v1", "Pod", "a", "apps"), "kubectl describe Pod a --namespace apps"),
        (ObjectRef("v1", "Namespace", "a"), "kubectl describe Namespace a"),
        (ObjectRef("rbac.authorization.k8s.io/v1", "ClusterRole", "a;b"), "kubectl describe ClusterRole 'a;b'"),
    ],
)
def test_without_a_finalizer_the_hint_is_to_describe(ref: ObjectRef, command: str) -> None:
    """The command can be pasted, whatever the name is."""
    assert blocked([Blocker(ref, ())]).hint == f"See why it is not deleted yet: {command}"
