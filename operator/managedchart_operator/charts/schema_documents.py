"""Fetches what a chart's schemas refer to on the web, for one run of helm, and checks it.

The proxy calls for a document when helm asks for it (`schema_addresses`). Its address must be allowed as that of a chart must,
since whoever writes a chart chooses it; the connections go through the operator's own proxy, which checks every address, also
those of redirects. A document that refers to a file, or to an address that is not allowed, is not handed to helm. The first
problem is kept, because helm only learns that there is no document.
"""

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from managedchart_operator.charts.schema_addresses import originals, with_stand_ins
from managedchart_operator.charts.schema_references import MAX_SCHEMA_BYTES, References, references_of
from managedchart_operator.egress.addresses import kind_in_words
from managedchart_operator.egress.calls import ADDRESSES_SETTING, SOURCES_SETTING, Egress
from managedchart_operator.egress.dialing import RefusedError, UnreachableError
from managedchart_operator.egress.proxy import NoDocumentError, Session
from managedchart_operator.errors import ChartError, WorkerError
from managedchart_operator.helm.errors.chart_rows import SKIP_SCHEMA
from managedchart_operator.helm.errors.foreign import without_login
from managedchart_operator.helm.errors.row import TRUST
from managedchart_operator.reasons import Reason
from managedchart_operator.worker import run_in_worker

# helm's own request for a document ends after 15 s.
_FETCH_SECONDS = 12.0
# Half a second for the largest document that is accepted.
_SEARCH_SECONDS = 10.0
# Public schemas are one to three documents.
_MAX_DOCUMENTS = 32
_MAX_REDIRECTS = 5
_NEEDS = "The chart's values.schema.json needs {url}, which"


def check_allowed(egress: Egress | None, addresses: Iterable[str]) -> None:
    """Raise ChartError (VALUES_SCHEMA_REMOTE) for the first address that the operator may not call.

    It is transient, since the operator's settings may allow it later.
    """
    for address in addresses:
        why = "the operator may not call for a chart" if egress is None else egress.refused_address(address)
        if why is not None:
            raise _refused(address, why)


@dataclass(slots=True)
class SchemaDocuments:
    """The documents of one run of helm; called with the addresses that stand for them."""

    egress: Egress
    problem: ChartError | None = None
    """The first document that helm could not get."""
    _known: dict[str, bytes] = field(default_factory=dict)

    async def __call__(self, address: str) -> bytes:
        """Return a document. Raises NoDocumentError."""
        try:
            return await self._document(originals(address))
        except ChartError as error:
            self.problem = self.problem or error
            raise NoDocumentError from error

    async def _document(self, url: str) -> bytes:
        check_allowed(self.egress, [url])
        if url not in self._known:
            if len(self._known) >= _MAX_DOCUMENTS:
                raise _unusable(url, f"is one of more than {_MAX_DOCUMENTS} documents")
            data = await self._fetch(url)
            try:
                found: References = await run_in_worker(references_of, data, url, seconds=_SEARCH_SECONDS)
            except WorkerError as error:
                raise _unusable(url, "cannot be searched for references") from error
            if found.refused is not None:
                raise _unusable(url, found.refused)
            check_allowed(self.egress, found.remote)
            self._known[url] = with_stand_ins(data)
        return self._known[url]

    async def _fetch(self, url: str) -> bytes:
        with self.egress.proxy.session() as session:
            try:
                async with asyncio.timeout(_FETCH_SECONDS):
                    return await _get(url, session)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise _unfetched(url, session, error) from error


async def _get(url: str, session: Session) -> bytes:
    # Compressed bytes would have to be unpacked within bounds; a schema is small enough as it is.
    headers = {"Accept": "application/json, */*", "Accept-Encoding": "identity", "User-Agent": "managedchart-operator"}
    async with (
        aiohttp.ClientSession(trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as client,
        client.get(url, proxy=session.url, headers=headers, max_redirects=_MAX_REDIRECTS) as response,
    ):
        if response.status != HTTPStatus.OK:
            if session.problem is not None:
                raise aiohttp.ClientConnectionError
            gone = response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
            what = f"does not exist ({response.status})" if gone else f"cannot be fetched: status {response.status}"
            raise ChartError(
                f"{_needs(url)} {what}",
                reason=Reason.CHART_INVALID if gone else Reason.CHART_SOURCE_UNAVAILABLE,
                transient=not gone,
                hint=f"Correct the address in the chart, or {SKIP_SCHEMA}",
            )
        data = bytearray()
        async for chunk in response.content.iter_chunked(64 * 1024):
            data += chunk
            if len(data) > MAX_SCHEMA_BYTES:
                raise _unusable(url, f"is larger than {MAX_SCHEMA_BYTES >> 20} MiB")
        return bytes(data)


def _unfetched(url: str, session: Session, error: Exception) -> ChartError:
    match session.problem, error:
        case RefusedError() as refused, _:
            leads = f"leads to {refused.target.authority}, which the operator may not call for a chart"
            return _refused(url, f"{leads}: {kind_in_words(refused.kind)}")
        case UnreachableError() as unreachable, _:
            why = unreachable.why
        case _, aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return ChartError(
                f"{_needs(url)} has a TLS certificate that is not trusted",
                reason=Reason.CERTIFICATE_NOT_TRUSTED,
                hint=f"{TRUST} Or {SKIP_SCHEMA}",
            )
        case _, aiohttp.ClientSSLError() | ssl.SSLError():
            why = "it does not speak TLS"
        case _, TimeoutError():
            why = f"no answer within {_FETCH_SECONDS:.0f} s"
        case _, aiohttp.TooManyRedirects():
            why = f"more than {_MAX_REDIRECTS} redirects"
        case _:
            why = "the request failed"
    return ChartError(
        f"{_needs(url)} cannot be fetched: {why}",
        reason=Reason.CHART_SOURCE_UNAVAILABLE,
        transient=True,
        hint=f"It is retried automatically. If the operator's pod may not reach the address, {SKIP_SCHEMA}",
    )


def _refused(url: str, why: str) -> ChartError:
    return ChartError(
        f"{_needs(url)} {why}",
        reason=Reason.VALUES_SCHEMA_REMOTE,
        transient=True,
        hint=f"Copy the document into the schema, or {SKIP_SCHEMA} "
        f"An administrator can allow the address in the operator's settings {SOURCES_SETTING} and {ADDRESSES_SETTING}.",
    )


def _unusable(url: str, why: str) -> ChartError:
    return ChartError(
        f"{_needs(url)} {why}",
        reason=Reason.CHART_INVALID,
        hint=f"Correct the reference in the chart, or {SKIP_SCHEMA}",
    )


def _needs(url: str) -> str:
    return _NEEDS.format(url=without_login(url))
