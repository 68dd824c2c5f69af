"""Waits until the objects of a release are ready, for many releases at once.

Purpose: what `helm --wait` does with a process, two lists and two watches of its own for each release, for all releases
together: helm ends when its objects are applied, and no memory and no slot is held while pods start. Boundary: judges by
`readiness`; how long to wait, and what a failure means, is the caller's. Invariants: nothing that is older than the end of helm
counts (each object is read once after that, and what the watch shows must not be older); the watches of a kind are shared, and
closed soon after their last use.

Source: helm's `--wait`, https://helm.sh/docs/topics/advanced; the memory of waiting processes is what bounds installs at once.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from managedchart_operator.diagnosis.readiness import NOT_FOUND, Readiness, State, readiness
from managedchart_operator.diagnosis.views import View, Views
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.kube.watch import Change, changes
from managedchart_operator.reasons import Reason

# What a run that waits takes, mostly for the connections of its watches: 430 KiB were measured with each release in a namespace
# of its own. Beyond this many the API server would have more watches of ours than a cluster of 1,000 nodes makes.
WAITING_BYTES = 1024 * 1024
MOST_WAITING = 1000

# Of a kind with more objects than this in one namespace the collection is listed once instead of each object read.
_READ_SINGLY = 3
# How long to wait before an API server that did not answer is asked again.
_RETRY_SECONDS = 1.0
# An API server that has just started refuses everybody for a moment; a right that is missing for longer is missing.
_FORBIDDEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Collection:
    """What one watch can show: the objects of a kind in one namespace, or one cluster-wide object.

    The latter, since a cluster's CustomResourceDefinitions are many MiB, of which a release has a few.
    """

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, ref: ObjectRef) -> "_Collection":
        return cls(ref.api_version, ref.kind, ref.namespace, "" if ref.namespace else ref.name)

    @property
    def fields(self) -> str:
        return f"metadata.name={self.name}" if self.name else ""


@dataclass(frozen=True, slots=True)
class _Seen:
    version: int
    readiness: Readiness


@dataclass(slots=True)
class _CollectionView(View):
    """What is known of each object of a collection that has changed after the resourceVersion `since`, by name."""

    since: int = 0
    seen: dict[str, _Seen] = field(default_factory=dict)
    error: KubeError | None = None


@dataclass(slots=True)
class ReadyWait:
    """One wait for the objects of one release. `states` tells at any time how far each is."""

    states: dict[ObjectRef, Readiness]
    _objects: Objects
    _views: Views[_Collection, _CollectionView]
    _versions: dict[ObjectRef, int] = field(default_factory=dict)
    """The resourceVersion in which each was read: what is older says nothing."""

    async def until_settled(self) -> None:
        """Return when each object is ready or has failed for good. Raises KubeError for what waiting does not heal."""
        for ref in list(self.states):  # one after another: each kind is looked up once
            await _patiently(partial(self._place, ref))
        await self._read_all(self.states)
        if not (waiting := self._waiting()):
            return
        woken = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            views = []
            for collection, refs in _by_collection(waiting).items():
                # Not after a list: a namespace may hold thousands that are of no concern here.
                since = min(self._versions.get(ref, 0) for ref in refs)
                view = await stack.enter_async_context(
                    self._views.use(collection, partial(_CollectionView, since=since))
                )
                stack.enter_context(view.waking(woken))
                views.append((view, refs))
                # Others opened it, for what was read later: whether these have changed in between it does not tell.
                await self._read_all(ref for ref in refs if self._versions.get(ref, 0) < view.since)
            while True:
                woken.clear()
                for view, refs in views:
                    self._take(view, refs)
                if not self._waiting():
                    return
                await woken.wait()

    async def within(self, seconds: float) -> str:
        """Wait for at most so many seconds; return "" when all are ready, else which are not, in helm's words.

        Raises KubeError for what waiting does not heal.
        """
        told = []
        try:
            async with asyncio.timeout(seconds):
                await self.until_settled()
        except TimeoutError:
            told = ["context deadline exceeded"]
        unready = [
            f"resource {ref.kind}/{ref.namespace}/{ref.name} not ready. status: {found.state}, message: {found.message}"
            for ref, found in self.states.items()
            if found.state is not State.CURRENT
        ]
        return "\n".join(unready + told) if unready else ""

    def _waiting(self) -> list[ObjectRef]:
        return [ref for ref, state in self.states.items() if not state.settled]

    async def _place(self, ref: ObjectRef) -> None:
        """Take the namespace off a reference to a kind that has none."""
        if not await self._objects.namespaced(ref.api_version, ref.kind):
            self.states[replace(ref, namespace="")] = self.states.pop(ref)

    async def _read_all(self, wanted: Iterable[ObjectRef]) -> None:
        readings: list[Callable[[], Awaitable[None]]] = []
        for collection, refs in _by_collection(wanted).items():
            if len(refs) > _READ_SINGLY:
                readings.append(partial(self._list, collection, refs))
            else:
                readings += [partial(self._read, ref) for ref in refs]
        try:
            # Not gather, which leaves the others to themselves when one has failed.
            async with asyncio.TaskGroup() as group:
                for reading in readings:
                    group.create_task(_patiently(reading))
        except* KubeError as errors:
            raise errors.exceptions[0] from None

    async def _read(self, ref: ObjectRef) -> None:
        self._found(ref, await self._objects.get(ref))

    async def _list(self, collection: _Collection, refs: list[ObjectRef]) -> None:
        items = await self._objects.list(collection.api_version, collection.kind, namespace=collection.namespace)
        found = {item["metadata"]["name"]: item for item in items}
        for ref in refs:
            self._found(ref, found.get(ref.name))

    def _found(self, ref: ObjectRef, body: dict[str, Any] | None) -> None:
        if body is None:
            self.states[ref] = NOT_FOUND
            return
        self._versions[ref] = _version(body)
        self.states[ref] = readiness(body, api_version=ref.api_version, kind=ref.kind)

    def _take(self, view: _CollectionView, refs: Iterable[ObjectRef]) -> None:
        if view.error is not None:
            raise view.error
        for ref in refs:
            seen = view.seen.get(ref.name)
            if seen is not None and seen.version >= self._versions.get(ref, 0):
                self.states[ref] = seen.readiness


class ReadyWaits:
    """All waits of one operator."""

    def __init__(self, client: KubeClient, objects: Objects, *, at_once: int) -> None:
        self.places = asyncio.Semaphore(at_once)
        """To be held by each run that may wait: so many at once, by memory."""
        self._client = client
        self._objects = objects
        self._views: Views[_Collection, _CollectionView] = Views(
            lambda collection, view: [self._follow(collection, view)]
        )

    def of(self, rendered: Iterable[Mapping[str, Any]], *, namespace: str) -> ReadyWait:
        """Return a wait for objects of a release in a namespace, of which apiVersion, kind and metadata count.

        It has not begun.
        """
        unknown = Readiness(State.IN_PROGRESS, "not looked at yet")
        refs = [_reference(item, namespace) for item in rendered]
        return ReadyWait(dict.fromkeys(refs, unknown), self._objects, self._views)

    async def close(self) -> None:
        """Close the watches that linger."""
        await self._views.close()

    async def _follow(self, collection: _Collection, view: _CollectionView) -> None:
        try:
            path = await self._objects.collection_path(
                collection.api_version, collection.kind, namespace=collection.namespace
            )
            async for change in changes(self._client, path, fields=collection.fields, since=view.since, patient=False):
                _take_change(collection, view, change)
                view.tell()
        except KubeError as error:
            view.error = error
            view.tell()


async def _patiently(read: Callable[[], Awaitable[None]]) -> None:
    """Read until the API server answers. Raises KubeError for what waiting does not heal."""
    began = time.monotonic()
    while True:
        try:
            return await read()
        except KubeError as error:
            lasting = error.reason is Reason.FORBIDDEN and time.monotonic() - began > _FORBIDDEN_SECONDS
            if not error.transient or lasting:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


def _take_change(collection: _Collection, view: _CollectionView, change: Change) -> None:
    def seen(body: dict[str, Any]) -> _Seen:
        return _Seen(_version(body), readiness(body, api_version=collection.api_version, kind=collection.kind))

    if change.type == "Listed":
        view.seen = {item["metadata"]["name"]: seen(item) for item in change.object["items"]}
    elif change.type == "DELETED":
        view.seen[change.object["metadata"]["name"]] = _Seen(_version(change.object), NOT_FOUND)
    else:
        view.seen[change.object["metadata"]["name"]] = seen(change.object)


def waits_for(memory: int) -> int:
    """Return how many releases may be waited for at once in so many bytes of memory."""
    return max(16, min(MOST_WAITING, memory // WAITING_BYTES))


def _reference(item: Mapping[str, Any], namespace: str) -> ObjectRef:
    """Name a rendered object, as if its kind were namespaced."""
    meta = item["metadata"]
    # As text: a name like 2026-01-01 is a date to PyYAML and none to helm.
    return ObjectRef(str(item["apiVersion"]), item["kind"], str(meta["name"]), meta.get("namespace") or namespace)


def _by_collection(refs: Iterable[ObjectRef]) -> dict[_Collection, list[ObjectRef]]:
    found: defaultdict[_Collection, list[ObjectRef]] = defaultdict(list)
    for ref in refs:
        found[_Collection.of(ref)].append(ref)
    return found


def _version(body: dict[str, Any]) -> int:
    # Comparable as a number since Kubernetes 1.35 (KEP-5504); before, in every known storage.
    return int(body["metadata"].get("resourceVersion") or 0)
