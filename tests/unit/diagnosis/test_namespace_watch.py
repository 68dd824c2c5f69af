"""What a view of a namespace keeps, and when it wakes the runs."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.diagnosis import namespace_watch
from managedchart_operator.diagnosis.namespace_watch import NamespaceView, NamespaceWatches
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.identities import Identity


def pod(name: str, **state: Any) -> Any:
    containers = [{"name": "a", "ready": False, "restartCount": 0, "state": state}] if state else []
    return read_pod({"metadata": {"uid": name, "name": name}, "status": {"containerStatuses": containers}})


IMAGE = {"waiting": {"reason": "ErrImagePull"}}


def event(uid: str, reason: str, kind: str = "Warning", *, version: int = 1) -> dict[str, Any]:
    """An event about a controller of its own, which is called like the event."""
    subject = {"kind": "ReplicaSet", "name": uid, "uid": f"controller-{uid}"}
    meta = {"uid": uid, "resourceVersion": str(version), "managedFields": [{}]}
    return {"metadata": meta, "reason": reason, "type": kind, "involvedObject": subject}


class CountedView(NamespaceView):
    """Counts how often the runs are woken."""

    changes = 0

    def notify(self) -> None:
        self.changes += 1
        super().notify()


def test_only_changes_of_trouble_wake_the_runs() -> None:
    """In a namespace of hundreds of releases most changes are of no concern to anybody."""
    view = CountedView()
    view.see_pod(pod("a"))
    view.see_pod(pod("a", running={}))
    view.see_event(event("e", "Pulled", "Normal"))
    assert view.changes == 0
    view.see_pod(pod("a", **IMAGE))
    assert (view.changes, list(view.troubled)) == (1, ["a"])
    view.see_pod(pod("a", **IMAGE))
    assert view.changes == 1, "the same again"
    view.see_pod(pod("a", running={}))
    assert (view.changes, list(view.troubled)) == (2, [])
    view.see_event(event("f", "FailedCreate"))
    assert (view.changes, list(view.creations.refused)) == (3, ["controller-f"])
    view.see_event(event("g", "SuccessfulCreate", "Normal"))
    assert view.changes == 3, "nobody had refused it"
    view.see_event(event("f", "SuccessfulCreate", "Normal", version=2))
    assert (view.changes, list(view.creations.refused)) == (4, [])


def test_a_deleted_pod_is_kept_but_not_in_trouble() -> None:
    """Else the run that follows, and replaces it, would look into it at each change."""
    view = CountedView()
    view.see_pod(pod("a", **IMAGE))
    view.see_pod_deleted("a")
    view.see_pod_deleted("unknown")
    assert (view.changes, list(view.troubled), list(view.pods), view.existing) == (2, [], ["a"], [])


async def test_a_pod_deleted_during_a_watch_gap_is_noticed(api: FakeApiServer, client: KubeClient) -> None:
    """The list after that does not have it. Nor is it one that is merely starting."""
    status = {"containerStatuses": [{"name": "a", "ready": False, "restartCount": 0, "state": IMAGE}]}
    bad = {"metadata": {"uid": "bad", "name": "bad"}, "status": status}
    starting = {"metadata": {"uid": "starting", "name": "starting"}}
    lists = [[starting, bad], []]

    async def answer(request: web.Request) -> web.Response:
        if "watch" in request.query:
            return web.json_response(refusal("too old resource version", 410), status=410)
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": lists.pop(0) if lists else []})

    api.answers["GET", "/api/v1/namespaces/apps/pods"] = answer
    watches = NamespaceWatches(client)
    async with watches.use("apps") as view:
        woken = asyncio.Event()
        with view.wakes(woken):
            await asyncio.wait_for(woken.wait(), 5)
            assert list(view.troubled) == ["bad"]
            woken.clear()
            await asyncio.wait_for(woken.wait(), 5)
        assert (list(view.troubled), list(view.pods), view.existing) == ([], ["starting", "bad"], [])
    await watches.close()


async def test_events_about_managedcharts_are_not_watched(api: FakeApiServer, client: KubeClient) -> None:
    """There are two or more for each run, and in a namespace of many releases there are many runs."""
    watches = NamespaceWatches(client)
    asked = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": []})

    api.answers["GET", "/api/v1/namespaces/apps/events"] = answer
    async with watches.use("apps"):
        await asyncio.wait_for(asked.wait(), 5)
    await watches.close()
    queries = [query for _, path, query, _ in api.asked if path.endswith("/events")]
    assert queries[0]["fieldSelector"] == "involvedObject.kind!=ManagedChart"


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace_watch, "MAX_PODS", 2)
    monkeypatch.setattr(namespace_watch, "MAX_EVENTS", 2)
    view = NamespaceView()
    for name in "abc":
        view.see_pod(pod(name, **IMAGE))
        view.see_event(event(name, "FailedCreate"))
    view.see_pod_deleted("b")
    view.see_pod(pod("d", **IMAGE))
    view.see_event(event("d", "FailedCreate"))
    assert list(view.pods) == list(view.troubled) == list(view.events) == ["c", "d"]
    assert list(view.creations.refused) == ["controller-c", "controller-d"]
    assert not view.deleted
    assert "managedFields" not in view.events["c"]["metadata"]


async def test_only_users_of_one_identity_share_a_watch(api: FakeApiServer, client: KubeClient) -> None:
    """What one account may see is not shown to another one."""
    watches, tenant = NamespaceWatches(client), Identity("team-a", "deployer")
    async with (
        watches.use("apps") as own,
        watches.acting_as(tenant).use("apps") as theirs,
        watches.acting_as(tenant).use("apps") as again,
        watches.acting_as(Identity("team-b", "deployer")).use("apps") as others,
    ):
        assert theirs is again
        assert len({id(own), id(theirs), id(others)}) == 3
    await watches.close()
