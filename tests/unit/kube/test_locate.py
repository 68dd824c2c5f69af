"""From a rendered object to where the API server has it."""

from typing import Any, cast

import pytest

from harness.api_server import FakeApiServer
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.reasons import Reason
from unit.reconcile.fakes import unavailable


class FakeKinds:
    """A cluster that serves ConfigMaps and, cluster-wide and under another version, Gadgets; it serves no Widgets."""

    locate, locate_all, resolve = Objects.locate, Objects.locate_all, Objects.resolve

    def __init__(self) -> None:
        self.asked = 0
        self.answers = True

    async def namespaced(self, version: str, kind: str) -> bool:
        self.asked += 1
        if not self.answers:
            raise unavailable()
        if (version, kind) not in {("v1", "ConfigMap"), ("x/v2", "Gadget")}:
            raise KubeError("no kind", reason=Reason.KIND_MISSING, transient=True, status=404)
        return kind == "ConfigMap"

    async def served_version(self, version: str, kind: str) -> str | None:
        self.asked += 1
        return "x/v2" if kind == "Gadget" else None


def item(version: str, kind: str, **meta: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "a", **meta}}


async def locate(rendered: dict[str, Any]) -> ObjectRef:
    found: ObjectRef = await cast("Any", FakeKinds()).locate(rendered, "apps")
    return found


@pytest.mark.parametrize(
    ("rendered", "found"),
    [
        (item("v1", "ConfigMap"), ObjectRef("v1", "ConfigMap", "a", "apps")),
        (item("v1", "ConfigMap", namespace="other"), ObjectRef("v1", "ConfigMap", "a", "other")),
        (item("x/v2", "Gadget", namespace="other"), ObjectRef("x/v2", "Gadget", "a")),
    ],
    ids=["default namespace", "its own namespace", "cluster-wide"],
)
async def test_a_rendered_object_is_located(rendered: dict[str, Any], found: ObjectRef) -> None:
    assert await locate(rendered) == found


@pytest.mark.parametrize(
    ("rendered", "reason", "message"),
    [
        (item("x/v1", "Widget"), Reason.KIND_MISSING, "The API server does not serve kind Widget of x/v1"),
        (
            item("x/v1", "Gadget"),
            Reason.KIND_MISSING,
            "The API server does not serve kind Gadget of x/v1; it serves Gadget of x/v2 instead",
        ),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, Reason.OBJECT_INVALID, "A ConfigMap has no name"),
    ],
    ids=["kind not served", "apiVersion not served", "no name"],
)
async def test_the_error_says_why_an_object_cannot_be_located(
    rendered: dict[str, Any], reason: Reason, message: str
) -> None:
    with pytest.raises(KubeError) as raised:
        await locate(rendered)
    assert (raised.value.reason, raised.value.message) == (reason, message)


async def test_stored_objects_are_located_under_served_versions() -> None:
    """Kinds that are not served at all, and objects without a name, are left out."""
    rendered = [
        item(version, kind, name=name)
        for version, kind in (("v1", "ConfigMap"), ("x/v1", "Gadget"), ("x/v1", "Widget"))
        for name in ("a", "b", None)
    ]
    kinds = FakeKinds()
    assert await cast("Any", kinds).locate_all(rendered, "apps") == [
        ObjectRef("v1", "ConfigMap", "a", "apps"),
        ObjectRef("v1", "ConfigMap", "b", "apps"),
        ObjectRef("x/v2", "Gadget", "a"),
        ObjectRef("x/v2", "Gadget", "b"),
    ]
    assert kinds.asked == 6, "each kind is looked up once"


async def test_a_failed_look_up_is_an_error_only_if_strict() -> None:
    kinds = FakeKinds()
    kinds.answers = False
    assert await cast("Any", kinds).locate_all([item("v1", "ConfigMap")], "apps") == []
    with pytest.raises(KubeError):
        await cast("Any", kinds).locate_all([item("v1", "ConfigMap")], "apps", strict=True)


def test_the_manifest_alone_names_an_object() -> None:
    """As if its kind were namespaced; a missing part of a manifest raises nothing."""
    assert reference(item("x/v2", "Gadget"), "apps") == ObjectRef("x/v2", "Gadget", "a", "apps")
    assert reference({}, "apps") == ObjectRef("", "", "", "apps")


async def test_the_api_server_is_asked_where_an_object_is(client: KubeClient, api: FakeApiServer) -> None:
    kinds = [
        {"name": "widgets", "kind": "Widget", "namespaced": True},
        {"name": "plants", "kind": "Plant", "namespaced": False},
    ]
    api.answers["GET", "/apis/x/v1"] = (200, {"resources": kinds})
    objects = Objects(client)
    rendered = [item("x/v1", "Widget"), item("x/v1", "Plant")]
    located = [await objects.locate(each, "apps") for each in rendered]
    assert located == [ObjectRef("x/v1", "Widget", "a", "apps"), ObjectRef("x/v1", "Plant", "a")]
    assert list(await objects.locate_all(rendered, "apps")) == located
    assert [path for _, path, _, _ in api.asked] == ["/apis/x/v1"]
