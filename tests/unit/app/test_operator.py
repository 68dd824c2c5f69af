"""The assembled operator: what runs between its start and its end, and what it answers to health checks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer
from harness.egress import Server
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.app.assembly import Operator, assemble
from managedchart_operator.app.calling_out import calling_out
from managedchart_operator.app.settings import Settings
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.lifecycle.plugins.catalog import Plugins
from managedchart_operator.lifecycle.plugins.processes import PluginProcesses

SECRETS = ("GET", "/api/v1/secrets")
WHO = ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews")


async def secrets(request: web.Request) -> web.StreamResponse:
    """No release Secret, and a watch that stays open."""
    if "watch" in request.query:
        await asyncio.Event().wait()
    return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})


@pytest.fixture
async def operator(client: KubeClient, api: FakeApiServer, tmp_path: Path) -> AsyncIterator[Operator]:
    api.answers[SECRETS] = secrets
    api.answers[WHO] = (201, {"status": {"userInfo": {"username": "kubernetes-admin"}}})
    settings = Settings(cache_dir=tmp_path)
    async with calling_out(settings, api_server=client.host) as egress:
        yield await assemble(
            settings, client=client, egress=egress, identity="test", plugins=Plugins(PluginProcesses())
        )


async def test_the_settings_say_which_servers_may_be_asked(tmp_path: Path) -> None:
    with Server(lambda _: (200, {}, b"fine")) as server:
        url = f"http://127.0.0.1:{server.port}"
        settings = Settings(cache_dir=tmp_path, metric_sources=[url], chart_addresses=["127.0.0.1"])
        async with calling_out(settings, api_server="https://127.0.0.2:6443") as egress:
            answer = await egress.metrics.query(url, "up")

    assert (answer.status, answer.body) == (200, "fine")


def chart(name: str) -> ManagedChart:
    meta = {"namespace": "apps", "name": name, "uid": f"u-{name}", "resourceVersion": "1", "generation": 1}
    return ManagedChart.from_body({"metadata": meta, "spec": {}})


async def test_it_is_ready_once_all_are_requested(operator: Operator) -> None:
    operator.store.put(chart("web"))
    assert operator.unready() == "The ManagedCharts are not loaded yet"
    await operator.start()
    assert operator.unready() is None
    assert operator.unhealthy() is None
    assert operator.scheduler.running(chart("web").key)
    await operator.stop()
    assert operator.scheduler.active == 0


async def test_a_stopping_operator_is_not_unhealthy(operator: Operator) -> None:
    """A restart would not help; and the answer to a health check must not be an error."""
    await operator.start()
    await operator.stop()
    assert operator.unhealthy() is None


async def test_an_ended_release_watch_is_unhealthy(operator: Operator) -> None:
    class Broken:
        async def follow(self, _: Any) -> None:
            raise ValueError("a defect")

    operator = replace(operator, releases=cast("Any", Broken()))
    await operator.start()
    async with asyncio.timeout(10):
        while operator.unhealthy() is None:  # noqa: ASYNC110 -- a health check has no event to wait for
            await asyncio.sleep(0.01)
    assert operator.unhealthy() == "The watch of releases has ended: a defect"
    await operator.stop()


async def test_every_reading_is_exported(operator: Operator) -> None:
    operator.store.put(chart("web"))
    text = operator.metrics.render().decode()
    assert "managedchart_resources 1.0" in text
    assert "managedchart_helm_processes 0.0" in text
    assert f"managedchart_api_requests_total {operator.client.requests_total:.1f}" in text
