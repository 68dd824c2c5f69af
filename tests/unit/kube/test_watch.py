"""List, then watch: no change is lost, and an error that retries cannot fix is raised."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.errors import KubeError
from managedchart_operator.kube import watch
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.watch import Change, changes

PATH = "/api/v1/secrets"


def item(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": item(name, version)}


class Script:
    """Answers lists and watches one after another."""

    def __init__(self, *answers: Callable[[], web.Response]) -> None:
        self._answers = list(answers)

    async def __call__(self, _: web.Request) -> web.Response:
        return (
            self._answers.pop(0)() if self._answers else web.json_response(refusal("the test is over", 404), status=404)
        )


def listing(version: int, *items: dict[str, Any]) -> Callable[[], web.Response]:
    body = {"metadata": {"resourceVersion": str(version)}, "items": list(items)}
    return lambda: web.json_response(body)


def watching(*events: dict[str, Any]) -> Callable[[], web.Response]:
    return lambda: web.Response(text="".join(json.dumps(event) + "\n" for event in events))


def refusing(status: int) -> Callable[[], web.Response]:
    return lambda: web.json_response(refusal("no", status), status=status)


async def collect(
    client: KubeClient, *, since: int = 0, patient: bool = True, until: str = "the test is over"
) -> list[Change]:
    """All changes until an error ends them; at the end of the script the server refuses the watch."""
    found: list[Change] = []

    async def follow() -> None:
        async for change in changes(client, PATH, labels="owner=helm", since=since, patient=patient):
            found.append(change)  # noqa: PERF401 -- the error at the end would lose a comprehension's list

    with pytest.raises(KubeError, match=until):
        await follow()
    return found


async def test_a_list_is_followed_by_its_changes(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = Script(
        listing(5, item("a", 3)), watching(event("ADDED", "b", 6), event("DELETED", "a", 7))
    )
    found = await collect(client)
    assert [(change.type, change.object.get("metadata", {}).get("name")) for change in found] == [
        ("Listed", None),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]
    assert found[0].object["items"] == [item("a", 3)]
    asked = api.asked[1][2]
    assert (asked["resourceVersion"], asked["labelSelector"], asked["allowWatchBookmarks"]) == (
        "5",
        "owner=helm",
        "true",
    )


async def test_a_watch_that_ends_continues_where_it_was(client: KubeClient, api: FakeApiServer) -> None:
    """Also after a bookmark, which is not a change."""
    api.answers["GET", PATH] = Script(
        listing(5), watching(event("ADDED", "a", 6), event("BOOKMARK", "", 9)), watching(event("MODIFIED", "a", 10))
    )
    found = await collect(client)
    assert [change.type for change in found] == ["Listed", "ADDED", "MODIFIED"]
    assert [query.get("resourceVersion") for _, _, query, _ in api.asked[:3]] == [None, "5", "9"]


@pytest.mark.parametrize("forgotten", [False, True])
async def test_since_lists_only_after_a_lost_watch(client: KubeClient, api: FakeApiServer, *, forgotten: bool) -> None:
    changed = watching(event("MODIFIED", "a", 6))
    api.answers["GET", PATH] = Script(*([refusing(410), listing(8)] if forgotten else []), changed)
    found = await collect(client, since=5)
    assert [change.type for change in found] == (["Listed", "MODIFIED"] if forgotten else ["MODIFIED"])
    assert [query.get("resourceVersion") for _, _, query, _ in api.asked[:3]] == (
        ["5", None, "8"] if forgotten else ["5", "6"]
    )


async def test_a_collection_is_read_in_pages(client: KubeClient, api: FakeApiServer) -> None:
    def page(version: int, more: str, *items: dict[str, Any]) -> Callable[[], web.Response]:
        body = {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)}
        return lambda: web.json_response(body)

    heavy = {"metadata": {**item("a", 3)["metadata"], "managedFields": [{"manager": "helm"}]}}
    api.answers["GET", PATH] = Script(page(5, "next", heavy), page(5, "", item("b", 4)), watching())
    found = await collect(client)
    listed = {"items": [item("a", 3), item("b", 4)], "metadata": {"resourceVersion": "5"}}
    assert found[0] == Change("Listed", listed)
    first, second, watched = (query for _, _, query, _ in api.asked[:3])
    assert (first["limit"], first.get("continue"), second["continue"]) == ("500", None, "next")
    assert (watched["resourceVersion"], watched.get("limit")) == ("5", None)


async def test_without_patience_a_missing_permission_is_raised(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not while an API server that has just started refuses everybody for a moment."""
    monkeypatch.setattr(watch, "_RETRY_SECONDS", (0.01, 0.01))
    api.answers["GET", PATH] = Script(*[refusing(403)] * 2, listing(5), watching(), *[refusing(403)] * 3)
    impatient = changes(client, PATH, patient=False)
    assert (await anext(impatient)).type == "Listed"
    with pytest.raises(KubeError) as refused:
        await anext(impatient)
    assert refused.value.status == 403


async def test_a_watch_that_is_forbidden_slows_down_although_lists_are_allowed(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "_RETRY_SECONDS", (0.01, 0.01))
    api.answers["GET", PATH] = Script(*[listing(5), refusing(403)] * 3)
    found = await collect(client, patient=False, until="returned 403")
    assert [change.type for change in found] == ["Listed"] * 3
    assert caplog.text.count("cannot watch") == 1


async def test_what_may_not_be_watched_is_listed_at_an_interval(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as the watch is refused, and with its reason; the watch is tried again with each list."""
    monkeypatch.setattr(watch, "_RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    polls = watch.Polling()
    steps = [step for _ in range(5) for step in (listing(5, item("a", 5)), refusing(403))]
    api.answers["GET", PATH] = Script(*steps, listing(8), watching(event("ADDED", "b", 9)))
    found = changes(client, PATH, patient=False, polls=polls)
    assert [(await anext(found)).type for _ in range(6)] == ["Listed"] * 6
    assert polls.refused[PATH].status == 403
    assert (await anext(found)).object["metadata"]["name"] == "b"
    assert polls.refused == {}, "it was granted"
    await found.aclose()  # type: ignore[attr-defined]


async def test_beyond_the_bound_a_collection_is_only_listed(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    api.answers["GET", PATH] = Script(listing(5), listing(6))
    found = changes(client, PATH, since=4, polls=watch.Polling(watches=False))
    assert [(await anext(found)).type for _ in range(2)] == ["Listed"] * 2
    await found.aclose()  # type: ignore[attr-defined]
    assert not [query for _, _, query, _ in api.asked if "watch" in query]


@pytest.mark.parametrize("patient", [True, False])
async def test_only_refusals_in_a_row_count_as_a_missing_permission(
    client: KubeClient,
    api: FakeApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    patient: bool,
) -> None:
    """After an outage of any length an API server may refuse everybody for a moment; other errors do not hide a refusal."""
    monkeypatch.setattr(watch, "_RETRY_SECONDS", (0.01, 0.01))
    api.answers["GET", PATH] = Script(*[refusing(500)] * 9, *[refusing(403)] * 2, listing(5))
    assert [change.type for change in await collect(client, patient=patient)] == ["Listed"]
    assert caplog.text.count("cannot watch") == 1
    api.answers["GET", PATH] = Script(refusing(500), *[refusing(403)] * 3)
    assert await collect(client, patient=patient, until="the test is over" if patient else "returned 403") == []


@pytest.mark.parametrize("status", [410, 500, 429, 401, 403])
async def test_a_lost_watch_lists_everything_again(client: KubeClient, api: FakeApiServer, status: int) -> None:
    api.answers["GET", PATH] = Script(listing(5), refusing(status), listing(8, item("a", 7)), watching())
    found = await collect(client)  # 403: an API server that has just started refuses everybody for a moment
    assert [change.type for change in found][:2] == ["Listed", "Listed"]
    assert found[1].object["items"] == [item("a", 7)]


async def test_an_error_that_retries_cannot_fix_is_raised(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = (404, refusal("no such collection", 404))
    with pytest.raises(KubeError) as refused:
        async for _ in changes(client, PATH):
            pass
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "odd", [{"items": [5]}, {"items": [{}]}, {"metadata": {}}, {}, [], {"items": 5, "metadata": {}}, "text"]
)
async def test_an_unreadable_list_is_read_again(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    monkeypatch.setattr(watch, "_RETRY_SECONDS", (0.0,))
    api.answers["GET", PATH] = Script(lambda: web.json_response(odd), listing(5))
    assert [change.type for change in await collect(client)] == ["Listed"]


async def test_an_event_without_a_version_causes_a_list(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_RETRY_SECONDS", (0.0,))
    odd = {"type": "ADDED", "object": {"metadata": {"name": "a"}}}
    api.answers["GET", PATH] = Script(listing(5), watching(odd), listing(6))
    assert [change.type for change in await collect(client)] == ["Listed", "Listed"]


async def test_what_a_list_holds_is_bounded(client: KubeClient, api: FakeApiServer) -> None:
    """Of all objects at once: a megabyte of JSON, which anybody who may create one writes, may take twenty."""
    api.answers["GET", PATH] = Script(listing(5, item("a", 2), item("b", 3), item("c", 4)), watching())
    found = changes(client, PATH, keep=lambda each: {"name": each["metadata"]["name"]}, most=2)
    listed = await anext(found)
    assert listed.object["items"] == [{"name": "b"}, {"name": "c"}]
    await found.aclose()  # type: ignore[attr-defined]
