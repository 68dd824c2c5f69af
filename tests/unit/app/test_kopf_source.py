"""kopf as a whole, over a stand-in for the API server: what it hands over, and in which order it starts and ends."""

import asyncio
import json
from pathlib import Path

import kopf
import pytest
from aiohttp import web

from harness.api_server import FakeApiServer
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.app.kopf_source import NoDiffs, watch

PATH = "/apis/managedchart.dev/v1alpha1/managedcharts"


def chart(name: str, *, version: int, generation: int = 1) -> dict[str, object]:
    meta = {
        "namespace": "apps",
        "name": name,
        "uid": f"u-{name}",
        "resourceVersion": str(version),
        "generation": generation,
    }
    return {"apiVersion": "managedchart.dev/v1alpha1", "kind": "ManagedChart", "metadata": meta, "spec": {}}


async def charts(request: web.Request) -> web.StreamResponse:
    """Two are listed; then one changes, and the other is deleted."""
    if "watch" not in request.query:
        items = [chart("one", version=1), chart("two", version=2)]
        return web.json_response({"metadata": {"resourceVersion": "5"}, "items": items})
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for event in (
        {"type": "MODIFIED", "object": chart("one", version=6, generation=2)},
        {"type": "DELETED", "object": chart("two", version=7)},
    ):
        await response.write(json.dumps(event).encode() + b"\n")
    await asyncio.Event().wait()
    return response


class Log:
    """What kopf called, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.complete = asyncio.Event()

    async def watch(self, host: str) -> None:
        await watch(
            started=self.started,
            seen=self.seen,
            deleted=self.deleted,
            stopping=self.stopping,
            largest=lambda: 1024 * 1024,
            host=host,
            identity="test",
        )

    async def started(self) -> None:
        await asyncio.sleep(0.05)  # long enough for an event to come first, if kopf did not wait
        self.calls.append("started")

    def seen(self, seen: ManagedChart) -> None:
        self._add(f"seen {seen.key.name} {seen.generation}")

    def deleted(self, deleted: ManagedChart) -> None:
        self._add(f"deleted {deleted.key.name}")

    async def stopping(self) -> None:
        self.calls.append("stopping")

    def _add(self, call: str) -> None:
        self.calls.append(call)
        if {"deleted two", "seen one 2"} <= set(self.calls):
            self.complete.set()


async def test_kopf_hands_over_what_it_sees(
    api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
    api.answers["GET", "/api"] = (200, {"versions": ["v1"]})
    api.answers["GET", "/api/v1"] = (200, resources("namespaces", "Namespace"))
    api.answers["GET", "/apis"] = (200, GROUPS)
    api.answers["GET", "/apis/managedchart.dev/v1alpha1"] = (200, resources("managedcharts", "ManagedChart"))
    api.answers["GET", PATH] = charts
    log = Log()
    running = asyncio.create_task(log.watch(api.url))
    async with asyncio.timeout(20):
        await log.complete.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (log.calls[0], log.calls[-1]) == ("started", "stopping")
    # kopf may leave out what a later event has replaced.
    assert (
        {"deleted two", "seen one 2"}
        <= set(log.calls[1:-1])
        <= {"deleted two", "seen one 1", "seen one 2", "seen two 1"}
    )
    assert {(method, path) for method, path, _, _ in api.asked if method != "GET"} == set(), "kopf writes nothing"
    caplog.clear()
    loop = asyncio.get_running_loop()
    loop.call_exception_handler(
        {"message": "closing failed", "asyncgen": object(), "exception": RuntimeError("athrow")}
    )
    assert not caplog.records, "the generators of kopf's watches are closed by the loop"
    loop.call_exception_handler({"message": "a defect"})
    assert [record.getMessage() for record in caplog.records] == ["a defect"]


# What the API server serves, as kopf looks it up when it starts.
GROUPS = {
    "groups": [
        {
            "name": "managedchart.dev",
            "versions": [{"version": "v1alpha1"}],
            "preferredVersion": {"version": "v1alpha1"},
        }
    ]
}


def resources(plural: str, kind: str) -> dict[str, object]:
    verbs = ["get", "list", "watch", "patch"]
    return {"resources": [{"name": plural, "kind": kind, "singularName": "", "namespaced": True, "verbs": verbs}]}


def test_kopf_compares_and_stores_nothing() -> None:
    storage = NoDiffs()
    body = kopf.Body({"metadata": {"name": "web"}, "spec": {"values": {"a": 1}}})
    patch = kopf.Patch()
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
    assert not patch
