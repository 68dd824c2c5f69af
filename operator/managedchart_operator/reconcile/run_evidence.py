"""Watches over one run, and tells afterwards what was seen.

Purpose: ends it early when waiting cannot succeed, and collects what explains a failure or a stuck removal. Boundary: joins
`diagnosis` with the release Secrets; what the findings mean for the status is told by `run_recorder`. Invariants: the
namespaces of the release are watched only while a run needs it; every text that leaves here is redacted.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from managedchart_operator.diagnosis.causes import Cause
from managedchart_operator.diagnosis.collector import COLLECT_SECONDS, Collector, Findings, Subject
from managedchart_operator.diagnosis.fail_fast import FailFast, Rendered
from managedchart_operator.diagnosis.halted import find_halted
from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.namespace_watch import NamespaceView, NamespaceWatches
from managedchart_operator.diagnosis.objects import (
    MAX_NAMESPACES,
    cluster_wide_kinds,
    identities,
    namespaces_of,
)
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.storage import Revision, StoredRelease
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.redaction import Redactor, secrets_in_manifest, secrets_in_values
from managedchart_operator.waiting.blockers import Blocker, find_blockers, references, still_there
from managedchart_operator.waiting.dependents import have_dependents
from managedchart_operator.waiting.kstatus import SPEC_TELLS, State, needs_waiting, readiness

# Counted from when there is something to wait for: a hook, or the release's objects. Most waits are over before this; those
# that are not may want to be explained. What happened earlier is not lost: the watch begins with all pods and events there.
WATCH_AFTER_SECONDS = 0.25
# What has pods, by group and kind.
_WORKLOADS = {
    ("apps", "Deployment"): "apps/v1",
    ("apps", "StatefulSet"): "apps/v1",
    ("apps", "DaemonSet"): "apps/v1",
    ("batch", "Job"): "batch/v1",
}
# Kinds of which more than the metadata is needed: what they wait for, and the values that no text may show.
_NEEDED_WHOLE = SPEC_TELLS | {"Secret"}
# Objects without finalizers go within milliseconds of their last pod.
GONE_LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Deployed:
    """A revision, and the document that helm keeps of it."""

    revision: Revision
    stored: StoredRelease


@dataclass(slots=True)
class RunEvidence:
    """What can be seen of one run. `newest` reads the newest revision afresh; `values` are the run's own, for redaction."""

    collector: Collector
    watches: NamespaceWatches
    namespace: str
    since: datetime
    attempt: str
    newest: Callable[[], Awaitable[Deployed | None]]
    values: Mapping[str, Any] = field(default_factory=dict)
    unready: frozenset[ObjectRef] | None = None
    """The objects for which the operator has waited in vain; None where helm waits."""
    _views: dict[str, NamespaceView] = field(default_factory=dict)
    """By namespace."""
    _watching: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _waits: int = 0
    _waiting: asyncio.Event = field(default_factory=asyncio.Event)
    _all_applied: bool = False
    _known: Deployed | None = None
    _objects: list[dict[str, Any]] = field(default_factory=list)
    _hooks: list[dict[str, Any]] = field(default_factory=list)
    _namespaces: list[str] = field(default_factory=list)
    """Those of the objects that are waited for, once they are `_placed`."""
    _placed: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Close the watches of the namespaces, if any were opened."""
        await self._watching.aclose()

    def redactor(self) -> Redactor:
        """Return what takes the secrets of this run out of a text."""
        return Redactor(secrets_in_values(self.values) | secrets_in_manifest(self._all))

    def helm_waits(self) -> None:
        """Take down that helm has begun to wait: once for each hook, then for the release's objects."""
        self._waits += 1
        self._waiting.set()

    def all_is_applied(self) -> None:
        """Take down that helm has done its work, and that the operator waits for the release's objects."""
        self._all_applied = True
        self._waiting.set()

    async def watch_over(self, work: Coroutine[Any, Any, None], *, grace: float | None) -> Cause | None:
        """Do the work, and end it early when the namespaces show that waiting cannot succeed; returns why then.

        Raises what the work raises; `grace` in seconds as in `FailFast`; None ends nothing.
        """
        task = asyncio.create_task(work, name="deploy")
        watch = asyncio.create_task(self._watch(grace=grace), name="evidence")
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() or watch.exception() is not None:
                # Also when the watch itself broke: then the work goes on without it.
                await task
                return None
            task.cancel()
            await asyncio.wait({task})
            # The work may have come to a good end just before.
            return watch.result() if task.cancelled() or task.exception() is not None else None
        finally:
            for each in (task, watch):
                each.cancel()
            # Gathered, so that what fails just as the run is cancelled is not reported as forgotten: nobody needs it any more.
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _watch(self, *, grace: float | None) -> Cause:
        """Watch the release's namespaces until cancelled; returns before that only when waiting cannot succeed.

        `grace` in seconds as in `FailFast`; None only remembers what is seen.
        """
        await self._waiting.wait()
        await asyncio.sleep(WATCH_AFTER_SECONDS)
        for namespace in (await self._namespaces_to_watch())[:MAX_NAMESPACES]:
            self._views[namespace] = await self._watching.enter_async_context(self.watches.use(namespace))
        if grace is None:
            await asyncio.Event().wait()
        return await FailFast(
            views=self._views,
            since=self.since,
            grace=grace or 0.0,
            applied=lambda: self.applied,
            rendered=self._rendered_now,
            lineage_of=lambda rendered: Lineage(self.collector.objects, rendered, self.since),
        ).wait_for_fatal_cause()

    async def _namespaces_to_watch(self) -> list[str]:
        if not self._all_applied:
            # helm waits for a hook, or for everything: `rendered` is not asked for.
            try:
                return namespaces_of(await self._read_waited_for(hooks=True), namespace=self.namespace)
            except (KubeError, HelmError):
                return [self.namespace]  # the look at the end tells what could not be read
        await self._placed.wait()
        return self._namespaces

    async def rendered(self) -> list[dict[str, Any]]:
        """Return outlines of the newest revision's objects that may not be ready at once; nothing of them is kept.

        Raises KubeError, HelmError.
        """
        found = await self._read_waited_for(hooks=False)
        self._namespaces = namespaces_of(found, namespace=self.namespace)
        self._placed.set()
        return found

    async def _read_waited_for(self, *, hooks: bool) -> list[dict[str, Any]]:
        """Read outlines of the newest revision's objects that may not be ready at once. Raises KubeError, HelmError."""
        found = await self.newest()
        if found is None:
            return []
        manifests = [*(found.stored.hook_manifests if hooks else ()), found.stored.manifest]
        try:
            return await asyncio.to_thread(_waited_for, manifests)
        except ManifestError as error:
            raise _unreadable(found.revision, error) from error

    async def collect(self) -> Findings:
        """Return what the cluster shows of why the release does not come up. Raises nothing except when cancelled."""
        try:
            await self._read()
        except (KubeError, HelmError) as error:
            return Findings(incomplete=f"the release could not be read: {self.redactor()(error.message)}")
        if not self._all:
            return Findings()
        subject = Subject(self.namespace, self._objects, self._hooks, self.since)
        findings = await self.collector.collect(subject, views=self._views, redact=self.redactor())
        if findings.cause is None and self._waiting.is_set():
            findings = replace(findings, cause=await self._halted(findings))
        return findings

    async def _halted(self, findings: Findings) -> Cause | None:
        """Return which of the objects is suspended, paused or without a consumer, if that is all that explains the failure."""
        with contextlib.suppress(TimeoutError, KubeError):
            async with asyncio.timeout(COLLECT_SECONDS):
                return await find_halted(
                    self.collector.objects,
                    namespace=self.namespace,
                    rendered=self._objects,
                    events=findings.events,
                    unready=self.unready,
                )
        return None

    async def is_healthy(self) -> bool:
        """Whether all workloads of the newest revision have come up. Raises KubeError, HelmError."""
        await self._read()
        for identity in identities(self._objects, namespace=self.namespace):
            version = _WORKLOADS.get(identity.group_kind)
            if version is None:
                continue
            found = await self.collector.objects.get(
                ObjectRef(version, identity.kind, identity.name, identity.namespace)
            )
            if found is None or readiness(found, api_version=version, kind=identity.kind).state is not State.CURRENT:
                return False
        return bool(self._all)

    async def remember(self, found: Deployed, left: Iterable[dict[str, Any]]) -> None:
        """Keep what the release renders while it is still there, and what is `left` of earlier revisions.

        What cannot be read is not known then.
        """
        with contextlib.suppress(HelmError):
            await self._take(found)
        self._objects += left

    async def have_dependents(self) -> bool:
        """Whether a removal has to wait for what hangs on the release's objects. Raises nothing except when cancelled."""
        if self._known is None:
            return True
        return await have_dependents(self.collector.objects, self.namespace, self._all)

    async def wait_until_gone(self, seconds: float) -> bool:
        """Look until none of the release's objects is being deleted any more; False when the time is over.

        Raises KubeError for what cannot be told, but for an API server that does not answer for a while.
        """
        left = await references(self.collector.objects, self.namespace, self._all)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # They are of any kinds: a watch on each would cost more than a few looks.
                while left:
                    try:
                        left = await still_there(self.collector.objects, left)
                    except KubeError as error:
                        if error.reason is not Reason.API_UNAVAILABLE:
                            raise
                    if left:
                        await asyncio.sleep(GONE_LOOK_SECONDS)
        return not left

    async def have_moved(self) -> bool:
        """Whether objects are of an apiVersion that is no longer served, and served under another one. Never raises."""
        refs = await references(self.collector.objects, self.namespace, self._objects)
        rendered = {(item.get("apiVersion"), item["kind"]) for item in self._objects}
        return any((ref.api_version, ref.kind) not in rendered for ref in refs)

    async def blockers(self) -> list[Blocker]:
        """Return the objects of the release whose deletion does not come to an end. Raises nothing except when cancelled."""
        if self._known is None:
            with contextlib.suppress(KubeError, HelmError):
                await self._read()
        refs = await references(self.collector.objects, self.namespace, self._all)
        return await find_blockers(self.collector.objects, refs)

    async def _read(self) -> None:
        """Read the newest revision's objects, unless they are known. Raises KubeError, HelmError."""
        found = await self.newest()
        if found is not None and (self._known is None or found.revision.number != self._known.revision.number):
            await self._take(found)

    async def _take(self, found: Deployed) -> None:
        try:
            hooks = await asyncio.to_thread(outline, *found.stored.hook_manifests, whole=_NEEDED_WHOLE)
            objects = await asyncio.to_thread(outline, found.stored.manifest, whole=_NEEDED_WHOLE)
        except ManifestError as error:
            raise _unreadable(found.revision, error) from error
        self._known, self._objects, self._hooks = found, objects, hooks

    async def _rendered_now(self) -> Rendered | None:
        """Return what the run's own revision renders; None while it is not stored yet."""
        if not self._knows_its_own:
            try:
                await self._read()
            except (KubeError, HelmError):
                return None  # looked at again with the next suspicion
        if not self._knows_its_own:
            return None
        cluster_wide = await cluster_wide_kinds(self.collector.objects, self._all)
        objects, hooks = (
            identities(items, namespace=self.namespace, cluster_wide=cluster_wide) for items in (self._all, self._hooks)
        )
        return Rendered(objects, hooks)

    @property
    def _all(self) -> list[dict[str, Any]]:
        """The objects of the newest revision that was read, its hooks first."""
        return [*self._hooks, *self._objects]

    @property
    def _knows_its_own(self) -> bool:
        """Whether the run's own revision was read; what it renders does not change any more."""
        return self._known is not None and self._known.revision.attempt == self.attempt

    @property
    def applied(self) -> bool:
        """Whether helm has applied the release's objects: it waits once for each hook before that."""
        if self._all_applied:
            return True
        if self._known is None:
            return False
        operation = "install" if self._known.revision.number == 1 else "upgrade"
        return self._waits > self._known.stored.hooks_before(operation)


def _waited_for(manifests: Iterable[str]) -> list[dict[str, Any]]:
    """Return what of manifests needs waiting, without what does not name it."""
    return [item for item in outline(*manifests, whole=SPEC_TELLS) if needs_waiting(item)]


def _unreadable(revision: Revision, error: ManifestError) -> HelmError:
    return HelmError(
        f"The manifest of revision {revision.number} cannot be read, so the operator cannot wait for its objects: {error}",
        reason=Reason.HELM_FAILED,
        transient=False,
        hint="Split the chart, or set spec.wait: false to deploy it without waiting.",
    )
