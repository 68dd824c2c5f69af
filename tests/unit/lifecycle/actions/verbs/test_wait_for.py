"""`waitFor` knows when its goal is reached; the watch itself is tested on an API server."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer
from managedchart_operator.errors import LifecycleError, SpecError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.registry import verb_of
from managedchart_operator.lifecycle.actions.verbs import wait_for
from managedchart_operator.lifecycle.actions.verbs.wait_for import WaitFor
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import run
from unit.lifecycle.fakes import FakeCluster, bench


def pod(name: str, ready: str, *, generation: int = 1, observed: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "apps", "generation": generation},
        "status": {
            "observedGeneration": observed,
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def without_generation(name: str) -> dict[str, Any]:
    """The status names no generation, like that of a CustomResourceDefinition."""
    found = pod(name, "True", generation=2)
    del found["status"]["observedGeneration"]
    return found


def of_condition(name: str, observed: int) -> dict[str, Any]:
    """Only the condition names a generation."""
    found = without_generation(name)
    found["status"]["conditions"][0]["observedGeneration"] = observed
    return found


async def verb(**fields: Any) -> WaitFor:
    found = {"kind": "Pod", "selector": {"matchLabels": {"app": "x"}}, **fields}
    (action,) = await read_actions([{"name": "w", "phase": "Validate", "waitFor": found}])
    result = verb_of(action)
    assert isinstance(result, WaitFor)
    return result


@pytest.mark.parametrize(
    ("goal", "there", "missing"),
    [
        ({"condition": "Ready"}, [pod("a", "True"), pod("b", "True")], ""),
        ({"condition": "Ready"}, [], "there is no Pod with app=x in namespace apps"),
        ({"condition": "Ready"}, [pod("a", "True"), pod("b", "False")], "Pod apps/b has not reached condition Ready"),
        ({"condition": "Ready"}, [pod("a", "True", generation=2)], "Pod apps/a has not reached condition Ready"),
        ({"condition": "Ready"}, [without_generation("a")], ""),
        ({"condition": "Ready"}, [of_condition("a", 1)], "Pod apps/a has not reached condition Ready"),
        ({"condition": "Ready"}, [of_condition("a", 2)], ""),
        ({"condition": "Ready=False"}, [pod("a", "False")], ""),
        ({"jsonPath": "{.status.phase}", "value": "Running"}, [pod("a", "False")], ""),
        (
            {"jsonPath": "{.status.phase}", "value": "Failed"},
            [pod("a", "True")],
            "Pod apps/a has not reached {.status.phase} = Failed",
        ),
        ({"jsonPath": "{.status.phase}"}, [pod("a", "True")], ""),
        ({"jsonPath": "{.status.ready}", "value": "true"}, [{**pod("a", "True"), "status": {"ready": True}}], ""),
        ({"jsonPath": "{.status.replicas}", "value": 2}, [{**pod("a", "True"), "status": {"replicas": 2}}], ""),
        ({"deleted": True}, [], ""),
        (
            {"deleted": True},
            [pod(name, "True") for name in "abcd"],
            "Pod apps/a, Pod apps/b, Pod apps/c and 1 more still exists",
        ),
    ],
    ids=str,
)
async def test_says_what_is_missing(goal: dict[str, Any], there: list[dict[str, Any]], missing: str) -> None:
    wait = await verb(**goal)
    assert wait._missing([wait._seen(each) for each in there], "apps") == missing


async def test_what_a_profile_sees_is_not_named() -> None:
    """An account of an administrator may see what the tenant, who reads the message, may not."""
    wait = await verb(condition="Ready")
    seen = [wait._seen(pod("a", "False")), wait._seen(pod("b", "True"))]
    assert wait._missing(seen, "apps", named=False) == "1 Pod has not reached condition Ready"


async def test_little_is_kept_of_each_object() -> None:
    """Whoever may create objects may create thousands, with a megabyte each."""
    large = pod("a", "True")
    large["spec"] = {"x": "y" * 10_000}
    assert (await verb(condition="Ready"))._seen(large) == {
        "metadata": {"name": "a", "namespace": "apps"},
        "reached": True,
    }


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        ({}, "set exactly one of condition, jsonPath and deleted"),
        ({"condition": "Ready", "deleted": True}, "set exactly one of condition, jsonPath and deleted"),
        ({"deleted": False}, "deleted: write true, or leave it out"),
        ({"condition": "Ready", "value": "x"}, "value goes with jsonPath"),
        ({"jsonPath": "{.items[*]}"}, "jsonPath: cannot be read from"),
    ],
    ids=str,
)
async def test_refuses(goal: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError) as refused:
        await verb(**goal)

    assert expected in refused.value.message


# ---- over a connection

PATH = "/api/v1/namespaces/apps/pods"


class Connected(FakeCluster):
    """A cluster whose pods are read over a connection."""

    real: KubeClient

    @property
    def client(self) -> Any:
        return self.real

    async def collection_path(self, *_: Any, **__: Any) -> str:
        return PATH


@pytest.mark.parametrize("answers", [True, False])
async def test_a_watch_that_has_died_silently_fails_nothing(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    """As that of an API server whose machine is gone: nothing ends the connection for more than a minute."""
    monkeypatch.setattr(wait_for, "reserve_of", lambda seconds: seconds * 0.8)
    dead = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            opened = web.StreamResponse()
            await opened.prepare(request)
            dead.set()
            await asyncio.Event().wait()
        if dead.is_set() and not answers:
            await asyncio.Event().wait()
        items = [pod("a", "True" if dead.is_set() else "False")]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    api.answers["GET", PATH] = answer
    cluster = Connected()
    cluster.real = client
    scene = bench(cluster=cluster)
    action = {"waitFor": {"kind": "Pod", "name": "a", "condition": "Ready"}, "timeout": "10s" if answers else "5s"}

    if answers:
        await run(action, on=scene)
        assert scene.recorder.actions["a0"].message == "condition Ready: 1 Pod"
        return
    with pytest.raises(LifecycleError) as failed:
        await run(action, on=scene)
    assert failed.value.reason is Reason.API_UNAVAILABLE
