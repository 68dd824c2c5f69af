"""Which objects a wait leaves out."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from harness.api_server import FakeApiServer
from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.errors import KubeError
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting.left_out import left_out
from managedchart_operator.waiting.until_ready import ReadyWaits


def item(kind: str, name: str = "a", *, version: str = "example.com/v1", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **meta}}


def annotated(value: str) -> dict[str, Any]:
    return item("Widget", annotations={"managedchart.dev/wait": value})


class FakeObjects:
    """Clusters have no namespace; the API server does not answer for Unknowns."""

    async def namespaced(self, _: str, kind: str) -> bool:
        if kind == "Unknown":
            raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)
        return kind != "Cluster"


@pytest.mark.parametrize(
    ("rendered", "exclude", "ignored"),
    [
        (item("Widget"), [], False),
        (item("Widget"), [{"kind": "Widget"}], True),
        (item("Widget"), [{"kind": "Gadget"}, {"name": "a"}], True),
        (item("Widget"), [{"kind": "Widget", "name": "b"}], False),
        (item("Widget"), [{"namespace": "apps"}], True),
        (item("Widget", namespace="other"), [{"namespace": "apps"}], False),
        (item("Widget", namespace="other"), [{"namespace": "other", "kind": "Widget"}], True),
        (item("Cluster"), [{"namespace": "apps"}], False),
        (item("Cluster"), [{"kind": "Cluster"}], True),
        (item("Unknown"), [{"namespace": "apps"}], True),
        (annotated("false"), [], True),
        (annotated("true"), [], False),
        (annotated(""), [], False),
        ({"kind": "Widget", "metadata": {"name": "a", "annotations": None}}, [], False),
    ],
)
async def test_an_object_is_left_out_by_the_spec_or_the_chart(
    rendered: Mapping[str, Any], exclude: list[dict[str, str]], *, ignored: bool
) -> None:
    selectors = [ObjectSelector.model_validate(each) for each in exclude]
    found = await left_out(cast("Any", FakeObjects()), [rendered], exclude=selectors, namespace="apps")
    assert bool(found) is ignored


async def test_the_wait_ignores_what_is_left_out(api: FakeApiServer, client: KubeClient) -> None:
    """It is not even read; only the other one is."""
    kinds = {"resources": [{"name": "widgets", "kind": "Widget", "namespaced": True}]}
    api.answers["GET", "/apis/example.com/v1"] = (200, kinds)
    ready = {"metadata": {"name": "b", "resourceVersion": "1"}, "status": {}}
    api.answers["GET", "/apis/example.com/v1/namespaces/apps/widgets/b"] = (200, ready)
    objects = Objects(client)
    rendered = [annotated("false"), item("Widget", "b")]
    ignored = await left_out(objects, rendered, exclude=[], namespace="apps")
    waits = ReadyWaits(client, objects, places=FairSlots(1, share=1.0))

    assert await waits.of(rendered, namespace="apps", left_out=ignored).within(5) is None
    assert [path for _, path, _, _ in api.asked if path.endswith("/a")] == []
    await waits.close()
