"""Whether the API server answers what a piece of work asks, over a real connection."""

import asyncio
import contextlib

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.silence import Silence, listening

PATH = "/api/v1/namespaces/apps/configmaps"
OTHER = "/api/v1/namespaces/apps/pods"
WEBHOOK = 'Internal error occurred: failed calling webhook "a.example": connection refused'


async def asked(client: KubeClient, *paths: str) -> Silence:
    """Send requests, whatever is answered."""
    with listening() as silence:
        for path in paths:
            with contextlib.suppress(KubeError):
                await client.request("GET", path)
    return silence


@pytest.mark.parametrize(
    ("status", "message", "silent"),
    [
        (404, "not found", False),
        (403, 'is forbidden: User "x" cannot list resource', False),
        (409, "Operation cannot be fulfilled on pods: the object has been modified", False),
        (500, WEBHOOK, False),
        (429, "too many requests", True),
        (503, "the server is currently unable to handle the request", True),
        (500, "etcdserver: request timed out", True),
    ],
)
async def test_what_counts_as_no_answer(
    client: KubeClient, api: FakeApiServer, status: int, message: str, *, silent: bool
) -> None:
    api.answers["GET", PATH] = (status, refusal(message, status))
    silence = await asked(client, PATH)
    assert (silence.seconds > 0) is silent
    assert not silence.explains(60.0), "a moment is no outage"


async def test_the_next_answer_ends_a_silence(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = (429, refusal("too many requests", 429))
    api.answers["GET", OTHER] = (200, {"items": []})
    assert (await asked(client, PATH, OTHER)).seconds == 0
    assert (await asked(client, OTHER, PATH)).seconds > 0


async def test_a_cancelled_request_was_not_answered(client: KubeClient, api: FakeApiServer) -> None:
    """As at a deadline. The work around it knows that, too."""
    reached = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    api.answers["GET", PATH] = hangs
    with listening() as outer:
        work = asyncio.create_task(asked(client, PATH))
        await reached.wait()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    assert outer.seconds > 0


async def test_an_open_watch_is_answered(client: KubeClient, api: FakeApiServer) -> None:
    """Nothing changes for hours, and a deadline cancels it."""

    async def opened(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'{"type": "ADDED", "object": {"metadata": {}}}\n')
        await asyncio.Event().wait()
        raise AssertionError

    api.answers["GET", PATH] = opened
    with listening() as silence:
        async with contextlib.aclosing(client.stream(PATH, query={}, timeout=60.0)) as events:  # type: ignore[type-var]
            await anext(events)
            assert silence.seconds == 0
    assert silence.seconds == 0


def test_a_short_deadline_is_explained_by_less() -> None:
    silence = Silence()
    silence.noted(answered=False, sent=0.0)  # long ago
    assert silence.explains(0.01)
    assert silence.explains(86_400.0)
