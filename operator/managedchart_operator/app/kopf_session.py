"""The HTTP session through which kopf reads ManagedCharts.

kopf parses each page of a list and each line of a watch as a whole, with Python's json, and ends with the first error.
So one resource that is nested deeper than json reads would end the operator, and each start of it. Here that is cut off
(`nesting`) before kopf sees it: the resource still arrives, with its metadata and with a spec that the reconciler
refuses by name.

Why here: a session of one's own is part of kopf's documented interface (`kopf.AiohttpSession`), and a class of
responses is part of aiohttp's (`response_class`), so nothing of kopf is replaced and its lists, watches, retries and
logins stay its own. What it relies on is that kopf takes a page by `response.json()` and a watch by
`response.content.iter_chunked()`; tests/unit/app/test_kopf_session.py holds that by running kopf's own watch.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import kopf

from managedchart_operator.errors import UNREADABLE
from managedchart_operator.kube.client import lines
from managedchart_operator.nesting import read_json, shallow_json

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# kopf begins its watch again at once after an answer that breaks off.
_PAUSE_SECONDS = 1.0


class KopfSessions:
    """Makes a session of each credentials that kopf logs in with.

    kopf recognises credentials that were refused by comparing them, so equal ones get the same session.
    """

    def __init__(self) -> None:
        self._made: tuple[kopf.ConnectionInfo, kopf.AiohttpSession] | None = None

    def of(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """Return the session; kopf closes it. To be called on the event loop."""
        if self._made is None or self._made[0] != info:
            session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
                headers=info.as_http_headers(),
                proxy=info.proxy_url,
                trust_env=info.trust_env,
                response_class=_Response,
            )
            made = kopf.AiohttpSession(
                server=info.server,
                default_namespace=info.default_namespace,
                priority=info.priority,
                expiration=info.expiration,
                aiohttp_session=session,
            )
            self._made = info, made
        return self._made[1]


class _Response(aiohttp.ClientResponse):
    """A response of which kopf's parser can read everything."""

    async def start(self, connection: "Connection") -> aiohttp.ClientResponse:
        """Begin to read the answer."""
        await super().start(connection)
        self.content = _Lines(self.content)  # type: ignore[assignment]
        return self

    async def json(
        self, *, encoding: str | None = None, loads: Any = json.loads, content_type: str | None = "application/json"
    ) -> Any:
        """Return the value of the answer, without what is nested too deep."""
        if self.status >= 400:
            return await super().json(encoding=encoding, loads=loads, content_type=content_type)
        try:
            return await read_json(await self.read())
        except UNREADABLE as error:
            raise _broken_off(error) from error


class _Lines:
    """The body of an answer; in chunks, each of them is a whole line without what is nested too deep."""

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
    """What kopf begins again after; the API server's own JSON has no other fault than to be cut off."""
    return aiohttp.ClientPayloadError(f"the answer of the API server cannot be read: {error}")
