"""Sends requests to the API server as plain JSON, over one connection pool.

`kubernetes.aio` does authentication, TLS and token refresh. Requests and answers stay dictionaries, since the generated
pydantic models cost several times the CPU of the request and drop fields they do not know. The callers in this package make
paths and bodies. Every request has a deadline, and every refusal becomes a `KubeError`, classified by `api_refusals`. Objects
of any nesting can be read (`shallow_json`).
"""

import asyncio
import contextlib
import copy
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yaml
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config

from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.kube.answers import decoded, error_of, is_unserved, unavailable, unreadable
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.pages import MOST_BYTES, PAGE, TooLargeError, next_limit, smaller
from managedchart_operator.kube.silence import note

# The API server itself gives up on a request after 60 s (--request-timeout); half of it leaves time for one retry.
REQUEST_SECONDS = 30.0
# How many requests may be under way at once, in addition to watches (two for each release namespace in use). Each has its own
# connection (a TLS handshake costs both sides more CPU than a request). The API server allows 400 in-flight requests by
# default.
REQUESTS = 32
_CONNECT_SECONDS = 10
# After each change of a CRD, and after its own start, the API server refuses to list objects of the kind until it has read them
# into its cache: some 100 ms after the first request for them (1.37, KEP-4568). helm's client retries too.
_INITIALIZING = "storage is (re)initializing"
_INITIALIZING_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.5)
OPERATOR = "managedchart-operator"
"""The name under which the operator sends requests, writes Events and sets fields, such as the marks of an adopted object."""

JSON_TYPE = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_IN_CLUSTER_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 -- a path


@dataclass(frozen=True, slots=True)
class Relayed:
    """The answer of something behind the API server, or of the API server itself if it could not reach it."""

    status: int
    body: bytes
    cut_off: bool
    """Whether the body was longer."""
    api_servers: int = 1
    """How many API servers it came through: each adds its header Audit-Id."""


@dataclass(slots=True)
class _Traffic:
    """The requests of all identities: they share one API server, and one connection pool."""

    sent: int = 0
    # Lent, since a request soon ends: a namespace that makes many must only not be in the way of the others.
    under_way: FairSlots = field(
        default_factory=lambda: FairSlots(REQUESTS, share=0.5, lends=lambda: True, elastic=True)
    )


class KubeClient:
    """Requests to one API server. Use `connect`, and `close` at the end."""

    def __init__(self, api: aio_client.ApiClient) -> None:
        self._api = api
        self.host: str = api.configuration.host
        """URL of the API server."""
        self.identity: Identity | None = None
        """Whom the requests impersonate; None for the operator itself."""
        self._traffic = _Traffic()

    def acting_as(self, identity: Identity | None) -> Self:
        """Return a client that sends its requests as a ServiceAccount, over the same connections; None for the operator."""
        other = copy.copy(self)
        other.identity = identity
        return other

    @property
    def requests_total(self) -> int:
        """How many requests were sent, of all identities."""
        return self._traffic.sent

    @classmethod
    async def connect(cls, *, kubeconfig: Path | None = None) -> Self:
        """Connect by kubeconfig if one is given, else by the pod's ServiceAccount. Raises StartupError."""
        configuration = aio_client.Configuration()
        try:
            if kubeconfig is not None:
                _check_present(kubeconfig)
                await aio_config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
            elif os.path.exists(_IN_CLUSTER_TOKEN):  # noqa: PTH110, ASYNC240 -- one look at a local file, at start
                aio_config.load_incluster_config(client_configuration=configuration)
            else:
                raise StartupError(
                    "No cluster is configured",
                    hint="Run the operator in a pod with a ServiceAccount, or set KUBECONFIG to a kubeconfig file.",
                )
        except aio_config.ConfigException as error:
            raise StartupError(f"The kubeconfig {kubeconfig or 'of the pod'} cannot be used: {error}") from error
        except yaml.YAMLError as error:
            raise StartupError(f"The kubeconfig {kubeconfig} is not YAML") from error
        configuration.connection_pool_maxsize = 0  # no limit: watches must never keep a request from its connection
        # Proxies are looked up once, here; otherwise the session would look them up, and read ~/.netrc, for each request.
        configuration.proxy = configuration.proxy or _proxy_for(configuration.host)
        configuration.client_session_kwargs = {"trust_env": False}
        return cls(aio_client.ApiClient(configuration))

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON_TYPE,
        accept: str = JSON_TYPE,
        timeout: float = REQUEST_SECONDS,
        patient: bool = False,
    ) -> Any:
        """Return the decoded JSON answer (a text for a text answer). Raises KubeError.

        `timeout` in seconds is for each try; there is a second one only while the API server reads the kind into its cache.
        A `patient` request may be delayed by an admission webhook that does not answer, so it does not count towards REQUESTS.
        """
        headers = {"Accept": accept, "Content-Type": content_type}
        raw, kind = await self._read(method, path, query, headers, body=body, timeout=timeout, patient=patient)
        return await decoded(raw, method, path) if kind == JSON_TYPE else raw.decode(errors="replace")

    async def _read(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        *,
        body: Any = None,
        timeout: float = REQUEST_SECONDS,
        patient: bool = False,
        most: int | None = None,
    ) -> tuple[bytes, str]:
        """Return an answer and its content type. Raises KubeError, and TooLargeError for one of more than `most` bytes."""
        delays = iter(_INITIALIZING_SECONDS)
        while True:
            try:
                async with (
                    contextlib.nullcontext() if patient else self._traffic.under_way.hold(),
                    self._answer(method, path, query, {**headers}, body=body, total=timeout) as response,
                ):
                    return await _bounded(response, most), response.content_type
            except KubeError as error:
                if error.status != 429 or _INITIALIZING not in error.answer or (delay := next(delays, None)) is None:
                    raise
                await asyncio.sleep(delay)

    async def pages(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = JSON_TYPE, first: int = PAGE
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a collection in lists that are bounded in objects and in bytes (`kube.pages`). Raises KubeError.

        `first` is how many objects the first one has at most.
        """
        query, limit = dict(query or {}), first
        while True:
            query["limit"] = str(limit)
            most = None if limit == 1 else MOST_BYTES
            try:
                raw, _ = await self._read("GET", path, query, {"Accept": accept}, most=most)
            except TooLargeError:
                limit = smaller(limit)
                continue
            limit = next_limit(limit, len(raw))
            page = await decoded(raw, "GET", path)
            del raw
            if not isinstance(page, dict) or not isinstance(page.get("metadata", {}), dict):
                raise unreadable("GET", path, "it is not a list")
            yield page
            if not (more := page.get("metadata", {}).get("continue")):
                return
            query["continue"] = more
            del page  # while the next one arrives

    async def stream(
        self, path: str, *, query: Mapping[str, str], accept: str = JSON_TYPE, timeout: float
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch until the server ends it, or is silent for `timeout` seconds. Raises KubeError."""
        async with self._answer("WATCH", path, {**query, "watch": "true"}, {"Accept": accept}) as response:
            async for line in lines(response.content, silence=timeout):
                event = await decoded(line, "WATCH", path)
                if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                    raise unreadable("WATCH", path, "it is not an event")
                if event.get("type") == "ERROR":
                    status = event["object"]
                    code = status.get("code")
                    raise error_of(
                        code if isinstance(code, int) else 500, json.dumps(status).encode(), method="WATCH", path=path
                    )
                yield event

    async def call_through(self, path: str, *, query: Mapping[str, str] | None, seconds: float, most: int) -> Relayed:
        """GET a path behind which the API server calls something else, like services/proxy. Raises KubeError.

        What answers there is not trusted: redirects are not followed, and at most `most` bytes are read.
        """
        headers = {"Accept": "*/*", "User-Agent": OPERATOR, "Accept-Encoding": "identity"}
        if self.identity is not None:
            headers["Impersonate-User"] = self.identity.user
        self._traffic.sent += 1
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        rest = self._api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 -- as its own first request does
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            async with rest.pool_manager.get(
                url, headers=headers, timeout=limits, allow_redirects=False, proxy=rest.proxy
            ) as response:
                body = b""
                while len(body) <= most and (part := await response.content.read(most + 1 - len(body))):
                    body += part
                api_servers = len(response.headers.getall("Audit-Id", ()))
                return Relayed(response.status, body[:most], cut_off=len(body) > most, api_servers=api_servers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise unavailable(f"The API server does not answer (GET {path}: {why})") from error

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: dict[str, str],
        *,
        body: Any = None,
        total: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and read its answer in the block. Raises KubeError for a refusal and a lost connection."""
        headers["User-Agent"] = OPERATOR
        limits = aiohttp.ClientTimeout(total=total, sock_connect=_CONNECT_SECONDS)
        verb = "GET" if method == "WATCH" else method
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        if self.identity is not None:
            headers["Impersonate-User"] = self.identity.user
        self._traffic.sent += 1
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, verb, body)
        sent, answered = time.monotonic(), False
        try:
            answer = await self._api.rest_client.request(verb, url, headers=headers, body=body, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
            with contextlib.closing(response):
                if response.status >= 300:
                    refused = error_of(response.status, await response.read(), method=method, path=path)
                    answered = not is_unserved(refused)
                    raise refused
                answered = True
                note(answered=True, sent=sent)  # now, since a watch goes on
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise unavailable(f"The API server does not answer ({method} {path}: {why})") from error
        finally:
            note(answered=answered, sent=sent)


async def _bounded(response: aiohttp.ClientResponse, most: int | None) -> bytes:
    """Return the body of an answer. Raises TooLargeError as soon as it has more than `most` bytes."""
    if most is None:
        return await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        if (size := size + len(part)) > most:
            raise TooLargeError
    return b"".join(parts)


async def unless_missing(answer: Awaitable[Any]) -> Any:
    """Return the answer to a request, or None if what it asks for does not exist. Raises KubeError."""
    try:
        return await answer
    except KubeError as error:
        if error.status != 404:
            raise
        return None


def _proxy_for(host: str) -> str | None:
    """Return the proxy for a URL from the environment (HTTPS_PROXY, NO_PROXY and so on), as curl and helm do."""
    address = urlsplit(host)
    if proxy_bypass(address.netloc):
        return None
    return getproxies().get(address.scheme)


def _check_present(kubeconfig: Path) -> None:
    """Raise StartupError if no file of a kubeconfig (a list like PATH) exists; the client would report a missing key."""
    if not any(Path(part).is_file() for part in str(kubeconfig).split(os.pathsep)):
        raise StartupError(f"There is no kubeconfig at {kubeconfig}", hint="Correct KUBECONFIG, or unset it in a pod.")


async def lines(content: aiohttp.StreamReader, *, silence: float | None = None) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, of any length, without empty ones and an incomplete last one.

    aiohttp's line reader costs ten times as much for a short line. Raises TimeoutError after `silence` seconds without data.
    """
    rest = b""
    while True:
        async with asyncio.timeout(silence):
            chunk = await content.readany()
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        for line in filter(bytes.strip, whole):
            yield line
