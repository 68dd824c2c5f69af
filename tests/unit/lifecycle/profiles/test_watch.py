"""The LifecycleProfiles of the cluster are known before anything runs, and each says whether it is accepted."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web as http

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.lifecycle.profiles import watch
from managedchart_operator.lifecycle.profiles.profile import Profile
from managedchart_operator.lifecycle.profiles.profiles import Profiles
from managedchart_operator.lifecycle.profiles.watch import PATH, ProfileWatch
from unit.lifecycle.profiles.samples import CHECK, body, subject, web

LIST = ("GET", PATH)
ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "observedGeneration": 1,
    "reason": "Accepted",
    "message": "1 action",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


class Scene:
    """The profiles, and the changes that were reported."""

    def __init__(self, client: KubeClient) -> None:
        self.profiles = Profiles(known=False)
        self.changes: list[tuple[str | None, str | None]] = []
        self.news = asyncio.Event()
        self.watch = ProfileWatch(client, self.profiles, self._changed, seconds=0.01)

    async def _changed(self, before: Profile | None, after: Profile | None) -> None:
        self.changes.append((before and before.name, after and f"{after.name}:{after.generation}"))
        self.news.set()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.follow())
        try:
            async with asyncio.timeout(10):
                await self.profiles.of(subject(web()))
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def answering(items: list[dict[str, Any]], *events: dict[str, Any]) -> Callable[[http.Request], Any]:
    """Answers lists, and one watch with these events; the next one stays open."""
    left = [*events]

    async def answer(request: http.Request) -> http.StreamResponse:
        if request.query.get("watch"):
            stream = http.StreamResponse()
            await stream.prepare(request)
            while left:
                await stream.write(json.dumps(left.pop(0)).encode() + b"\n")
            await asyncio.sleep(30)
            return stream
        return http.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    return answer


def patches(api: FakeApiServer) -> list[dict[str, Any]]:
    return [asked[3]["status"] for asked in api.asked if asked[0] == "PATCH"]


def at(version: int, item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": str(version)}}


@pytest.fixture
def scene(client: KubeClient) -> Scene:
    return Scene(client)


async def test_nothing_runs_before_the_profiles_are_known(scene: Scene) -> None:
    """A check of an administrator would be left out after each restart of the operator."""
    waiting = asyncio.create_task(scene.profiles.of(subject(web())))
    await asyncio.sleep(0)
    assert not waiting.done()
    scene.profiles.become_known()
    assert await waiting == []


async def test_profiles_are_listed_and_followed(scene: Scene, api: FakeApiServer) -> None:
    """What was there at the start is no change."""
    api.answers["PATCH", f"{PATH}/a/status"] = (200, {})
    api.answers[LIST] = answering(
        [body("a", actions=[CHECK])],
        {"type": "ADDED", "object": at(2, body("b"))},
        {"type": "MODIFIED", "object": at(3, body("a", generation=2))},
        {"type": "MODIFIED", "object": at(4, body("a", generation=2, status={"x": "only the status"}))},
        {"type": "DELETED", "object": at(5, body("b"))},
    )
    async with scene.following():
        while len(scene.changes) < 3:
            scene.news.clear()
            await scene.news.wait()

    assert scene.changes == [(None, "b:1"), ("a", "a:2"), ("b", None)]
    assert scene.profiles.names() == ["a"]


async def test_the_status_says_that_a_profile_is_accepted(scene: Scene, api: FakeApiServer) -> None:
    api.answers["PATCH", f"{PATH}/a/status"] = (200, {})
    api.answers[LIST] = answering([body("a", actions=[CHECK], serviceAccount={"name": "c", "namespace": "platform"})])
    async with scene.following():
        pass

    (status,) = patches(api)
    (condition,) = status["conditions"]
    assert (status["observedGeneration"], condition["status"]) == (1, "True")
    assert condition["message"] == "1 action, as ServiceAccount platform/c"


async def test_the_status_says_why_a_profile_is_not_accepted(
    scene: Scene, api: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers["PATCH", f"{PATH}/a/status"] = (200, {})
    api.answers[LIST] = answering([body("a", actions=[{"name": "x", "phase": "PreExec"}])])
    async with scene.following():
        pass

    (status,) = patches(api)
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "LifecycleInvalid")
    assert condition["message"].startswith("spec.actions[0] (x): set exactly one of")
    assert "LifecycleProfile a is invalid: spec.actions[0] (x)" in caplog.text


async def test_a_status_that_is_right_is_not_written(scene: Scene, api: FakeApiServer) -> None:
    known = {"observedGeneration": 1, "conditions": [ACCEPTED]}
    api.answers[LIST] = answering([body("a", actions=[CHECK], status=known)])
    async with scene.following():
        pass

    assert patches(api) == []


async def test_the_time_of_the_condition_is_that_of_its_last_change(scene: Scene, api: FakeApiServer) -> None:
    known = {"observedGeneration": 1, "conditions": [ACCEPTED]}
    api.answers["PATCH", f"{PATH}/a/status"] = (200, {})
    api.answers[LIST] = answering([body("a", generation=2, status=known)])
    async with scene.following():
        pass

    assert patches(api)[0]["conditions"][0]["lastTransitionTime"] == ACCEPTED["lastTransitionTime"]


@pytest.mark.parametrize(
    ("status", "said", "level"),
    [
        (404, "the CRD lifecycleprofiles.managedchart.dev is not installed", logging.INFO),
        (403, "the operator may not list them, as deploy/rbac.yaml allows: no", logging.WARNING),
    ],
)
async def test_without_crd_or_permission_there_are_none_and_the_log_says_so_once(  # noqa: PLR0917 -- fixtures
    scene: Scene,
    api: FakeApiServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    said: str,
    level: int,
) -> None:
    """They are used as soon as they can be read."""
    monkeypatch.setattr(watch, "_SECOND_LOOK_SECONDS", 0.0)
    api.answers[LIST] = (status, refusal("no", status))
    with caplog.at_level(logging.INFO):
        async with scene.following():
            looks = len(api.asked)
            while len(api.asked) < looks + 3:  # noqa: ASYNC110 -- the stand-in for the API server has no event
                await asyncio.sleep(0.01)
            assert scene.profiles.names() == []
            api.answers[LIST] = answering([body("a")])
            await scene.news.wait()

    records = [each for each in caplog.records if each.getMessage() == f"no LifecycleProfiles: {said}"]
    assert [each.levelno for each in records] == [level]
    assert scene.changes == [(None, "a:1")]
    assert "LifecycleProfiles can be read now" in caplog.text


async def test_an_operator_that_may_not_write_the_status_goes_on(
    scene: Scene, api: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers["PATCH", f"{PATH}/a/status"] = (403, refusal("no", 403))
    api.answers[LIST] = answering([body("a", match={"chartNames": ["web"]})])
    async with scene.following():
        assert len(await scene.profiles.of(subject(web()))) == 1

    assert "cannot write the status of LifecycleProfile a" in caplog.text
