"""Requests to the API server: what each refusal means, and that every wait ends."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from harness.api_server import FakeApiServer, refusal, write_kubeconfig
from managedchart_operator.errors import KubeError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.helm.errors.classify import TABLE, classify
from managedchart_operator.helm.errors.text import error_part
from managedchart_operator.kube.answers import error_of
from managedchart_operator.kube.client import REQUESTS, KubeClient
from managedchart_operator.kube.identities import Identity
from managedchart_operator.reasons import Reason

PATH = "/api/v1/namespaces/apps/configmaps"


REFUSALS = [
    (400, "the body is wrong", Reason.INTERNAL_ERROR, False),
    (401, "Unauthorized", Reason.API_UNAVAILABLE, True),
    (403, 'is forbidden: User "x" cannot list resource', Reason.FORBIDDEN, True),
    (403, "unable to create: namespace a because it is being terminated", Reason.NAMESPACE_TERMINATING, True),
    (403, "exceeded quota: q, requested: pods=1", Reason.QUOTA_EXCEEDED, True),
    (403, 'admission webhook "policy.example" denied the request: no label', Reason.ADMISSION_REFUSED, False),
    (403, 'pods "web" is forbidden: error looking up service account a/web', Reason.ADMISSION_REFUSED, True),
    (403, "<html>a proxy</html>", Reason.FORBIDDEN, True),
    (404, "not found", Reason.INTERNAL_ERROR, False),
    (409, "the object has been modified", Reason.API_UNAVAILABLE, True),
    (413, "Request entity too large", Reason.INTERNAL_ERROR, False),
    (422, "spec.selector: Invalid value: field is immutable", Reason.IMMUTABLE_FIELD, False),
    (422, "spec.replicas: Invalid value: -1", Reason.OBJECT_INVALID, False),
    (429, "too many requests", Reason.API_UNAVAILABLE, True),
    (500, "etcdserver: request timed out", Reason.API_UNAVAILABLE, True),
    (503, "no healthy upstream", Reason.API_UNAVAILABLE, True),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case[0]}-{case[2]}")
async def test_a_refusal_has_request_and_answer(
    client: KubeClient, api: FakeApiServer, case: tuple[int, str, Reason, bool]
) -> None:
    status, message, reason, transient = case
    api.answers["GET", PATH] = (status, refusal(message, status))
    with pytest.raises(KubeError) as refused:
        await client.request("GET", PATH)
    error = refused.value
    assert (error.status, error.reason, error.transient) == (status, reason, transient)
    assert error.message == f"GET {PATH} returned {status}: {message}"
    assert error.answer == message


@pytest.mark.parametrize("refusals", [2, 100])
async def test_a_cache_that_is_being_read_is_waited_for(
    client: KubeClient, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """But not for ever, as for a CRD that is being deleted."""
    monkeypatch.setattr("managedchart_operator.kube.client._INITIALIZING_SECONDS", (0, 0, 0))
    answers = iter([(429, refusal("storage is (re)initializing", 429))] * refusals)

    async def answer(_: web.Request) -> web.Response:
        status, body = next(answers, (200, {"items": []}))
        return web.json_response(body, status=status)

    api.answers["GET", PATH] = answer
    if refusals == 2:
        assert await client.request("GET", PATH) == {"items": []}
        return
    with pytest.raises(KubeError, match="initializing"):
        await client.request("GET", PATH)
    assert len(api.asked) == 4


RECORDED = Path(__file__).parents[1] / "helm" / "outputs"
"""Recorded output of the real helm for a real API server's refusals."""
SENTENCE = re.compile(r"[\w.]+ (?:\"[^\"]+\" )?is forbidden: .*")


@pytest.mark.parametrize("output", sorted(RECORDED.glob("*.txt")), ids=lambda path: path.stem)
def test_a_403_means_the_same_as_to_helm(output: Path) -> None:
    """A missing permission is retried, a refusal by a policy is not, whoever meets it first."""
    helms = error_part(output.read_text().partition("\n")[2])
    found = SENTENCE.search(helms)
    if found is None:
        assert classify(helms, exit_code=1, command="upgrade").reason is not Reason.FORBIDDEN
        return
    theirs = classify(helms, exit_code=1, command="upgrade")
    ours = error_of(403, json.dumps(refusal(found[0], 403)).encode(), method="PATCH", path=PATH)
    assert (ours.reason, ours.transient) == (theirs.reason, theirs.transient)


def test_every_missing_permission_is_retried() -> None:
    """It heals when it is granted, and nobody has to touch the resource for that."""
    assert {row.transient for row in TABLE if row.reason is Reason.FORBIDDEN} == {True}
    assert error_of(403, b"", method="GET", path=PATH).transient


def test_a_proxys_answer_is_quoted() -> None:
    """A proxy answers HTML, not a Status object; a long page would fill the status of the resource."""
    error = error_of(502, b"<html>" + b"x" * 5000, method="GET", path=PATH)
    assert error.transient
    assert "<html>" in error.message
    assert len(error.message) < 500
    assert "no message" in error_of(500, b"", method="GET", path=PATH).message


async def test_a_failed_connection_is_transient(api: FakeApiServer, tmp_path: Path) -> None:
    async with FakeApiServer().running() as gone:
        url = gone.url
    client = await KubeClient.connect(kubeconfig=write_kubeconfig(tmp_path / "other", url))
    with pytest.raises(KubeError) as refused:
        await client.request("GET", PATH)
    await client.close()
    assert (refused.value.status, refused.value.reason, refused.value.transient) == (0, Reason.API_UNAVAILABLE, True)
    assert refused.value.message.startswith(f"The API server does not answer (GET {PATH}: ")


async def test_a_silent_server_times_out(client: KubeClient, api: FakeApiServer) -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    api.answers["GET", PATH] = silent
    async with asyncio.timeout(5):
        with pytest.raises(KubeError) as refused:
            await client.request("GET", PATH, timeout=0.05)
    assert refused.value.transient
    assert "TimeoutError" in refused.value.message or "timeout" in refused.value.message.lower()


async def test_an_incomplete_answer_is_transient(client: KubeClient, api: FakeApiServer) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"items": [')
        assert request.transport is not None
        request.transport.close()
        return response

    api.answers["GET", PATH] = broken
    with pytest.raises(KubeError) as refused:
        await client.request("GET", PATH)
    assert refused.value.transient


async def test_json_and_text_are_decoded(client: KubeClient, api: FakeApiServer) -> None:
    api.answers["GET", PATH] = (200, {"items": []})
    api.answers["GET", "/api/v1/namespaces/apps/pods/a/log"] = (200, "line\n")
    assert await client.request("GET", PATH) == {"items": []}
    assert await client.request("GET", "/api/v1/namespaces/apps/pods/a/log") == "line\n"


async def test_a_stream_yields_events_of_any_length(client: KubeClient, api: FakeApiServer) -> None:
    long = "x" * 300_000

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "ADDED", "object": {"a": "' + long.encode())
        await response.write(b'"}}\n\n{"type": "DELETED", "obj')
        await response.write(b'ect": {}}\n')
        return response

    api.answers["GET", PATH] = watch
    events = [event async for event in client.stream(PATH, query={"resourceVersion": "1"}, timeout=5)]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]
    assert events[0]["object"]["a"] == long
    assert api.asked[-1][2] == {"resourceVersion": "1", "watch": "true"}


async def test_a_silent_stream_times_out(client: KubeClient, api: FakeApiServer) -> None:
    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    api.answers["GET", PATH] = watch
    async with asyncio.timeout(5):
        with pytest.raises(KubeError) as refused:
            async for _ in client.stream(PATH, query={}, timeout=0.05):
                pass
    assert refused.value.transient


async def test_an_error_event_raises_that_error(client: KubeClient, api: FakeApiServer) -> None:
    event = {"type": "ERROR", "object": refusal("too old resource version", 410)}
    api.answers["GET", PATH] = (200, event)

    async def watch(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(event).replace("'", '"') + "\n")

    api.answers["GET", PATH] = watch
    with pytest.raises(KubeError) as refused:
        async for _ in client.stream(PATH, query={}, timeout=5):
            pass
    assert refused.value.status == 410


async def test_watches_never_block_a_request(client: KubeClient, api: FakeApiServer) -> None:
    """Each release namespace in use has two of them: with fifty of these, nothing went through any more."""
    watching = asyncio.Semaphore(0)

    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        watching.release()
        await asyncio.Event().wait()
        return response

    async def follow() -> None:
        async for _ in client.stream("/watched", query={}, timeout=60):
            pass

    api.answers["GET", "/watched"] = watch
    api.answers["GET", PATH] = (200, {"items": []})
    watches = [asyncio.create_task(follow()) for _ in range(150)]
    async with asyncio.timeout(30):
        for _ in watches:
            await watching.acquire()
        assert await client.request("GET", PATH) == {"items": []}
    for task in watches:
        task.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


async def test_a_slow_webhook_does_not_block_other_requests(client: KubeClient, api: FakeApiServer) -> None:
    """Dry runs ask for the judgement of every webhook; one that hangs must not delay other charts."""
    asked = asyncio.Semaphore(0)

    async def hangs(_: web.Request) -> web.Response:
        asked.release()
        await asyncio.Event().wait()
        raise AssertionError

    api.answers["PATCH", PATH] = hangs
    api.answers["GET", PATH] = (200, {"items": []})
    held = [asyncio.create_task(client.request("PATCH", PATH, body={}, patient=True)) for _ in range(2 * REQUESTS)]
    async with asyncio.timeout(30):
        for _ in held:
            await asked.acquire()
        assert await client.request("GET", PATH) == {"items": []}
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_the_requests_of_a_namespace_are_in_nobodys_way(client: KubeClient, api: FakeApiServer) -> None:
    """Alone it may use all slots; others need not wait for them."""
    asked = asyncio.Semaphore(0)

    async def hangs(_: web.Request) -> web.Response:
        asked.release()
        await asyncio.Event().wait()
        raise AssertionError

    api.answers["PATCH", PATH] = hangs
    api.answers["GET", PATH] = (200, {"items": []})
    PAYER.set("team-a")
    held = [asyncio.create_task(client.request("PATCH", PATH, body={})) for _ in range(2 * REQUESTS)]
    async with asyncio.timeout(30):
        for _ in range(REQUESTS):
            await asked.acquire()
        PAYER.set("team-b")
        assert await client.request("GET", PATH) == {"items": []}
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_a_burst_of_requests_shares_a_few_connections(client: KubeClient, api: FakeApiServer) -> None:
    """A TLS handshake costs more than a request."""
    connections = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        connections.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(0.01)
        return web.json_response({})

    api.answers["GET", PATH] = answer
    await asyncio.gather(*(client.request("GET", PATH) for _ in range(5 * REQUESTS)))
    assert len(connections) <= REQUESTS


@pytest.mark.parametrize(("exempt", "asked"), [("", True), ("127.0.0.1", False), ("*", False)])
async def test_the_proxy_of_the_environment_is_used(
    api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exempt: str, asked: bool
) -> None:
    """As helm uses it, unless NO_PROXY names the API server."""
    async with FakeApiServer().running() as proxy:
        api.answers["GET", PATH] = (200, {"from": "the API server"})
        proxy.answers["GET", PATH] = (200, {"from": "the proxy"})
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", exempt)
        client = await KubeClient.connect(kubeconfig=api.kubeconfig(tmp_path / "proxied"))
        answer = await client.request("GET", PATH)
        await client.close()
    assert answer == {"from": "the proxy" if asked else "the API server"}


DEEP = '{"a":' * 2000 + "1" + "}" * 2000


async def test_an_object_of_any_nesting_is_read(client: KubeClient, api: FakeApiServer) -> None:
    """With what surrounds the nested values."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=f'{{"spec": {DEEP}, "status": {{"phase": "Ready"}}}}', content_type="application/json")

    api.answers["GET", PATH] = answer
    assert (await client.request("GET", PATH))["status"] == {"phase": "Ready"}


async def test_a_watch_survives_deep_nesting(client: KubeClient, api: FakeApiServer) -> None:
    async def watch(_: web.Request) -> web.Response:
        return web.Response(text=f'{{"type": "ADDED", "object": {DEEP}}}\n{{"type": "DELETED", "object": {{}}}}\n')

    api.answers["GET", PATH] = watch
    events = [event async for event in client.stream(PATH, query={}, timeout=5)]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]


@pytest.mark.parametrize("text", ["", "{", '{"items": [', "NaN,", "[" * 5000])
async def test_an_answer_that_is_not_json_is_transient(client: KubeClient, api: FakeApiServer, text: str) -> None:
    """The API server writes JSON: it was cut off, or a proxy answered."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    api.answers["GET", PATH] = answer
    with pytest.raises(KubeError) as refused:
        await client.request("GET", PATH)
    assert (refused.value.reason, refused.value.transient) == (Reason.API_UNAVAILABLE, True)
    assert refused.value.message.startswith(f"The answer of the API server cannot be read (GET {PATH}: ")


@pytest.mark.parametrize("line", ["{", "5", "[]", '{"type": "ADDED"}', '{"type": "ADDED", "object": 5}', "<html>"])
async def test_an_invalid_event_ends_the_watch(client: KubeClient, api: FakeApiServer, line: str) -> None:
    async def watch(_: web.Request) -> web.Response:
        return web.Response(text=line + "\n")

    api.answers["GET", PATH] = watch
    with pytest.raises(KubeError) as refused:
        async for _ in client.stream(PATH, query={}, timeout=5):
            pass
    assert (refused.value.reason, refused.value.transient) == (Reason.API_UNAVAILABLE, True)


@pytest.mark.parametrize("status", [403, 422, 503])
@pytest.mark.parametrize("raw", [b"[" * 5000, b'"text"', b'{"message": {"a": 1}}', b'{"message": 5}'])
def test_a_refusal_of_any_form_is_classified(status: int, raw: bytes) -> None:
    assert error_of(status, raw, method="GET", path=PATH).transient == (status != 422)


async def test_requests_on_behalf_of_a_resource_impersonate_its_account(client: KubeClient, api: FakeApiServer) -> None:
    """Watches too. One pool and one counter serve all, and the operator's own requests impersonate nobody."""
    api.answers["GET", PATH] = (200, {"kind": "List"})
    tenant = client.acting_as(Identity("team-a", "deployer"))
    await tenant.request("GET", PATH)
    async for _ in tenant.stream(PATH, query={}, timeout=5):
        pass
    await client.request("GET", PATH)
    await tenant.acting_as(None).request("GET", PATH)
    users = [headers.get("Impersonate-User") for headers in api.headers]
    assert users == ["system:serviceaccount:team-a:deployer"] * 2 + [None, None]
    assert client.requests_total == tenant.requests_total == 4
