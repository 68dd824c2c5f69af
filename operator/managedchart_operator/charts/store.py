"""Turns the spec's chart source into a local chart for helm.

`fingerprint` identifies a chart cheaply, `fetch` returns a local copy. `local` and `cache` do the file work, in threads, and
the `Pull` that is passed in runs helm. helm reads only from the cache, never from where the spec points, so that what was
checked and identified is what is installed. A chart from a repository is pulled once for all callers that ask at the same time.
What is remembered can always be determined again.
"""

import asyncio
import hashlib
import json
import math
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import semver

from managedchart_operator.api.spec import ChartSource
from managedchart_operator.charts.cache import ChartCache
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.crd_folders import CrdFolders, without_templates
from managedchart_operator.charts.local import ChartContent, Identified, LocalChart, cache_archive, identify_archive
from managedchart_operator.charts.metadata import invalid
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason

# A constraint (6.x) may match another version later: new versions are noticed within this time, and many resources with the
# same constraint cost one request to the repository.
CONSTRAINT_SECONDS = 300.0
# A few kB each. With more charts than this, some are identified again.
MAX_REMEMBERED = 2048

_CONTENTS = "spec.chart.contents"
_REFERENCE_HINT = (
    "Copy what it refers to into the schema itself, or set spec.skipSchemaValidation: true to deploy without checking the "
    "values against the chart's schema."
)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Reference: TypeAlias = tuple[str | None, ...]
Pull: TypeAlias = Callable[[ChartSource, Path], Awaitable[None]]
"""Runs `helm pull`: puts one packaged chart into the folder. Raises HelmError."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart on local disk that helm can read. The fields mean what they mean in its `ChartContent`."""

    path: Path
    name: str
    version: str
    app_version: str | None
    digest: str
    late_hooks: bool
    ttl_jobs: bool
    leaves_out: bool = False
    refused_reference: str | None = None
    crds: CrdFolders = CrdFolders.NONE

    def check_schemas(self) -> None:
        """Raise ChartError (CHART_INVALID) where a schema refers to what helm must not read; helm reads it to check values."""
        if self.refused_reference is not None:
            raise ChartError(
                f"Chart {self.name}: {self.refused_reference}", reason=Reason.CHART_INVALID, hint=_REFERENCE_HINT
            )


class ChartStore:
    """All charts of one operator; `cache_dir` belongs to this process alone."""

    def __init__(self, *, roots: ChartRoots, cache_dir: Path, pull: Pull) -> None:
        self._roots = roots
        self._cache = ChartCache(cache_dir)
        self._pull = pull
        self._paths: _Recent[str, Identified] = _Recent()
        self._archives: _Recent[str, ChartContent] = _Recent()
        # With the monotonic time until which a reference stands for this chart.
        self._pulled: _Recent[Reference, tuple[ChartContent, float]] = _Recent()
        self._fetches: SingleFlight[str | Reference, Chart] = SingleFlight()

    async def fingerprint(self, source: ChartSource) -> str:
        """Return what identifies the chart in an input's digest (hex), without network or helm.

        For path and contents this is the content's digest, equal to `Chart.digest`; for repository and oci a digest of the
        reference. Raises ChartError as `fetch` does for path and contents.
        """
        if source.path is not None:
            path, known = source.path, self._paths.get(source.path)
            found = await asyncio.to_thread(lambda: LocalChart(path, self._roots).identify(known))
            self._paths.put(path, found)
            return found.content.digest
        if source.contents is not None:
            return (await self._decode(source.contents))[1].digest
        reference = {"repository": source.repository, "name": source.name, "oci": source.oci, "version": source.version}
        return hashlib.sha256(json.dumps(reference, sort_keys=True).encode()).hexdigest()

    async def fetch(self, source: ChartSource, *, refresh: bool = False) -> Chart:
        """Return a local copy of the chart for helm.

        `refresh` asks the repository or registry again even if the chart is cached. The copy stays for at least ten minutes;
        fetch again before a later use. Raises ChartError, and HelmError from the pull.
        """
        if source.path is not None:
            path = source.path
            return await self._fetches.run(path, lambda: self._from_path(path))
        if source.contents is not None:
            data, found = await self._decode(source.contents)
            return _chart(found, await asyncio.to_thread(cache_archive, data, found, self._cache))
        reference = (source.repository, source.name, source.oci, source.version, str(source.plain_http))
        pulled = None if refresh else self._pulled.get(reference)
        if pulled is not None and time.monotonic() < pulled[1]:
            copy = await asyncio.to_thread(self._cache.find, pulled[0].cache_name)
            if copy is not None:
                return _chart(pulled[0], copy)
        return await self._fetches.run(reference, lambda: self._from_remote(source, reference))

    @asynccontextmanager
    async def without_templates(self, chart: Chart) -> AsyncIterator[Path]:
        """Make a copy of the part of a chart that decides about CRDs, for as long as the context lasts. Raises ChartError."""
        workspace = self._cache.workspace()
        folder = await asyncio.to_thread(workspace.__enter__)
        try:
            yield await asyncio.to_thread(without_templates, chart.path, folder)
        finally:
            await asyncio.shield(asyncio.to_thread(workspace.__exit__, None, None, None))

    async def _from_path(self, path: str) -> Chart:
        known = self._paths.get(path)
        found, copy = await asyncio.to_thread(lambda: LocalChart(path, self._roots).obtain(known, self._cache))
        self._paths.put(path, found)
        return _chart(found.content, copy)

    async def _decode(self, contents: str) -> tuple[bytes, ChartContent]:
        try:
            data = b64decode("".join(contents.split()), validate=True)
        except Base64Error as error:
            raise invalid(f"{_CONTENTS} is not valid base64") from error
        digest = hashlib.sha256(data).hexdigest()
        found = self._archives.get(digest)
        if found is None:
            found = await asyncio.to_thread(identify_archive, data, origin=_CONTENTS)
            self._archives.put(digest, found)
        return data, found

    async def _from_remote(self, source: ChartSource, reference: Reference) -> Chart:
        asked_at = time.monotonic()
        workspace = self._cache.workspace()
        destination = await asyncio.to_thread(workspace.__enter__)
        try:
            await self._pull(source, destination)
            found, path = await asyncio.to_thread(self._take, destination, _name(source))
        finally:
            await asyncio.shield(asyncio.to_thread(workspace.__exit__, None, None, None))
        until = math.inf if _is_exact(source.version) else asked_at + CONSTRAINT_SECONDS
        self._pulled.put(reference, (found, until))
        return _chart(found, path)

    def _take(self, destination: Path, origin: str) -> tuple[ChartContent, Path]:
        archives = list(destination.glob("*.tgz"))
        if len(archives) != 1:
            raise invalid(f"{origin}: helm pull returned {len(archives)} charts instead of one")
        found = identify_archive(archives[0].read_bytes(), origin=origin)
        return found, self._cache.find(found.cache_name) or self._cache.add(archives[0], found.cache_name)


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


class _Recent(Generic[Key, Value]):
    """The most recently used values, up to MAX_REMEMBERED."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > MAX_REMEMBERED:
            self._values.popitem(last=False)


def _chart(content: ChartContent, path: Path) -> Chart:
    metadata = content.metadata
    return Chart(
        path=path,
        name=metadata.name,
        version=metadata.version,
        app_version=metadata.app_version,
        digest=content.digest,
        late_hooks=content.late_hooks,
        ttl_jobs=content.ttl_jobs,
        leaves_out=content.leaves_out,
        refused_reference=content.refused_reference,
        crds=content.crds,
    )


def _name(source: ChartSource) -> str:
    where = source.oci or f"{source.name} of {source.repository}"
    return f"chart {where}" + (f" {source.version}" if source.version else "")


def _is_exact(version: str | None) -> bool:
    """Whether this names one version; anything shorter, like 1.2, is a constraint to helm."""
    return version is not None and semver.Version.is_valid(version.removeprefix("v"))
