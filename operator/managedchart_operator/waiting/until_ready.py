"""Waits until the objects of a release are ready, for many releases at once.

It takes the place of `helm --wait`, so that no process and no slot is held while pods start. `kstatus` decides whether an
object is ready; the caller decides how long to wait, and what a failure means. Nothing from before the end of helm counts:
each object is read once after that, and the watch must not show an older version. An object that was ready or has failed keeps
that state when it is deleted. The watches of a kind are shared, and closed soon after their last use.
Source: helm's `--wait`, https://helm.sh/docs/topics/advanced.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.fair_slots import FairSlots
from managedchart_operator.helm.errors.unready import Unready, not_ready
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.objects import ObjectRef, Objects, reference, version_of
from managedchart_operator.kube.shared_watch import Views
from managedchart_operator.kube.watch import Polling, changes
from managedchart_operator.reasons import Reason
from managedchart_operator.shortening import cut_middle
from managedchart_operator.waiting.claims import CLAIM, Consumers, binds_late
from managedchart_operator.waiting.collection_view import CollectionView, Seen, Watched, bounded
from managedchart_operator.waiting.ended_jobs import expires, result_of
from managedchart_operator.waiting.kstatus import JOB, NOT_FOUND, Readiness, State, readiness

# The memory of a waiting run, mostly for the connections of its watches: measured 430 KiB with each release in a separate
# namespace. Beyond MOST_WAITING the operator would open more watches than a cluster of 1,000 nodes does.
WAITING_BYTES = 1024 * 1024
MOST_WAITING = 1000

# With more objects of a kind than this in one namespace, the collection is listed once instead of each object read.
_READ_SINGLY = 3
# A chart may name thousands of collections: all at once they would hold up the event loop, and send as many requests again for
# as long as they are refused.
_READ_AT_ONCE = 200
# Pause before the next request to an API server that did not answer.
_RETRY_SECONDS = 1.0
# An API server that has just started refuses everybody for a moment; a permission that is missing for longer is missing.
_FORBIDDEN_SECONDS = 10.0
Redactors = Callable[[], Awaitable[Callable[[str], str]]]
_MAX_REDACTED = 4096  # a controller may write any text
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_NO_CONSUMER = Readiness(State.CURRENT, "PVC waits for its first consumer, which the release does not have")
T = TypeVar("T")


@dataclass(slots=True)
class ReadyWait:
    """One wait for the objects of one release. `states` shows the current readiness of each."""

    states: dict[ObjectRef, Readiness]
    _objects: Objects
    _use: Callable[[ObjectRef, Callable[[], CollectionView]], AbstractAsyncContextManager[CollectionView]]
    """Opens the watch of a collection."""
    _consumers: Consumers
    _expiring: frozenset[ObjectRef]
    """Jobs that Kubernetes deletes once they have finished."""
    _result_of: Callable[[ObjectRef], Awaitable[Readiness]]
    """Returns the result of such a Job that is deleted."""
    _ends_early: bool
    _versions: dict[ObjectRef, int] = field(default_factory=dict)
    """The resourceVersion in which each was read: anything older does not count."""
    _examined: set[ObjectRef] = field(default_factory=set)
    _unconsumed: set[ObjectRef] = field(default_factory=set)
    """Claims that no pod mounts; the wait ignores them."""

    async def until_settled(self) -> None:
        """Return when each object is ready or has failed. Raises KubeError if a retry cannot succeed."""
        for number, ref in enumerate(list(self.states)):  # one after another: each kind is looked up once
            if number % _READ_AT_ONCE == 0:
                await asyncio.sleep(0)  # what is known already is found without a pause
            resolved = await _patiently(partial(self._objects.resolve, ref))
            self.states[resolved] = self.states.pop(ref)
        await self._read_all(self.states)
        await self._examine()
        if self._is_over():
            return
        woken = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            views = []
            for collection, refs in _by_collection(self._waiting()).items():
                # Without a list first: a namespace may have thousands of other objects.
                since = min(self._versions.get(ref, 0) for ref in refs)
                view = await stack.enter_async_context(
                    self._use(collection, partial(CollectionView, kind=collection.group_kind, since=since))
                )
                stack.enter_context(view.wakes(woken))
                views.append((view, refs))
                # Another wait opened this view after a later read, so it does not show earlier changes.
                await self._read_all(ref for ref in refs if self._versions.get(ref, 0) < view.since)
            while True:
                woken.clear()
                for view, refs in views:
                    self._take(view, refs)
                await self._examine()
                if self._is_over():
                    return
                await woken.wait()

    async def within(self, seconds: float, *, redactor: Redactors | None = None) -> HelmError | None:
        """Wait for at most so many seconds; return None if all objects are ready, else the error that helm's wait ends with.

        `redactor` returns what removes the secrets from the texts of the objects' statuses. Raises KubeError if a retry cannot
        succeed.
        """
        timed_out = False
        try:
            async with asyncio.timeout(seconds):
                await self.until_settled()
        except TimeoutError:
            timed_out = True
        # If a failed Job ended the wait, the others could still have become ready, so they are not named.
        named = self._failed_jobs() if not timed_out and self._waiting() else self.states
        states = {ref: found for ref, found in self.states.items() if ref in named and found.state is not State.CURRENT}
        redact = await redactor() if redactor and states else str
        told = {ref: redact(cut_middle(found.message, _MAX_REDACTED)) for ref, found in states.items()}
        unready = [Unready(ref.kind, ref.namespace, ref.name, states[ref].state, text) for ref, text in told.items()]
        return not_ready(unready, timed_out=timed_out) if unready else None

    @property
    def unready(self) -> frozenset[ObjectRef]:
        """The objects that are not ready yet."""
        return frozenset(ref for ref, found in self.states.items() if found.state is not State.CURRENT)

    def _waiting(self) -> list[ObjectRef]:
        return [ref for ref, state in self.states.items() if not state.settled]

    def _is_over(self) -> bool:
        return not self._waiting() or (self._ends_early and bool(self._failed_jobs()))

    def _failed_jobs(self) -> list[ObjectRef]:
        """Return the Jobs that have failed; everything else that can fail may recover."""
        return [ref for ref, found in self.states.items() if found.state is State.FAILED and ref.group_kind == JOB]

    async def _examine(self) -> None:
        """Determine, once for each, the results of deleted Jobs and the claims that no pod mounts."""
        async with asyncio.TaskGroup() as group:
            for ref in self._waiting():
                if ref in self._examined:
                    continue
                found = self.states[ref]
                if found == NOT_FOUND and ref in self._expiring:
                    self._examined.add(ref)
                    group.create_task(self._read_job_result(ref))
                elif found.state is State.IN_PROGRESS and ref.group_kind == CLAIM and not self._consumers.mounts(ref):
                    self._examined.add(ref)
                    group.create_task(self._read_class(ref))

    async def _read_job_result(self, job: ObjectRef) -> None:
        self._set(job, await self._result_of(job))

    async def _read_class(self, claim: ObjectRef) -> None:
        # A StorageClass that cannot be read may bind at once, so the wait includes the claim.
        with contextlib.suppress(KubeError):
            if await _patiently(partial(binds_late, self._objects, claim)):
                self._unconsumed.add(claim)
                self._set(claim, self.states[claim])

    def _set(self, ref: ObjectRef, found: Readiness) -> None:
        """Record the readiness of an object. One that was ready or has failed keeps that state when it is deleted."""
        if found.state in (State.NOT_FOUND, State.TERMINATING) and self.states[ref].settled:
            return
        if found.state is State.IN_PROGRESS and ref in self._unconsumed:
            found = _NO_CONSUMER
        self.states[ref] = found

    async def _read_all(self, wanted: Iterable[ObjectRef]) -> None:
        reads: list[Callable[[], Awaitable[None]]] = []
        for collection, refs in _by_collection(wanted).items():
            if len(refs) > _READ_SINGLY:
                reads.append(partial(self._list, collection, refs))
            else:
                reads += [partial(self._read, ref) for ref in refs]
        try:
            for start in range(0, len(reads), _READ_AT_ONCE):
                # Not gather, which leaves the others running when one has failed.
                async with asyncio.TaskGroup() as group:
                    for read in reads[start : start + _READ_AT_ONCE]:
                        group.create_task(_patiently(read))
        except* KubeError as errors:
            raise errors.exceptions[0] from None

    async def _read(self, ref: ObjectRef) -> None:
        self._found(ref, await self._objects.get(ref))

    async def _list(self, collection: ObjectRef, refs: list[ObjectRef]) -> None:
        left = {ref.name: ref for ref in refs}

        def take(item: dict[str, Any]) -> None:
            if ref := left.pop(item["metadata"]["name"], None):
                self._found(ref, item)

        kind = (collection.api_version, collection.kind)
        for item in await self._objects.list(*kind, namespace=collection.namespace, keep=take):
            take(item)
        for ref in left.values():
            self._found(ref, None)

    def _found(self, ref: ObjectRef, body: dict[str, Any] | None) -> None:
        if body is None:
            self._set(ref, NOT_FOUND)
            return
        self._versions[ref] = version_of(body)
        self._set(ref, bounded(readiness(body, ref.group_kind)))

    def _take(self, view: CollectionView, refs: Iterable[ObjectRef]) -> None:
        if view.error is not None:
            raise view.error
        for ref in refs:
            seen = view.seen.get(ref.name, Seen(view.listed, NOT_FOUND))
            if seen.version and seen.version >= self._versions.get(ref, 0):
                self._set(ref, seen.readiness)


class ReadyWaits:
    """All waits of one operator."""

    def __init__(self, client: KubeClient, objects: Objects, *, places: FairSlots, like: Self | None = None) -> None:
        self.places = places
        """Held by each run that may wait, since memory bounds their number."""
        self._client = client
        self._objects = objects
        self.views: Views[Watched, CollectionView] = (
            like.views if like else Views(lambda watched, view: [self._follow(watched, view)])
        )
        """The open watches; only waits of the same identity share them."""

    def acting_as(self, identity: Identity | None) -> Self:
        """Return the same for requests on behalf of a resource."""
        return type(self)(
            self._client.acting_as(identity), self._objects.acting_as(identity), places=self.places, like=self
        )

    def of(
        self,
        rendered: Iterable[Mapping[str, Any]],
        *,
        namespace: str,
        since: datetime = _ALWAYS,
        ends_early: bool = True,
        left_out: Collection[ObjectRef] = (),
        polls: list[Polling] | None = None,
    ) -> ReadyWait:
        """Return a wait for objects of a release in a namespace; it has not started.

        It uses apiVersion, kind and metadata of `rendered`, and the spec for KINDS_DECIDED_BY_SPEC. Events from before `since`
        do not count. A wait with `ends_early` is over as soon as a Job has failed. It ignores what is `left_out`, named as
        `reference` does, but a claim that such an object mounts has its pod. `polls` gets one entry for each collection that it
        watches, or lists at an interval.
        """
        known = {reference(item, namespace): item for item in rendered}
        waited_for = {ref: item for ref, item in known.items() if ref not in left_out}
        return ReadyWait(
            states=dict.fromkeys(waited_for, Readiness(State.IN_PROGRESS, "Not read yet")),
            _objects=self._objects,
            _use=partial(self._use, [] if polls is None else polls),
            _consumers=Consumers.of(known.values(), namespace=namespace),
            _expiring=frozenset(ref for ref, item in waited_for.items() if expires(item)),
            _result_of=partial(result_of, self._client, self._objects, since=since),
            _ends_early=ends_early,
        )

    async def close(self) -> None:
        """Close the watches that nobody uses."""
        await self.views.close()

    @asynccontextmanager
    async def _use(
        self, polls: list[Polling], collection: ObjectRef, make: Callable[[], CollectionView]
    ) -> AsyncIterator[CollectionView]:
        async with self.views.use(Watched(self._client.identity, collection), make) as view:
            polls.append(view.polling)
            yield view

    async def _follow(self, watched: Watched, view: CollectionView) -> None:
        client, collection = self._client.acting_as(watched.identity), watched.collection
        fields = f"metadata.name={collection.name}" if collection.name else ""
        try:
            path = await self._objects.collection_path(
                collection.api_version, collection.kind, namespace=collection.namespace
            )
            async for change in changes(
                client, path, fields=fields, since=view.since, patient=False, polls=view.polling, keep=view.essential
            ):
                view.take(change)
        except KubeError as error:
            view.error = error
            view.notify()


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read until the API server answers. Raises KubeError if a retry cannot succeed."""
    refused_since = time.monotonic()
    while True:
        try:
            return await read()
        except KubeError as error:
            if error.reason is not Reason.FORBIDDEN:
                refused_since = time.monotonic()
            if not error.transient or time.monotonic() - refused_since > _FORBIDDEN_SECONDS:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


def waits_for(memory: int) -> int:
    """Return how many runs may wait at once with so many bytes of memory."""
    return max(16, min(MOST_WAITING, memory // WAITING_BYTES))


def _by_collection(refs: Iterable[ObjectRef]) -> dict[ObjectRef, list[ObjectRef]]:
    """Group objects by what one watch can show: a kind in one namespace, or one cluster-wide object.

    A cluster's CustomResourceDefinitions are many MiB, and a release has only a few of them.
    """
    found: defaultdict[ObjectRef, list[ObjectRef]] = defaultdict(list)
    for ref in refs:
        found[replace(ref, name="") if ref.namespace else ref].append(ref)
    return found
