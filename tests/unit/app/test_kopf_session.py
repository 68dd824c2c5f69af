"""kopf's own list and watch, over a stand-in for the API server: no content of an object ends them.

It runs what is not kopf's public interface, so that a kopf which reads its answers in another way fails here.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import kopf
import pytest
from aiohttp import web
from kopf._cogs.clients import auth, watching
from kopf._cogs.structs.credentials import Vault, VaultKey
from kopf._cogs.structs.references import Resource

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.app import kopf_session
from managedchart_operator.app.kopf_session import sessions

PATH = "/apis/managedchart.dev/v1alpha1/managedcharts"
RESOURCE = Resource(
    "managedchart.dev", "v1alpha1", "managedcharts", namespaced=True, verbs=frozenset({"list", "watch"})
)
DEEP = '{"a":' * 2000 + "1" + "}" * 2000

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().running() as running:
        yield running


@asynccontextmanager
async def session(api: FakeApiServer, *, patient: bool = False) -> AsyncIterator[kopf.AiohttpSession]:
    made = sessions(patient=patient)(kopf.ConnectionInfo(server=api.url, token="the-token"))
    try:
        yield made
    finally:
        await made.aiohttp_session.close()


def chart(name: str, version: int, *, values: str = "{}") -> str:
    meta = {"namespace": "apps", "name": name, "uid": f"u-{name}", "resourceVersion": str(version), "generation": 3}
    return f'{{"metadata": {json.dumps(meta)}, "spec": {{"deletionPolicy": "Orphan", "values": {values}}}}}'


def page(*items: str, more: str = "") -> str:
    return f'{{"metadata": {{"resourceVersion": "5", "continue": "{more}"}}, "items": [{", ".join(items)}]}}'


class Script:
    """Answers lists by `pages` and watches by `streams`, one after another; the last watch stays open."""

    def __init__(self, pages: list[str], streams: list[list[str]]) -> None:
        self.pages = pages
        self.streams = streams
        self.since: list[str | None] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.Response(text=self.pages.pop(0), content_type="application/json")
        self.since.append(request.query.get("resourceVersion"))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for text in self.streams.pop(0) if self.streams else ():
            await response.write(text.encode())
        if not self.streams:
            await asyncio.Event().wait()
        return response


async def seen(api: FakeApiServer, script: Answer, count: int, *, patient: bool = False) -> list[dict[str, Any]]:
    """What kopf's watch hands on, so many events of it."""
    api.answers["GET", PATH] = script
    found: list[dict[str, Any]] = []
    async with session(api, patient=patient) as made, asyncio.timeout(20):
        auth.vault_var.set(Vault({"session": made}))
        settings = kopf.OperatorSettings()
        settings.watching.reconnect_backoff = 0.01
        events = watching.infinite_watch(settings=settings, resource=RESOURCE, namespace=None)
        async for event in events:
            if isinstance(event, dict):
                found.append(event)
            if len(found) == count:
                break
        await events.aclose()  # type: ignore[attr-defined]
    return found


async def test_a_deep_object_arrives_with_its_page(api: FakeApiServer) -> None:
    """And with it the token of the next page."""
    pages = [page(chart("a", 1), chart("deep", 2, values=DEEP), chart("b", 3), more="next"), page(chart("c", 4))]
    found = await seen(api, Script(pages, [[]]), 4)
    assert [event["object"]["metadata"]["name"] for event in found] == ["a", "deep", "b", "c"]
    deep = found[1]["object"]
    assert (deep["metadata"]["generation"], deep["spec"]["deletionPolicy"]) == (3, "Orphan")
    assert [query.get("continue") for _, _, query, _ in api.asked[:2]] == [None, "next"]
    assert api.headers[0]["Authorization"] == "Bearer the-token"


async def test_a_deep_object_does_not_end_the_watch(api: FakeApiServer) -> None:
    lines = [
        f'{{"type": "ADDED", "object": {chart("deep", 6, values=DEEP)}}}\n',
        f'{{"type": "MODIFIED", "object": {chart("a", 7)}}}\n',
    ]
    found = await seen(api, Script([page()], [lines]), 2)
    assert [event["object"]["metadata"]["name"] for event in found] == ["deep", "a"]
    assert found[0]["object"]["spec"]["deletionPolicy"] == "Orphan"


async def test_a_truncated_answer_is_requested_again(api: FakeApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list from its beginning, a watch from what it showed last."""
    monkeypatch.setattr(kopf_session, "_PAUSE_SECONDS", 0.01)
    event = f'{{"type": "ADDED", "object": {chart("a", 6)}}}\n'
    streams = [[event, event[:40]], [event[:40] + "\n"], [event.replace('"6"', '"7"')]]
    script = Script([page(chart("a", 1))[:60], page()], streams)
    found = await seen(api, script, 2)
    assert [event["object"]["metadata"]["resourceVersion"] for event in found] == ["6", "7"]
    assert script.since == ["5", "6", "6"]


async def test_a_namespace_that_refuses_is_asked_again(
    api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not exist yet, or was deleted and made again: neither the list nor the watch ends kopf. It is logged once."""
    monkeypatch.setattr(kopf_session, "_REFUSED_SECONDS", 0.01)
    event = f'{{"type": "ADDED", "object": {chart("a", 6)}}}\n'
    script = Script([page(chart("b", 1))], [[event], [event.replace('"6"', '"7"')]])
    refusals = {"list": 3, "watch": 2}

    async def answer(request: web.Request) -> web.StreamResponse:
        kind = "watch" if "watch" in request.query else "list"
        if refusals[kind]:
            refusals[kind] -= 1
            return web.json_response(refusal("managedcharts is forbidden", 403), status=403)
        return await script(request)

    found = await seen(api, answer, 3, patient=True)
    assert [event["object"]["metadata"]["resourceVersion"] for event in found] == ["1", "6", "7"]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2  # once before the list, once before the watch
    assert all("managedcharts is forbidden" in message for message in said)


async def test_refused_credentials_are_not_retried() -> None:
    """kopf knows them by comparing what it has logged in with: for equal ones it must get what it had."""
    session_of = sessions()
    old, new = (kopf.ConnectionInfo(server="https://api.example", token=token) for token in ("old", "new"))
    refused = session_of(old)
    vault = Vault({"login": refused})
    key = VaultKey("login")
    waiting = asyncio.create_task(vault.invalidate(key, refused))
    await vault.wait_for_emptiness()
    again = session_of(kopf.ConnectionInfo(server="https://api.example", token="old"))
    assert again == refused
    await vault.populate({"login": again})
    await waiting
    assert vault.is_empty()
    renewed = session_of(new)
    assert renewed != refused
    await vault.populate({"login": renewed})
    assert not vault.is_empty()
    for made in (refused, renewed):
        await made.aiohttp_session.close()
