"""Waiting for objects: nothing stale counts, watches are shared, and what cannot heal is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.diagnosis import ready_wait
from managedchart_operator.diagnosis.ready_wait import ReadyWaits, waits_for
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason

APPS = "/apis/apps/v1"
PATH = f"{APPS}/namespaces/apps/deployments"
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
KINDS = {"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]}


def deployment(version: int, *, ready: bool, name: str = "web") -> dict[str, Any]:
    """A Deployment of one pod as the API server has it."""
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    conditions = [{"type": "Available", "status": "True"}]
    return {
        "metadata": {"name": name, "resourceVersion": str(version), "generation": 1},
        "spec": {"replicas": 1},
        "status": {**dict.fromkeys(names, 1), "conditions": conditions} if ready else {},
    }


class Deployments:
    """The collection: streams what `tell` is given; lists what it was given where no watch is known any more."""

    def __init__(self, api: FakeApiServer, *listed: dict[str, Any], expired: int = 0) -> None:
        self.watches = 0
        self.expired = expired
        """Up to which resourceVersion the API server has forgotten what has changed."""
        self.watched = asyncio.Event()
        self._listed = listed
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        api.answers["GET", APPS] = (200, KINDS)
        api.answers["GET", PATH] = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": list(self._listed)})
        if int(request.query["resourceVersion"]) <= self.expired:
            return web.json_response(refusal("too old resource version", 410), status=410)
        self.watches += 1
        response = web.StreamResponse()
        await response.prepare(request)
        self.watched.set()
        while True:
            await response.write(json.dumps(await self._events.get()).encode() + b"\n")

    def tell(self, kind: str, body: dict[str, Any]) -> None:
        self._events.put_nowait({"type": kind, "object": body})


@pytest.fixture
async def waits(client: KubeClient) -> AsyncIterator[ReadyWaits]:
    waits = ReadyWaits(client, Objects(client), at_once=10)
    yield waits
    await waits.close()


async def test_what_is_ready_at_once_costs_one_look(api: FakeApiServer, waits: ReadyWaits) -> None:
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=True))
    assert await waits.of([WEB], namespace="apps").within(5) == ""
    assert [path for _, path, _, _ in api.asked] == [APPS, f"{PATH}/web"]
    assert collection.watches == 0


async def test_no_objects_cost_nothing(api: FakeApiServer, waits: ReadyWaits) -> None:
    assert await waits.of([], namespace="apps").within(5) == ""
    assert api.asked == []


async def test_what_is_not_ready_yet_is_watched_from_then_on(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Without a list: a namespace may hold thousands of others."""
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    waiting = asyncio.create_task(waits.of([WEB], namespace="apps").within(5))
    await collection.watched.wait()
    collection.tell("MODIFIED", deployment(11, ready=False))
    collection.tell("MODIFIED", deployment(12, ready=True))
    assert await waiting == ""
    assert [path for _, path, _, _ in api.asked] == [APPS, f"{PATH}/web", PATH]
    assert api.asked[-1][2]["resourceVersion"] == "5"


async def test_where_the_api_server_has_forgotten_since_when_it_is_listed(
    api: FakeApiServer, waits: ReadyWaits
) -> None:
    """A Deployment that is not ready and that helm has not changed may be as it is for hours."""
    Deployments(api, deployment(6, ready=True), expired=5)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    assert await waits.of([WEB], namespace="apps").within(5) == ""
    asked = [query.get("resourceVersion", "all") for _, path, query, _ in api.asked if path == PATH]
    assert asked[:2] == ["5", "all"]


async def test_what_may_have_changed_before_a_shared_watch_began_is_read_again(
    api: FakeApiServer, waits: ReadyWaits
) -> None:
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/other"] = (200, deployment(20, ready=False, name="other"))
    other = {**WEB, "metadata": {"name": "other"}}
    first = asyncio.create_task(waits.of([other], namespace="apps").within(5))
    await collection.watched.wait()
    answers = [deployment(15, ready=False), deployment(18, ready=True)]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(answers.pop(0))

    api.answers["GET", f"{PATH}/web"] = answer
    assert await waits.of([WEB], namespace="apps").within(5) == ""
    assert not first.done()
    collection.tell("MODIFIED", deployment(21, ready=True, name="other"))
    assert await first == ""


async def test_waits_share_a_watch_and_what_it_showed_before_an_upgrade_does_not_count(
    api: FakeApiServer, waits: ReadyWaits
) -> None:
    """The watch lingers and still knows the Deployment as it was, ready; helm has changed it since."""
    collection = Deployments(api)
    other = {**WEB, "metadata": {"name": "other"}}
    api.answers["GET", f"{PATH}/other"] = (200, deployment(6, ready=False, name="other"))
    api.answers["GET", f"{PATH}/web"] = (200, deployment(20, ready=False))
    first = asyncio.create_task(waits.of([other], namespace="apps").within(5))
    await collection.watched.wait()
    second = asyncio.create_task(waits.of([WEB], namespace="apps").within(5))
    collection.tell("MODIFIED", deployment(21, ready=True, name="other"))
    assert await first == ""
    assert not second.done()
    collection.tell("MODIFIED", deployment(19, ready=True))
    collection.tell("MODIFIED", deployment(22, ready=True))
    assert await second == ""
    assert collection.watches == 1


async def test_what_does_not_become_ready_in_time_is_told_in_helms_words(api: FakeApiServer, waits: ReadyWaits) -> None:
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    assert await waits.of([WEB], namespace="apps").within(0.2) == (
        "resource Deployment/apps/web not ready. status: InProgress, message: Replicas: 0/1\ncontext deadline exceeded"
    )


async def test_what_has_failed_for_good_is_not_waited_for(api: FakeApiServer, waits: ReadyWaits) -> None:
    Deployments(api)
    failed = deployment(5, ready=False)
    failed["status"] = {
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    }
    api.answers["GET", f"{PATH}/web"] = (200, failed)
    text = await waits.of([WEB], namespace="apps").within(5)
    assert text == "resource Deployment/apps/web not ready. status: Failed, message: Progress deadline exceeded"


async def test_what_is_removed_meanwhile_is_missing(api: FakeApiServer, waits: ReadyWaits) -> None:
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(6, ready=False))
    waiting = asyncio.create_task(waits.of([WEB], namespace="apps").within(0.5))
    await collection.watched.wait()
    collection.tell("DELETED", deployment(11, ready=False))
    assert "status: NotFound, message: Resource not found" in await waiting


async def test_many_objects_of_one_kind_cost_one_list(api: FakeApiServer, waits: ReadyWaits) -> None:
    names = [f"web-{number}" for number in range(5)]
    Deployments(api, *(deployment(6, ready=True, name=name) for name in names))
    rendered = [{**WEB, "metadata": {"name": name}} for name in names]
    assert await waits.of(rendered, namespace="apps").within(5) == ""
    assert [path for _, path, _, _ in api.asked] == [APPS, PATH]


async def test_a_cluster_wide_object_is_watched_alone(api: FakeApiServer, waits: ReadyWaits) -> None:
    """All definitions of a cluster are many MiB."""
    root = "/apis/apiextensions.k8s.io/v1"
    path = f"{root}/customresourcedefinitions"
    kinds = [{"name": "customresourcedefinitions", "kind": "CustomResourceDefinition", "namespaced": False}]
    found = {"metadata": {"name": "a.example.com", "resourceVersion": "5"}}
    api.answers["GET", root] = (200, {"resources": kinds})
    api.answers["GET", f"{path}/a.example.com"] = (200, found)
    established = {**found, "status": {"conditions": [{"type": "Established", "status": "True"}]}}

    async def watch(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps({"type": "MODIFIED", "object": established}) + "\n")

    api.answers["GET", path] = watch
    rendered = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    wait = waits.of([{**rendered, "metadata": {"name": "a.example.com"}}], namespace="apps")
    assert await wait.within(5) == ""
    queries = [query for _, asked, query, _ in api.asked if asked == path]
    assert queries[0]["fieldSelector"] == "metadata.name=a.example.com"


async def test_an_api_server_that_does_not_answer_for_a_moment_ends_no_wait(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_wait, "_RETRY_SECONDS", 0.01)
    Deployments(api)
    answers = [(503, refusal("down", 503)), (403, refusal("not yet", 403)), (200, deployment(5, ready=True))]

    async def answer(_: web.Request) -> web.Response:
        status, body = answers.pop(0)
        return web.json_response(body, status=status)

    api.answers["GET", f"{PATH}/web"] = answer
    assert await waits.of([WEB], namespace="apps").within(5) == ""


async def test_a_right_that_is_missing_ends_the_wait(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_wait, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(ready_wait, "_FORBIDDEN_SECONDS", 0.05)
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (403, refusal('deployments is forbidden: User "x" cannot get', 403))
    with pytest.raises(KubeError) as refused:
        await waits.of([WEB], namespace="apps").within(5)
    assert refused.value.reason is Reason.FORBIDDEN


async def test_a_wait_that_has_failed_asks_for_nothing_more(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here another object, about which the API server cannot tell yet; it would be asked for ever."""
    monkeypatch.setattr(ready_wait, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(ready_wait, "_FORBIDDEN_SECONDS", 0.03)
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (403, refusal('deployments is forbidden: User "x" cannot get', 403))
    api.answers["GET", f"{PATH}/other"] = (503, refusal("down", 503))
    other = {**WEB, "metadata": {"name": "other"}}
    with pytest.raises(KubeError):
        await waits.of([WEB, other], namespace="apps").within(5)
    asked = len(api.asked)
    await asyncio.sleep(0.1)  # ten times as long as between two tries
    assert len(api.asked) == asked


@pytest.mark.parametrize(("mebibytes", "waits"), [(-100, 16), (162, 162), (2722, 1000)])
def test_as_many_releases_are_waited_for_as_the_memory_holds(mebibytes: int, waits: int) -> None:
    assert waits_for(mebibytes * 1024 * 1024) == waits
