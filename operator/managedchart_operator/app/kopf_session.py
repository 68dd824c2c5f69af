"""The HTTP session through which kopf reads ManagedCharts, without what is nested too deep.

kopf parses each page of a list and each line of a watch as a whole, with Python's json, and ends with the first error.
So one resource that is nested deeper than json can read would end the operator, and every restart of it. Through this session
it still arrives, with its metadata and with a spec that the reconciler refuses by name.

A custom session is part of kopf's documented interface (`kopf.AiohttpSession`), and a class of responses is part of aiohttp's
(`response_class`). It does rely on how kopf 1.45 reads: a page by `response.json()` and a watch by
`response.content.iter_chunked()`. Tests run kopf's own watch over it, and fail with a kopf that reads in another way.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from functools import lru_cache, partial
from typing import Any

import aiohttp
import kopf
from aiohttp.connector import Connection

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.kube.answers import error_of
from managedchart_operator.kube.client import lines
from managedchart_operator.shallow_json import read_json, shallow_json

logger = logging.getLogger(__name__)

# kopf restarts its watch immediately after a truncated answer.
_PAUSE_SECONDS = 1.0
# How often a namespace is asked that refuses; a new one is noticed so much later.
_REFUSED_SECONDS = 5.0


def sessions(*, patient: bool = False) -> Callable[[kopf.ConnectionInfo], kopf.AiohttpSession]:
    """Return a function that makes the session for a login of kopf; kopf closes it. Call it on the event loop.

    In a `patient` one a missing permission is asked for again for as long as it takes; else it ends kopf's watch.
    kopf compares credentials to recognise those that were refused, so equal ones get the same session.
    """
    return lru_cache(maxsize=1)(partial(_session, _refusals() if patient else _Response))


def _session(response_class: type[aiohttp.ClientResponse], info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        response_class=response_class,
    )
    return kopf.AiohttpSession(
        server=info.server,
        default_namespace=info.default_namespace,
        priority=info.priority,
        expiration=info.expiration,
        aiohttp_session=session,
    )


class _Response(aiohttp.ClientResponse):
    """A response that kopf's parser can always read."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Begin to read the answer."""
        await super().start(connection)
        self.content = _Lines(self.content)  # type: ignore[assignment]
        return self

    async def json(
        self, *, encoding: str | None = None, loads: Any = json.loads, content_type: str | None = "application/json"
    ) -> Any:
        """Return the decoded answer, without what is nested too deep."""
        if self.status >= 400:
            return await super().json(encoding=encoding, loads=loads, content_type=content_type)
        try:
            return await read_json(await self.read())
        except UNREADABLE as error:
            raise _broken_off(error) from error


def _refusals() -> type[_Response]:
    """Return a class of responses for an operator that works in a list of namespaces.

    A namespace that does not exist yet, or was deleted, refuses like one without permissions. kopf would end all of its watches
    then; after a broken answer it asks this namespace again.
    """
    refused: set[str] = set()

    class Patient(_Response):
        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            await super().start(connection)
            path = self.url.path
            if self.status != 403:
                refused.discard(path)
                return self
            if path not in refused:
                refused.add(path)
                refusal = error_of(self.status, await self.read(), method=self.method, path=path)
                logger.warning("cannot watch %s yet: %s", path, refusal.message)
            await asyncio.sleep(_REFUSED_SECONDS)
            raise aiohttp.ClientPayloadError(f"The API server refuses {path}")

    return Patient


class _Lines:
    """The body of an answer, in chunks of one whole line each, without what is nested too deep."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Yield the lines of a watch."""
        async for line in lines(self._content):
            try:
                shallow = await shallow_json(line)
            except UNREADABLE as error:
                await asyncio.sleep(_PAUSE_SECONDS)
                raise _broken_off(error) from error
            yield shallow + b"\n"


def _broken_off(error: Exception) -> aiohttp.ClientPayloadError:
    """Return an error after which kopf retries: JSON of the API server is never broken, only cut off."""
    return aiohttp.ClientPayloadError(f"The answer of the API server cannot be read: {error}")
