"""The adapters over the API server: which requests they send, and what a missing object means."""

import json
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.api.resource import FINALIZER, Key, ManagedChart
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.event_limits import EventLimits
from managedchart_operator.kube.events import MESSAGE_LENGTH, Events
from managedchart_operator.kube.logs import RAW_BYTES, Logs
from managedchart_operator.kube.managedcharts import ManagedCharts
from managedchart_operator.kube.namespaces import Namespaces, NamespaceState
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.reasons import Reason

CHARTS = "/apis/managedchart.dev/v1alpha1/managedcharts"
CHART = "/apis/managedchart.dev/v1alpha1/namespaces/apps/managedcharts/web"
EVENTS = "/api/v1/namespaces/apps/events"
KEY = Key("apps", "web")


def body(**meta: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "apps", "name": "web", "uid": "u1", "resourceVersion": "7", **meta}}


def chart(**meta: Any) -> ManagedChart:
    return ManagedChart.from_body(body(**meta))


# ---- ManagedCharts


async def test_all_resources_are_read_page_by_page(client: KubeClient, api: FakeApiServer) -> None:
    async def pages(request: web.Request) -> web.Response:
        if request.query.get("continue") == "more":
            return web.json_response({"items": [body(name="b")], "metadata": {}})
        return web.json_response({"items": [body(name="a")], "metadata": {"continue": "more"}})

    api.answers["GET", CHARTS] = pages
    assert [found.key.name async for found in ManagedCharts(client).list_all()] == ["a", "b"]


async def test_a_deeply_nested_resource_is_listed(client: KubeClient, api: FakeApiServer) -> None:
    """All resources are read at the start: one of them must not prevent it."""
    deep = '{"a":' * 2000 + "1" + "}" * 2000
    texts = [json.dumps(body(name=name)) for name in ("a", "deep", "b")]
    texts[1] = texts[1].removesuffix("}") + f', "spec": {{"targetNamespace": "blue", "values": {deep}}}}}'

    async def page(_: web.Request) -> web.Response:
        text = f'{{"items": [{", ".join(texts)}], "metadata": {{}}}}'
        return web.Response(text=text, content_type="application/json")

    api.answers["GET", CHARTS] = page
    found = [chart async for chart in ManagedCharts(client).list_all()]
    assert [chart.key.name for chart in found] == ["a", "deep", "b"]
    assert (found[1].release_namespace, found[1].resource_version) == ("blue", 7)


async def test_a_status_patch_names_its_object(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["PATCH", f"{CHART}/status"] = (200, body())
    assert await ManagedCharts(client).patch_status(KEY, "u1", {"phase": "Ready"}) == chart()
    assert api.asked[-1][3] == {"metadata": {"uid": "u1"}, "status": {"phase": "Ready"}}
    assert "as=PartialObjectMetadata;" in api.headers[-1]["Accept"], "a spec may have a megabyte"


@pytest.mark.parametrize("status", [404, 409, 422])
@pytest.mark.parametrize("now", [(404, refusal("not found", 404)), (200, body(uid="u2"))], ids=["deleted", "replaced"])
async def test_the_status_of_a_deleted_object_is_dropped(
    client: KubeClient, api: FakeApiServer, status: int, now: tuple[int, dict[str, Any]]
) -> None:
    api.answers["PATCH", f"{CHART}/status"] = (status, refusal("field is immutable", status))
    api.answers["GET", CHART] = now
    assert await ManagedCharts(client).patch_status(KEY, "u1", {"phase": "Ready"}) is None


@pytest.mark.parametrize("status", [409, 422])
async def test_a_refused_status_is_an_error(client: KubeClient, api: FakeApiServer, status: int) -> None:
    """Also of an object whose name has a "uid" in it, and the name is in the message."""
    api.answers["PATCH", f"{CHART}/status"] = (status, refusal('"squid": status.phase: Unsupported value', status))
    api.answers["GET", CHART] = (200, body())
    with pytest.raises(KubeError):
        await ManagedCharts(client).patch_status(KEY, "u1", {"phase": "Nonsense"})


async def test_other_finalizers_are_kept(client: KubeClient, api: FakeApiServer) -> None:
    """Somebody adds one between the read and the write: the write is refused, and made again from the new list."""
    api.answers["GET", CHART] = (200, body(finalizers=["theirs", "late"]))
    answers = [(422, refusal("the server rejected our request: testing value", 422)), (200, body())]

    async def patch(_: web.Request) -> web.Response:
        status, answer = answers.pop(0)
        return web.json_response(answer, status=status)

    api.answers["PATCH", CHART] = patch
    await ManagedCharts(client).add_finalizer(chart(finalizers=["theirs"]))
    last = api.asked[-1][3]
    assert {"op": "test", "path": "/metadata/uid", "value": "u1"} in last
    assert last[-1] == {"op": "add", "path": "/metadata/finalizers", "value": ["theirs", "late", FINALIZER]}


async def test_only_the_operators_finalizer_is_removed(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["PATCH", CHART] = (200, body())
    charts = ManagedCharts(client)
    await charts.remove_finalizer(chart(finalizers=["theirs", FINALIZER]))
    assert api.asked[-1][3][-1] == {"op": "add", "path": "/metadata/finalizers", "value": ["theirs"]}
    assert "as=PartialObjectMetadata;" in api.headers[-1]["Accept"]
    await charts.remove_finalizer(chart(finalizers=[FINALIZER]))
    assert api.asked[-1][3][-1] == {"op": "remove", "path": "/metadata/finalizers"}


async def test_an_unchanged_finalizer_costs_no_request(client: KubeClient, api: FakeApiServer) -> None:
    charts = ManagedCharts(client)
    await charts.add_finalizer(chart(finalizers=[FINALIZER]))
    await charts.remove_finalizer(chart(finalizers=["theirs"]))
    assert api.asked == []


async def test_a_finalizer_of_a_deleted_object_is_not_an_error(client: KubeClient, api: FakeApiServer) -> None:
    await ManagedCharts(client).remove_finalizer(chart(finalizers=[FINALIZER]))
    assert api.asked[-1][:2] == ("PATCH", CHART)


@pytest.mark.parametrize(
    ("refused", "now"),
    [
        (404, None),
        (422, None),
        (422, body(uid="u2")),
        (422, body(finalizers=["theirs"], deletionTimestamp="2026-11-22T20:50:00Z")),
    ],
)
async def test_a_finalizer_that_is_too_late_returns_false(
    client: KubeClient, api: FakeApiServer, refused: int, now: dict[str, Any] | None
) -> None:
    """Deleted, replaced, or being deleted: a release that is installed for such an object would never be removed."""
    api.answers["PATCH", CHART] = (refused, refusal("no", refused))
    if now is not None:
        api.answers["GET", CHART] = (200, now)
    assert await ManagedCharts(client).add_finalizer(chart()) is False


async def test_an_added_finalizer_returns_true(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["PATCH", CHART] = (200, body(finalizers=[FINALIZER]))
    assert await ManagedCharts(client).add_finalizer(chart()) is True


# ---- Events


async def test_an_event_names_its_resource_and_is_shortened(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["POST", EVENTS] = (201, {})
    await Events(client).post(chart(), type="Warning", reason="ChartNotFound", message="x" * 5000)
    event = api.asked[-1][3]
    assert event["involvedObject"]["uid"] == "u1"
    assert (event["type"], event["reason"], len(event["message"])) == ("Warning", "ChartNotFound", MESSAGE_LENGTH)
    assert event["message"].endswith("…")


async def test_an_event_of_a_long_name_with_dots_has_a_valid_name(client: KubeClient, api: FakeApiServer) -> None:
    """Each part of a name between dots begins and ends with a letter or digit."""
    api.answers["POST", EVENTS] = (201, {})
    await Events(client).post(chart(name="a" * 49 + ".b"), type="Normal", reason="Deployed", message="x")
    assert api.asked[-1][3]["metadata"]["generateName"] == "a" * 49 + "-"


async def test_a_refused_event_is_only_logged(
    client: KubeClient, api: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers["POST", EVENTS] = (403, refusal("because it is being terminated", 403))
    await Events(client).post(chart(), type="Normal", reason="Deployed", message="done")
    assert "could not write Event Deployed of ManagedChart apps/web" in caplog.text


async def test_a_storm_of_failures_is_ten_events(client: KubeClient, api: FakeApiServer) -> None:
    """S21: each attempt fails with another text."""
    api.answers["POST", EVENTS] = (201, {})
    clock = Clock()
    events = Events(client, EventLimits(clock))
    for number in range(500):
        await events.post(chart(), type="Warning", reason="TemplateError", message=f"random text {number}")
    await events.post(chart(), type="Warning", reason="TemplateError", message="Gave up", keep=True)
    clock.now += 600
    await events.post(chart(), type="Warning", reason="TemplateError", message="x" * 5000)
    posted = [body["message"] for method, path, _, body in api.asked if (method, path) == ("POST", EVENTS)]
    assert len(posted) == 12
    assert posted[10] == "Gave up (490 similar Events were left out)"
    assert len(posted[11]) == MESSAGE_LENGTH


class Clock:
    """A time that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


# ---- Namespaces


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((200, {"status": {"phase": "Active"}}), NamespaceState.ACTIVE),
        ((200, {"status": {"phase": "Terminating"}}), NamespaceState.TERMINATING),
        ((404, refusal("not found", 404)), NamespaceState.MISSING),
    ],
)
async def test_the_state_of_a_namespace(
    client: KubeClient, api: FakeApiServer, answer: tuple[int, Any], state: NamespaceState
) -> None:
    api.answers["GET", "/api/v1/namespaces/apps"] = answer
    assert await Namespaces(client).state("apps") is state


async def test_an_unreadable_namespace_is_not_missing(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", "/api/v1/namespaces/apps"] = (403, refusal("cannot get resource", 403))
    with pytest.raises(KubeError):
        await Namespaces(client).state("apps")


# ---- objects of any kind

DEPLOYMENTS = {"resources": [
    {"name": "deployments", "kind": "Deployment", "namespaced": True},
    {"name": "deployments/status", "kind": "Deployment", "namespaced": True},
]}  # fmt: skip
WEB = ObjectRef("apps/v1", "Deployment", "web", "apps")
WEB_PATH = "/apis/apps/v1/namespaces/apps/deployments/web"


async def test_kinds_are_looked_up_once(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    api.answers["GET", WEB_PATH] = (200, {"kind": "Deployment"})
    objects = Objects(client)
    assert await objects.get(WEB) == {"kind": "Deployment"}
    assert await objects.get(WEB) == {"kind": "Deployment"}
    assert [path for _, path, _, _ in api.asked].count("/apis/apps/v1") == 1


async def test_a_missing_kind_is_an_error_a_missing_object_none(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    objects = Objects(client)
    assert await objects.get(WEB) is None
    assert await objects.merge_patch(WEB, {}) is None
    assert await objects.delete(WEB) is False
    with pytest.raises(KubeError) as refused:
        await objects.get(ObjectRef("example.org/v1", "Widget", "w"))
    assert refused.value.reason is Reason.KIND_MISSING
    assert refused.value.message == "The API server does not serve kind Widget of example.org/v1"
    assert refused.value.transient, "the definition may be on its way"


async def test_fields_are_written_under_the_operators_name(client: KubeClient, api: FakeApiServer) -> None:
    """It distinguishes an adopted object from one that helm created."""
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    api.answers["PATCH", WEB_PATH] = (200, {"kind": "Deployment"})
    await Objects(client).merge_patch(WEB, {"metadata": {}})
    assert api.asked[-1][2] == {"fieldManager": "managedchart-operator"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("victim?dryRun=None", "/apis/apps/v1/namespaces/apps/deployments/victim%3FdryRun=None"),
        ("a#b", "/apis/apps/v1/namespaces/apps/deployments/a%23b"),
        ("system:node", "/apis/apps/v1/namespaces/apps/deployments/system%3Anode"),
        ("a b\u00e9", "/apis/apps/v1/namespaces/apps/deployments/a%20b%C3%A9"),
    ],
)
async def test_a_name_stays_within_its_path_segment(
    client: KubeClient, api: FakeApiServer, name: str, path: str
) -> None:
    """It comes from a chart and must never become a query, by which a dry run would be a real one."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response({"kind": "Deployment"})

    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    for method in ("GET", "PATCH", "DELETE"):
        api.answers[method, f"/apis/apps/v1/namespaces/apps/deployments/{name}"] = answer
    objects, ref = Objects(client), ObjectRef("apps/v1", "Deployment", name, "apps")
    assert await objects.get(ref)
    assert await objects.delete(ref)
    assert await objects.merge_patch(ref, {})
    await objects.try_apply(ref, {})
    assert [unquote(each.split("?")[0]) for each in asked] == [unquote(path)] * 4
    assert asked[3].endswith("?dryRun=All&fieldManager=helm&fieldValidation=Strict&force=true")


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("../../kube-system/secrets/cloud", "apps"),
        ("a/b", "apps"),
        ("a%2Fb", "apps"),
        ("..", "apps"),
        (".", "apps"),
        ("web", ".."),
        ("web", "../../secrets"),
    ],
)
async def test_an_impossible_name_costs_no_request(
    client: KubeClient, api: FakeApiServer, name: str, namespace: str
) -> None:
    """helm's client refuses it too. No such object can exist, so it does not block a removal."""
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    objects, ref = Objects(client), ObjectRef("apps/v1", "Deployment", name, namespace)
    assert await objects.get(ref) is None
    assert await objects.delete(ref) is False
    assert await objects.merge_patch(ref, {}) is None
    with pytest.raises(KubeError, match=r"invalid (resource name|namespace)") as refused:
        await objects.try_apply(ref, {})
    assert (refused.value.reason, refused.value.transient) == (Reason.OBJECT_INVALID, False)
    if namespace != "apps":
        with pytest.raises(KubeError, match="invalid namespace"):
            await objects.list("apps/v1", "Deployment", namespace=namespace)
    assert [path for _, path, _, _ in api.asked] == ["/apis/apps/v1"]


async def test_an_object_without_a_name_is_not_a_collection(client: KubeClient, api: FakeApiServer) -> None:
    """DELETE on the path of a collection deletes all that is in it."""
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    objects, ref = Objects(client), ObjectRef("apps/v1", "Deployment", "", "apps")
    assert await objects.delete(ref) is False
    assert await objects.get(ref) is None
    assert await objects.merge_patch(ref, {}) is None
    assert [path for _, path, _, _ in api.asked] == ["/apis/apps/v1"]


@pytest.mark.parametrize("version", ["../../version", "..", "a/b/c/..", ""])
async def test_an_impossible_version_is_a_missing_kind(client: KubeClient, api: FakeApiServer, version: str) -> None:
    with pytest.raises(KubeError) as refused:
        await Objects(client).namespaced(version, "Deployment")
    assert refused.value.reason is Reason.KIND_MISSING
    assert api.asked == []


async def test_objects_are_listed_by_their_metadata(client: KubeClient, api: FakeApiServer) -> None:
    """By their metadata if that is enough: a CustomResourceDefinition may have a MiB."""
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    api.answers["GET", "/apis/apps/v1/namespaces/apps/deployments"] = (200, {"items": [body()]})
    fields = "metadata.name=web"
    found = await Objects(client).list("apps/v1", "Deployment", namespace="apps", fields=fields, metadata_only=True)
    assert found == [body()]
    assert api.asked[-1][2] == {"fieldSelector": fields, "limit": "500"}
    assert "as=PartialObjectMetadataList;" in api.headers[-1]["Accept"]


async def test_a_list_of_a_removed_kind_is_a_missing_kind(client: KubeClient, api: FakeApiServer) -> None:
    """It is remembered from before; a rollback once failed over the list of a kind that was removed meanwhile."""
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    gone = refusal("the server could not find the requested resource", 404)
    api.answers["GET", "/apis/apps/v1/namespaces/apps/deployments"] = (404, gone)
    objects = Objects(client)
    with pytest.raises(KubeError) as missing:
        await objects.list("apps/v1", "Deployment", namespace="apps")
    assert missing.value.reason is Reason.KIND_MISSING
    api.answers["GET", "/apis/apps/v1"] = (200, {"resources": []})
    with pytest.raises(KubeError):
        await objects.namespaced("apps/v1", "Deployment")


async def test_a_dry_run_forces_conflicts_as_helm_does(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    api.answers["PATCH", WEB_PATH] = (200, {})
    await Objects(client).try_apply(WEB, {"kind": "Deployment"})
    query = {"dryRun": "All", "fieldManager": "helm", "fieldValidation": "Strict", "force": "true"}
    assert api.asked[-1][2] == query


async def test_a_kind_that_is_installed_later_is_found(client: KubeClient, api: FakeApiServer) -> None:
    objects = Objects(client)
    with pytest.raises(KubeError):
        await objects.namespaced("apps/v1", "Deployment")
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    assert await objects.namespaced("apps/v1", "Deployment") is True


@pytest.mark.parametrize(
    "answer", [refusal("the server could not find the requested resource", 404), "404 page not found\n"]
)
async def test_a_kind_that_is_removed_later_is_looked_up_again(
    client: KubeClient, api: FakeApiServer, answer: Any
) -> None:
    """A CustomResourceDefinition may be deleted at any time; the 404 is then about the path, not about the object."""
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    objects = Objects(client)
    assert await objects.get(WEB) is None
    assert await objects.namespaced("apps/v1", "Deployment") is True
    api.answers["GET", WEB_PATH] = api.answers["DELETE", WEB_PATH] = (404, answer)
    del api.answers["GET", "/apis/apps/v1"]
    assert await objects.get(WEB) is None
    with pytest.raises(KubeError) as refused:
        await objects.namespaced("apps/v1", "Deployment")
    assert refused.value.reason is Reason.KIND_MISSING


GROUP = {
    "versions": [{"groupVersion": f"x.example.com/{version}"} for version in ("v1alpha1", "v1", "v2")],
    "preferredVersion": {"groupVersion": "x.example.com/v2"},
}
WIDGETS = {"resources": [{"name": "widgets", "kind": "Widget", "namespaced": True}]}
GADGETS = {"resources": [{"name": "gadgets", "kind": "Gadget", "namespaced": True}]}


@pytest.mark.parametrize(
    ("served", "found"),
    [
        ({"v1beta1": WIDGETS, "v2": WIDGETS}, "x.example.com/v1beta1"),
        ({"v1beta1": GADGETS, "v1": WIDGETS, "v2": WIDGETS}, "x.example.com/v2"),
        ({"v1": WIDGETS, "v2": GADGETS}, "x.example.com/v1"),
        ({"v1beta1": GADGETS, "v2": GADGETS}, None),
        ({}, None),
    ],
)
async def test_a_kind_is_found_under_another_version_of_its_group(
    client: KubeClient, api: FakeApiServer, served: dict[str, Any], found: str | None
) -> None:
    api.answers["GET", "/apis/x.example.com/v1beta1"] = (200, WIDGETS)
    objects = Objects(client)
    assert await objects.namespaced("x.example.com/v1beta1", "Widget") is True
    api.answers = {("GET", f"/apis/x.example.com/{version}"): (200, kinds) for version, kinds in served.items()}
    if served:
        api.answers["GET", "/apis/x.example.com"] = (200, GROUP)
    assert await objects.served_version("x.example.com/v1beta1", "Widget") == found, "what is remembered does not count"
    if found is None:
        with pytest.raises(KubeError):
            await objects.namespaced("x.example.com/v1beta1", "Widget")


async def test_a_moved_kind_is_found_in_its_new_group(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", "/apis/apps"] = (200, {"versions": [{"groupVersion": "apps/v1"}]})
    api.answers["GET", "/apis/apps/v1"] = (200, DEPLOYMENTS)
    assert await Objects(client).served_version("extensions/v1beta1", "Deployment") == "apps/v1"
    assert await Objects(client).served_version("extensions/v1beta1", "Widget") is None
    assert await Objects(client).served_version("v1", "Widget") is None


@pytest.mark.parametrize("down", ["/apis/x.example.com/v1beta1", "/apis/x.example.com", "/apis/x.example.com/v1"])
async def test_an_unavailable_api_is_not_a_missing_kind(client: KubeClient, api: FakeApiServer, down: str) -> None:
    """An APIService without endpoints: its objects exist, so they must not be treated as deleted."""
    api.answers["GET", "/apis/x.example.com"] = (200, GROUP)
    api.answers["GET", down] = (503, "service unavailable")
    with pytest.raises(KubeError) as refused:
        await Objects(client).served_version("x.example.com/v1beta1", "Widget")
    assert refused.value.reason is Reason.API_UNAVAILABLE


# ---- release Secrets and logs


async def test_releases_are_listed_by_metadata_only(client: KubeClient, api: FakeApiServer) -> None:
    """A release Secret has up to 1 MiB, and values in it."""
    path = "/api/v1/namespaces/apps/secrets"
    many = {f"a{number}": "" for number in range(100)}
    labels = {"managedchart.dev/digest": "d", "version": "1", **many}
    listed = {"items": [{"metadata": {"name": "sh.helm.release.v1.web.v1", "labels": labels, "annotations": many}}]}
    api.answers["GET", path] = (200, listed)
    found = await ReleaseSecrets(client).list_metadata(namespace="apps", release="web")
    kept = {"managedchart.dev/digest": "d", "version": "1"}
    assert found == [{"name": "sh.helm.release.v1.web.v1", "labels": kept}], "anybody may add some hundred thousand"
    assert api.asked[-1][2] == {"labelSelector": "owner=helm,name=web", "limit": "500"}
    assert "PartialObjectMetadataList" in api.headers[-1]["Accept"]


async def test_a_changed_secret_is_not_rewritten(client: KubeClient, api: FakeApiServer) -> None:
    path = "/api/v1/namespaces/apps/secrets/s"
    api.answers["PATCH", path] = (409, refusal("the object has been modified", 409))
    secret = {"metadata": {"namespace": "apps", "name": "s", "resourceVersion": "3"}}
    with pytest.raises(KubeError) as refused:
        await ReleaseSecrets(client).rewrite(secret, release="data", labels={"status": "failed"})
    assert refused.value.status == 409
    assert api.asked[-1][3]["metadata"] == {"resourceVersion": "3", "labels": {"status": "failed"}}


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ((200, "last words\n"), "last words\n"),
        ((200, "x" * 50_000), "x" * RAW_BYTES),
        ((200, " \n"), None),
        ((400, refusal("container is waiting to start", 400)), None),
        ((404, refusal("not found", 404)), None),
    ],
)
async def test_a_log_is_its_end_or_none(
    client: KubeClient, api: FakeApiServer, answer: tuple[int, Any], kept: str | None
) -> None:
    api.answers["GET", "/api/v1/namespaces/apps/pods/web-1/log"] = answer
    assert await Logs(client).tail(namespace="apps", pod="web-1", container="web", previous=True) == kept
    assert api.asked[-1][2]["previous"] == "true"
