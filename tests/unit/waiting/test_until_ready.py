"""Waiting for objects: nothing stale counts, watches are shared, and a wait that cannot succeed ends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import Answer, FakeApiServer, refusal
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.helm.errors.classify import classify
from managedchart_operator.helm.errors.unready import Unready, not_ready
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.objects import Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.waiting import ended_jobs, until_ready
from managedchart_operator.waiting.kstatus import State
from managedchart_operator.waiting.until_ready import ReadyWaits, waits_for

APPS = "/apis/apps/v1"
PATH = f"{APPS}/namespaces/apps/deployments"
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
KINDS = {"resources": [{"name": "deployments", "kind": "Deployment", "namespaced": True}]}


def one_by_one(answers: list[tuple[int, dict[str, Any]]]) -> Answer:
    """The API server gives these answers, each once."""

    async def answer(_: web.Request) -> web.Response:
        status, body = answers.pop(0)
        return web.json_response(body, status=status)

    return answer


def deployment(version: int, *, ready: bool, name: str = "web") -> dict[str, Any]:
    """A Deployment of one pod as the API server returns it."""
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    conditions = [{"type": "Available", "status": "True"}]
    return {
        "metadata": {"name": name, "resourceVersion": str(version), "generation": 1},
        "spec": {"replicas": 1},
        "status": {**dict.fromkeys(names, 1), "conditions": conditions} if ready else {},
    }


class Deployments:
    """The collection: streams what `tell` is given; lists that if a watch has expired."""

    def __init__(self, api: FakeApiServer, *listed: dict[str, Any], expired: int = 0) -> None:
        self.watches = 0
        self.expired = expired
        """The resourceVersion up to which the API server no longer remembers changes."""
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


def states(found: HelmError | None) -> list[tuple[str, State]]:
    """Name and state of the objects that are not ready."""
    lines = re.findall(r"/([^/\s]+) not ready. status: (\w+)", found.text if found else "")
    return [(name, State(state)) for name, state in lines]


@pytest.fixture
async def waits(client: KubeClient) -> AsyncIterator[ReadyWaits]:
    waits = ReadyWaits(client, Objects(client), places=FairSlots(10, share=1.0))
    yield waits
    await waits.close()


async def test_an_object_ready_at_once_costs_one_read(api: FakeApiServer, waits: ReadyWaits) -> None:
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=True))
    assert await waits.of([WEB], namespace="apps").within(5) is None
    assert [path for _, path, _, _ in api.asked] == [APPS, f"{PATH}/web"]
    assert collection.watches == 0


async def test_no_objects_cost_nothing(api: FakeApiServer, waits: ReadyWaits) -> None:
    assert await waits.of([], namespace="apps").within(5) is None
    assert api.asked == []


async def test_an_unready_object_is_watched_without_a_list(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Without a list: a namespace may hold thousands of others."""
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    waiting = asyncio.create_task(waits.of([WEB], namespace="apps").within(5))
    await collection.watched.wait()
    collection.tell("MODIFIED", deployment(11, ready=False))
    collection.tell("MODIFIED", deployment(12, ready=True))
    assert await waiting is None
    assert [path for _, path, _, _ in api.asked] == [APPS, f"{PATH}/web", PATH]
    assert api.asked[-1][2]["resourceVersion"] == "5"


async def test_an_expired_watch_lists_the_collection(api: FakeApiServer, waits: ReadyWaits) -> None:
    """A Deployment that is not ready and that helm has not changed may stay unchanged for hours."""
    Deployments(api, deployment(6, ready=True), expired=5)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    assert await waits.of([WEB], namespace="apps").within(5) is None
    asked = [query.get("resourceVersion", "all") for _, path, query, _ in api.asked if path == PATH]
    assert asked[:2] == ["5", "all"]


async def test_objects_older_than_a_shared_watch_are_reread(api: FakeApiServer, waits: ReadyWaits) -> None:
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/other"] = (200, deployment(20, ready=False, name="other"))
    other = {**WEB, "metadata": {"name": "other"}}
    first = asyncio.create_task(waits.of([other], namespace="apps").within(5))
    await collection.watched.wait()
    answers = [deployment(15, ready=False), deployment(18, ready=True)]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(answers.pop(0))

    api.answers["GET", f"{PATH}/web"] = answer
    assert await waits.of([WEB], namespace="apps").within(5) is None
    assert not first.done()
    collection.tell("MODIFIED", deployment(21, ready=True, name="other"))
    assert await first is None


async def test_a_shared_watch_shows_nothing_from_before_the_upgrade(api: FakeApiServer, waits: ReadyWaits) -> None:
    """The watch lingers and still knows the Deployment as it was, ready; helm has changed it since."""
    collection = Deployments(api)
    other = {**WEB, "metadata": {"name": "other"}}
    api.answers["GET", f"{PATH}/other"] = (200, deployment(6, ready=False, name="other"))
    api.answers["GET", f"{PATH}/web"] = (200, deployment(20, ready=False))
    first = asyncio.create_task(waits.of([other], namespace="apps").within(5))
    await collection.watched.wait()
    second = asyncio.create_task(waits.of([WEB], namespace="apps").within(5))
    collection.tell("MODIFIED", deployment(21, ready=True, name="other"))
    assert await first is None
    assert not second.done()
    collection.tell("MODIFIED", deployment(19, ready=True))
    collection.tell("MODIFIED", deployment(22, ready=True))
    assert await second is None
    assert collection.watches == 1


TIMED_OUT = "context deadline exceeded"


def is_about(found: HelmError | None, kind: str, name: str, state: State, message: str, *, timed_out: bool) -> bool:
    """Whether an error is about this object alone."""
    unready = Unready(kind=kind, namespace="apps", name=name, status=state, message=message)
    return found is not None and vars(found) == vars(not_ready([unready], timed_out=timed_out))


async def test_an_object_not_ready_in_time_is_returned(api: FakeApiServer, waits: ReadyWaits) -> None:
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    found = await waits.of([WEB], namespace="apps").within(0.2)
    assert is_about(found, "Deployment", "web", State.IN_PROGRESS, "Replicas: 0/1", timed_out=True)


async def test_a_kind_that_is_never_served_times_out(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server may serve a new kind a moment after helm has applied an object of it, so it is asked again."""
    monkeypatch.setattr(until_ready, "_RETRY_SECONDS", 0.01)
    found = await waits.of([WEB], namespace="apps").within(0.2)
    assert is_about(found, "Deployment", "web", State.IN_PROGRESS, "Not read yet", timed_out=True)
    assert [path for _, path, _, _ in api.asked].count(APPS) > 2


async def test_both_waits_end_with_the_same_error(api: FakeApiServer, waits: ReadyWaits) -> None:
    """The facts of the operator's wait match the text of helm's."""
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    found = await waits.of([WEB], namespace="apps").within(0.2)
    text = f"resource Deployment/apps/web not ready. status: InProgress, message: Replicas: 0/1\n{TIMED_OUT}"
    of_helm = classify(f"Error: UPGRADE FAILED: {text}", exit_code=1, command="upgrade")
    assert vars(found) == vars(of_helm)


async def test_a_failed_object_ends_its_wait(api: FakeApiServer, waits: ReadyWaits) -> None:
    Deployments(api)
    failed = deployment(5, ready=False)
    failed["status"] = {
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    }
    api.answers["GET", f"{PATH}/web"] = (200, failed)
    found = await waits.of([WEB], namespace="apps").within(5)
    assert is_about(found, "Deployment", "web", State.FAILED, "Progress deadline exceeded", timed_out=False)


async def test_an_object_deleted_meanwhile_is_not_found(api: FakeApiServer, waits: ReadyWaits) -> None:
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(6, ready=False))
    waiting = asyncio.create_task(waits.of([WEB], namespace="apps").within(0.5))
    await collection.watched.wait()
    collection.tell("DELETED", deployment(11, ready=False))
    assert is_about(await waiting, "Deployment", "web", State.NOT_FOUND, "Resource not found", timed_out=True)


async def test_many_objects_of_one_kind_cost_one_list(api: FakeApiServer, waits: ReadyWaits) -> None:
    names = [f"web-{number}" for number in range(5)]
    Deployments(api, *(deployment(6, ready=True, name=name) for name in names))
    rendered = [{**WEB, "metadata": {"name": name}} for name in names]
    assert await waits.of(rendered, namespace="apps").within(5) is None
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
    assert await wait.within(5) is None
    queries = [query for _, asked, query, _ in api.asked if asked == path]
    assert queries[0]["fieldSelector"] == "metadata.name=a.example.com"


async def test_a_short_outage_does_not_end_a_wait(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until_ready, "_RETRY_SECONDS", 0.01)
    Deployments(api)
    answers = [(503, refusal("down", 503)), (403, refusal("not yet", 403)), (200, deployment(5, ready=True))]
    api.answers["GET", f"{PATH}/web"] = one_by_one(answers)
    assert await waits.of([WEB], namespace="apps").within(5) is None


async def test_a_missing_permission_ends_the_wait(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until_ready, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(until_ready, "_FORBIDDEN_SECONDS", 0.05)
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (403, refusal('deployments is forbidden: User "x" cannot get', 403))
    with pytest.raises(KubeError) as refused:
        await waits.of([WEB], namespace="apps").within(5)
    assert refused.value.reason is Reason.FORBIDDEN


async def test_a_refusal_after_an_outage_does_not_end_the_wait(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the outage was: an API server that has just started refuses everybody for a moment."""
    monkeypatch.setattr(until_ready, "_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(until_ready, "_FORBIDDEN_SECONDS", 1.0)
    Deployments(api)
    refused = (403, refusal('deployments is forbidden: User "x" cannot get', 403))
    answers = [*[(503, refusal("down", 503))] * 12, refused, (200, deployment(5, ready=True))]
    api.answers["GET", f"{PATH}/web"] = one_by_one(answers)
    assert await waits.of([WEB], namespace="apps").within(5) is None


async def test_a_failed_wait_sends_no_more_requests(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here about another object, which the API server cannot return yet; the requests would never end."""
    monkeypatch.setattr(until_ready, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(until_ready, "_FORBIDDEN_SECONDS", 0.03)
    Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (403, refusal('deployments is forbidden: User "x" cannot get', 403))
    api.answers["GET", f"{PATH}/other"] = (503, refusal("down", 503))
    other = {**WEB, "metadata": {"name": "other"}}
    with pytest.raises(KubeError):
        await waits.of([WEB, other], namespace="apps").within(5)
    asked = len(api.asked)
    await asyncio.sleep(0.1)  # ten times as long as between two tries
    assert len(api.asked) == asked


async def test_a_ready_object_stays_ready_when_deleted(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Another object is still waited for."""
    collection = Deployments(api)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    api.answers["GET", f"{PATH}/other"] = (200, deployment(6, ready=False, name="other"))
    wait = waits.of([WEB, {**WEB, "metadata": {"name": "other"}}], namespace="apps")
    waiting = asyncio.create_task(wait.within(5))
    await collection.watched.wait()
    collection.tell("MODIFIED", deployment(11, ready=True))
    while len(wait.unready) > 1:  # noqa: ASYNC110 -- nothing but the wait shows it
        await asyncio.sleep(0.01)
    going = deployment(12, ready=True)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    collection.tell("MODIFIED", going)
    collection.tell("DELETED", deployment(13, ready=True))
    collection.tell("MODIFIED", deployment(14, ready=True, name="other"))
    assert await waiting is None


async def test_an_object_missing_from_a_new_list_is_not_found(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Nothing else shows that it was deleted in between."""
    Deployments(api, expired=5)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
    found = await waits.of([WEB], namespace="apps").within(0.5)
    assert states(found) == [("web", State.NOT_FOUND)]


BATCH, CORE = "/apis/batch/v1", "/api/v1"
JOBS, EVENTS = f"{BATCH}/namespaces/apps/jobs", f"{CORE}/namespaces/apps/events"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(*, ttl: int | None = 0) -> dict[str, Any]:
    """A Job as a chart renders it."""
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": spec}


def seen_job(version: int, ended: str = "", *, deleting: bool = False) -> dict[str, Any]:
    """A Job as the API server returns it."""
    meta: dict[str, Any] = {"name": "migrate", "resourceVersion": str(version)}
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": meta, "status": {"conditions": [{"type": ended, "status": "True"}] if ended else []}}


def event(reason: str, message: str = "", *, at: datetime = NOW) -> dict[str, Any]:
    """An Event about the Job."""
    meta = {"uid": reason, "name": reason, "resourceVersion": "1"}
    return {"metadata": meta, "reason": reason, "message": message, "lastTimestamp": at.isoformat()}


class Cluster:
    """A Job and a Deployment that is not ready, each with a watch, and the Events of a namespace."""

    def __init__(self, api: FakeApiServer, *events: dict[str, Any]) -> None:
        self.jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.watched = asyncio.Event()
        self.deployments = Deployments(api)
        kinds = [{"name": "jobs", "kind": "Job", "namespaced": True}]
        core = [
            {"name": name, "kind": kind, "namespaced": True}
            for name, kind in (("events", "Event"), ("secrets", "Secret"))
        ]
        api.answers["GET", BATCH] = (200, {"resources": kinds})
        api.answers["GET", CORE] = (200, {"resources": core})
        api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=False))
        api.answers["GET", JOBS] = self._watch
        api.answers["GET", EVENTS] = self._events
        self._listed = events
        self.more: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": []})
        return await self._stream(request, self.jobs)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        assert request.query["fieldSelector"] == "involvedObject.kind=Job,involvedObject.name=migrate"
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": list(self._listed)})
        return await self._stream(request, self.more)

    async def _stream(self, request: web.Request, events: asyncio.Queue[dict[str, Any]]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.watched.set()
        while True:
            await response.write(json.dumps(await events.get()).encode() + b"\n")

    def tell(self, kind: str, body: dict[str, Any]) -> None:
        self.jobs.put_nowait({"type": kind, "object": body})


@pytest.mark.parametrize("changes", [["MODIFIED", "MODIFIED", "DELETED"], ["DELETED"]], ids=["each seen", "at once"])
async def test_a_job_deleted_by_its_ttl_has_finished(api: FakeApiServer, waits: ReadyWaits, changes: list[str]) -> None:
    """It may finish and be deleted before it is read again."""
    cluster = Cluster(api)
    api.answers["GET", f"{JOBS}/migrate"] = (200, seen_job(5))
    waiting = asyncio.create_task(waits.of([WEB, job()], namespace="apps").within(5))
    await cluster.watched.wait()
    for number, kind in enumerate(changes):
        cluster.tell(kind, seen_job(11 + number, "Complete", deleting=number > 0))
    await cluster.deployments.watched.wait()
    cluster.deployments.tell("MODIFIED", deployment(20, ready=True))
    assert await waiting is None


async def test_a_failed_job_ends_the_wait_at_once(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Nothing makes it ready any more, and its TTL deletes it with its pods; only the Job is named."""
    cluster = Cluster(api)
    api.answers["GET", f"{JOBS}/migrate"] = (200, seen_job(5))
    waiting = asyncio.create_task(waits.of([WEB, job()], namespace="apps").within(60))
    await cluster.watched.wait()
    cluster.tell("DELETED", seen_job(11, "Failed", deleting=True))
    found = await asyncio.wait_for(waiting, 5)
    assert states(found) == [("migrate", State.FAILED)]
    assert found
    assert TIMED_OUT not in found.text


async def test_without_ending_early_a_failed_job_ends_nothing(api: FakeApiServer, waits: ReadyWaits) -> None:
    """failFast: false."""
    Cluster(api)
    api.answers["GET", f"{JOBS}/migrate"] = (200, seen_job(5, "Failed"))
    found = await waits.of([WEB, job()], namespace="apps", ends_early=False).within(0.3)
    assert states(found) == [("web", State.IN_PROGRESS), ("migrate", State.FAILED)]
    assert found
    assert TIMED_OUT in found.text


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([event("SuccessfulCreate"), event("Completed")], ""),
        (
            [event("BackoffLimitExceeded", "Job has reached the\nspecified limit")],
            "BackoffLimitExceeded: Job has reached the",
        ),
        ([event("DeadlineExceeded")], "DeadlineExceeded"),
        ([event("BackoffLimitExceeded", at=NOW - timedelta(minutes=1)), event("Completed")], ""),
    ],
    ids=["succeeded", "failed", "too late", "failed in an earlier run"],
)
async def test_events_show_the_result_of_a_deleted_job(
    api: FakeApiServer, waits: ReadyWaits, events: list[dict[str, Any]], message: str
) -> None:
    Cluster(api, *events)
    found = await waits.of([job()], namespace="apps", since=NOW).within(5)
    assert states(found) == ([("migrate", State.FAILED)] if message else [])
    if found:
        assert f"message: Job Failed. {message}" in found.text
        assert "\n" not in found.text


async def test_an_event_a_moment_later_counts(api: FakeApiServer, waits: ReadyWaits) -> None:
    """It is not written together with the Job."""
    cluster = Cluster(api)
    waiting = asyncio.create_task(waits.of([job()], namespace="apps", since=NOW).within(5))
    await cluster.watched.wait()
    cluster.more.put_nowait({"type": "ADDED", "object": event("BackoffLimitExceeded")})
    assert states(await waiting) == [("migrate", State.FAILED)]


async def test_without_an_event_a_deleted_job_has_finished(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """helm has applied it, and its TTL deletes only a finished Job."""
    monkeypatch.setattr(ended_jobs, "_EVENT_SECONDS", 0.05)
    Cluster(api)
    assert await waits.of([job()], namespace="apps", since=NOW).within(5) is None


async def test_a_deleted_job_without_a_ttl_is_not_found(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Somebody has deleted it."""
    Cluster(api, event("Completed"))
    found = await waits.of([job(ttl=None)], namespace="apps", since=NOW).within(0.3)
    assert is_about(found, "Job", "migrate", State.NOT_FOUND, "Resource not found", timed_out=True)


async def test_a_job_deleted_while_running_has_not_finished(api: FakeApiServer, waits: ReadyWaits) -> None:
    """Its TTL does not delete a running Job."""
    cluster = Cluster(api)
    api.answers["GET", f"{JOBS}/migrate"] = (200, seen_job(5))
    waiting = asyncio.create_task(waits.of([job()], namespace="apps", since=NOW).within(0.5))
    await cluster.watched.wait()
    cluster.tell("DELETED", seen_job(11))
    message = "Job was deleted before it finished"
    assert is_about(await waiting, "Job", "migrate", State.NOT_FOUND, message, timed_out=True)


CLAIMS, CLASSES = f"{CORE}/namespaces/apps/persistentvolumeclaims", "/apis/storage.k8s.io/v1"
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
POD_SPEC = {"volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]}


def claims(api: FakeApiServer, mode: str | None, phase: str = "Pending") -> None:
    """A claim in a phase, of a class with a binding mode; None for one that may not be read."""
    api.answers["GET", CORE] = (200, {"resources": [
        {"name": "persistentvolumeclaims", "kind": "PersistentVolumeClaim", "namespaced": True}
    ]})  # fmt: skip
    meta = {"name": "data", "resourceVersion": "5"}
    found = {"metadata": meta, "spec": {"storageClassName": "disk"}, "status": {"phase": phase}}
    api.answers["GET", f"{CLAIMS}/data"] = (200, found)

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    api.answers["GET", CLAIMS] = watch
    kinds = [{"name": "storageclasses", "kind": "StorageClass", "namespaced": False}]
    api.answers["GET", CLASSES] = (200, {"resources": kinds})
    answer = (
        (403, refusal('storageclasses is forbidden: User "x" cannot get', 403))
        if mode is None
        else (200, {"volumeBindingMode": mode})
    )
    api.answers["GET", f"{CLASSES}/storageclasses/disk"] = answer


async def test_a_claim_without_a_consumer_is_passed_over(api: FakeApiServer, waits: ReadyWaits) -> None:
    claims(api, "WaitForFirstConsumer")
    assert await waits.of([CLAIM], namespace="apps").within(5) is None


@pytest.mark.parametrize(
    ("mode", "consumer"), [("Immediate", False), ("WaitForFirstConsumer", True)], ids=["binds at once", "has a pod"]
)
async def test_any_other_claim_needs_waiting(
    api: FakeApiServer, waits: ReadyWaits, mode: str, *, consumer: bool
) -> None:
    claims(api, mode)
    web_with_claim = {**WEB, "spec": {"template": {"spec": POD_SPEC}}}
    api.answers["GET", APPS] = (200, KINDS)
    api.answers["GET", f"{PATH}/web"] = (200, deployment(5, ready=True))
    found = await waits.of([CLAIM, *([web_with_claim] if consumer else [])], namespace="apps").within(0.3)
    assert states(found) == [("data", State.IN_PROGRESS)]


async def test_a_claim_of_an_unreadable_class_needs_waiting(
    api: FakeApiServer, waits: ReadyWaits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(until_ready, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(until_ready, "_FORBIDDEN_SECONDS", 0.05)
    claims(api, None)
    found = await waits.of([CLAIM], namespace="apps").within(0.5)
    assert states(found) == [("data", State.IN_PROGRESS)]


async def test_a_bound_claim_costs_no_read_of_its_class(api: FakeApiServer, waits: ReadyWaits) -> None:
    claims(api, "WaitForFirstConsumer", phase="Bound")
    assert await waits.of([CLAIM], namespace="apps").within(5) is None
    assert [path for _, path, _, _ in api.asked] == [CORE, f"{CLAIMS}/data"]


@pytest.mark.parametrize(("mebibytes", "waits"), [(-100, 16), (162, 162), (2722, 1000)])
def test_memory_bounds_how_many_runs_wait(mebibytes: int, waits: int) -> None:
    assert waits_for(mebibytes * 1024 * 1024) == waits
