"""Turns the spec's chart source into a local chart for helm.

`fingerprint` identifies a chart cheaply, `fetch` returns a local copy. `local` reads charts, in worker processes, `cache` does
the other file work, in threads, and the `Pull` that is passed in runs helm. helm reads only from the cache, never from where
the spec points, so that what was checked and identified is what is installed. A chart from a repository is pulled once for all
callers that ask at the same time. What is remembered can always be determined again.
"""

import asyncio
import copy
import hashlib
import json
import math
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import semver

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.cache import ChartCache, Lease, write
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.crd_folders import CrdFolders, without_templates
from managedchart_operator.charts.local import (
    COPY,
    ChartContent,
    Identified,
    LocalChart,
    identify_archive,
    identify_file,
    read_local,
)
from managedchart_operator.charts.metadata import ChartMetadata, invalid
from managedchart_operator.charts.reading import read_chart
from managedchart_operator.charts.recent import Recent
from managedchart_operator.charts.schema_documents import check_allowed
from managedchart_operator.charts.schema_references import References
from managedchart_operator.charts.shared_work import SharedWork
from managedchart_operator.egress.calls import Egress
from managedchart_operator.errors import ChartError
from managedchart_operator.fair_slots import PAYER
from managedchart_operator.reasons import Reason

# A constraint (6.x) may match another version later: new versions are noticed within this time, and many resources with the
# same constraint cost one request to the repository.
CONSTRAINT_SECONDS = 300.0
# A few kB each. With more charts than this, some are identified again.
MAX_REMEMBERED = 2048

_CONTENTS = "spec.chart.contents"
_REFERENCE_HINT = (
    "Copy the document into the schema, or set spec.skipSchemaValidation: true to deploy without checking the values against "
    "the chart's schema."
)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Reference: TypeAlias = tuple[str | None, ...]
Begin: TypeAlias = Callable[[], Awaitable[None]]
Pull: TypeAlias = Callable[[ChartSource, Path, Begin], Awaitable[None]]
"""Runs `helm pull`: puts one packaged chart into the folder. Raises HelmError, ChartError.

It awaits the last argument when helm has its slot, and runs no helm if that raises."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart on local disk that helm can read. The fields mean what they mean in its `ChartContent`."""

    path: Path
    metadata: ChartMetadata
    digest: str
    late_hooks: bool
    ttl_jobs: bool
    leaves_out: bool = False
    references: References = field(default_factory=References)
    crds: CrdFolders = CrdFolders.NONE
    lease: Lease | None = field(default=None, compare=False, repr=False)
    """Keeps the copy in the cache: it may be deleted once nothing refers to this chart any more."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.metadata.version

    @property
    def app_version(self) -> str | None:
        """The version of the application that it installs."""
        return self.metadata.app_version

    def check_schemas(self, egress: Egress | None) -> None:
        """Raise ChartError where a schema refers to what helm must not read; helm reads it to check values.

        That is CHART_INVALID for files, and VALUES_SCHEMA_REMOTE for addresses that may not be called: all without `egress`.
        """
        if self.references.refused is not None:
            raise ChartError(
                f"Chart {self.name}: {self.references.refused}", reason=Reason.CHART_INVALID, hint=_REFERENCE_HINT
            )
        check_allowed(egress, self.references.remote)


class ChartStore:
    """All charts of one operator; `cache_dir` belongs to this process alone."""

    def __init__(
        self, *, roots: ChartRoots, cache_dir: Path, pull: Pull, egress: Egress | None = None, share: float = 1.0
    ) -> None:
        """`share` is which part of the cache the charts in use by one namespace may fill."""
        self._roots = roots
        self._cache = ChartCache(cache_dir, share=share)
        self._pull = pull
        self.egress = egress
        """Decides which repositories, registries and schemas may be called; without it nothing is refused but schemas."""
        self._paths: Recent[Reference, Identified] = Recent(MAX_REMEMBERED)
        self._archives: Recent[str, ChartContent] = Recent(MAX_REMEMBERED)
        # With the monotonic time until which a reference stands for this chart.
        self._pulled: Recent[Reference, tuple[ChartContent, float]] = Recent(MAX_REMEMBERED)
        self._fetches: SingleFlight[Reference, Chart] = SingleFlight()
        self._pulls: SharedWork[Reference, Chart] = SharedWork()

    def of(self, namespace: str) -> "ChartStore":
        """Return the same store for ManagedCharts in this namespace, whose chart roots may be others."""
        other = copy.copy(self)
        other._roots = self._roots.of(namespace)  # noqa: SLF001 -- the copy's
        return other

    async def fingerprint(self, source: ChartSource) -> str:
        """Return what identifies the chart in an input's digest (hex), without network or helm.

        For path and contents this is the content's digest, equal to `Chart.digest`; for repository and oci a digest of the
        reference. Raises ChartError as `fetch` does for path and contents.
        """
        if source.path is not None:
            return (await self._identify(source.path)).content.digest
        if source.contents is not None:
            return (await self._decode(source.contents))[1].digest
        reference = {"repository": source.repository, "name": source.name, "oci": source.oci, "version": source.version}
        return hashlib.sha256(json.dumps(reference, sort_keys=True).encode()).hexdigest()

    async def metadata(self, source: ChartSource) -> ChartMetadata | None:
        """Return name and versions of a chart of path or contents; None for any other. Raises ChartError as `fetch` does."""
        if source.path is not None:
            return (await self._identify(source.path)).content.metadata
        return (await self._decode(source.contents))[1].metadata if source.contents is not None else None

    def check_source(self, source: ChartSource) -> None:
        """Raise ChartError (CHART_SOURCE_NOT_ALLOWED) for a repository or registry that may not be called."""
        if self.egress is not None:
            self.egress.check_source(source)

    async def fetch(self, source: ChartSource, *, refresh: bool = False) -> Chart:
        """Return a local copy of the chart for helm.

        `refresh` asks the repository or registry again even if the chart is cached. The copy stays for as long as the
        chart is referred to. Raises ChartError, and HelmError from the pull.
        """
        if source.path is not None:
            path = source.path
            return await self._fetches.run((PAYER.get(), *self._here(path)), lambda: self._from_path(path))
        if source.contents is not None:
            data, found = await self._decode(source.contents)
            return _chart(found, await asyncio.to_thread(self._cached, data, found.cache_name))
        self.check_source(source)  # also where the cache has the chart, so that a setting counts at once
        reference = (source.repository, source.name, source.oci, source.version, str(source.plain_http))
        pulled = None if refresh else self._pulled.get(reference)
        if pulled is not None and time.monotonic() < pulled[1]:
            copy = await asyncio.to_thread(self._cache.find, pulled[0].cache_name)
            if copy is not None:
                return _chart(pulled[0], copy)
        # Shared by the callers of one namespace from the beginning, and by all once helm has its slot.
        return await self._fetches.run(
            (PAYER.get(), *reference),
            lambda: self._pulls.run(reference, partial(self._from_remote, source, reference)),
        )

    @asynccontextmanager
    async def without_templates(self, chart: Chart, *, schemas: bool = False) -> AsyncIterator[Path]:
        """Make a copy of the part of a chart that decides about CRDs, for as long as the context lasts. Raises ChartError.

        With `schemas`, these are in it as well, with stand-ins for the addresses of the web (`schema_addresses`).
        """
        async with self._workspace() as folder:
            yield await read_chart(without_templates, chart.path, folder, schemas, origin=f"chart {chart.name}")

    async def _identify(self, path: str) -> Identified:
        known = self._paths.get(self._here(path))
        chart = await asyncio.to_thread(LocalChart, path, self._roots)
        if known is None or not chart.is_still(known):
            known = await self._read(path)
        return known

    async def _read(self, path: str, copy_to: Path | None = None) -> Identified:
        read_at = time.time()
        found = await read_chart(read_local, path, self._roots, copy_to, origin=f"spec.chart.path {path}")
        found = found.settled(read_at)
        self._paths.put(self._here(path), found)
        return found

    async def _from_path(self, path: str) -> Chart:
        found = await self._identify(path)
        if present := await asyncio.to_thread(self._cache.find, found.content.cache_name):
            return _chart(found.content, present)
        async with self._workspace() as workspace:
            # Read again: the files may have changed since, and what is copied counts.
            found = await self._read(path, workspace)
            copy = await asyncio.to_thread(self._cache.add, workspace / COPY, found.content.cache_name)
            return _chart(found.content, copy)

    @asynccontextmanager
    async def _workspace(self) -> AsyncIterator[Path]:
        workspace = self._cache.workspace()
        folder = await asyncio.to_thread(workspace.__enter__)
        try:
            yield folder
        finally:
            await asyncio.shield(asyncio.to_thread(workspace.__exit__, None, None, None))

    def _cached(self, data: bytes, name: str) -> Lease:
        """Return a packaged chart in the cache, and add it if it is not there."""
        if present := self._cache.find(name):
            return present
        with self._cache.workspace() as workspace:
            write(workspace / COPY, data)
            return self._cache.add(workspace / COPY, name)

    def _here(self, path: str) -> Reference:
        """Return the key of a path: with other chart roots it is another one, and is checked for itself."""
        return str(self._roots), path

    async def _decode(self, contents: str) -> tuple[bytes, ChartContent]:
        try:
            data = b64decode("".join(contents.split()), validate=True)
        except Base64Error as error:
            raise invalid(f"{_CONTENTS} is not valid base64") from error
        digest = hashlib.sha256(data).hexdigest()
        found = self._archives.get(digest)
        if found is None:
            found = await read_chart(identify_archive, data, _CONTENTS, origin=_CONTENTS)
            self._archives.put(digest, found)
        return data, found

    async def _from_remote(self, source: ChartSource, reference: Reference, begin: Begin) -> Chart:
        asked_at = time.monotonic()
        async with self._workspace() as destination:
            await self._pull(source, destination, begin)
            archive = await asyncio.to_thread(_the_archive, destination, _name(source))
            found = await read_chart(identify_file, archive, _name(source), origin=_name(source))
            copy = await asyncio.to_thread(
                lambda: self._cache.find(found.cache_name) or self._cache.add(archive, found.cache_name)
            )
        until = math.inf if _is_exact(source.version) else asked_at + CONSTRAINT_SECONDS
        self._pulled.put(reference, (found, until))
        return _chart(found, copy)


def _the_archive(destination: Path, origin: str) -> Path:
    archives = list(destination.glob("*.tgz"))
    if len(archives) != 1:
        raise invalid(f"{origin}: helm pull returned {len(archives)} charts instead of one")
    return archives[0]


@dataclass(slots=True)
class _Flight(Generic[Value]):
    task: asyncio.Task[Value]
    waiting: int = 0


class SingleFlight(Generic[Key, Value]):
    """Runs a piece of work once for all callers that ask for it at the same time.

    Cancelling one caller does not affect the others; cancelling the last one cancels the work, and waits for its end. Nothing
    is remembered after the work has ended.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Value]] = {}

    async def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Join the work for this key, or start it. Raises what the work raises, to every caller."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(work(), name=f"single flight {key}"))
            self._flights[key] = flight
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.task.done():
                    flight.task.cancel()
                    await asyncio.wait([flight.task])
                if not flight.task.cancelled():
                    # Retrieved, or asyncio would log that nobody retrieved the error.
                    flight.task.exception()


def _chart(content: ChartContent, copy: Lease) -> Chart:
    return Chart(
        path=copy.path,
        metadata=content.metadata,
        digest=content.digest,
        late_hooks=content.late_hooks,
        ttl_jobs=content.ttl_jobs,
        leaves_out=content.leaves_out,
        references=content.references,
        crds=content.crds,
        lease=copy,
    )


def _name(source: ChartSource) -> str:
    where = source.oci or f"{source.name} of {source.repository}"
    return f"chart {where}" + (f" {source.version}" if source.version else "")


def _is_exact(version: str | None) -> bool:
    """Whether this names one version; anything shorter, like 1.2, is a constraint to helm."""
    return version is not None and semver.Version.is_valid(version.removeprefix("v"))
