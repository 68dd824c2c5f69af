"""Watches one run, and collects the evidence that explains its failure.

Joins `diagnosis` with what the release renders; `phase_recorder` takes the findings. The namespaces of the release are watched
only while a run needs it, and every text that is returned is redacted.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from managedchart_operator.diagnosis.collector import COLLECT_SECONDS, Collector, Findings, Subject
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.diagnosis.fail_fast import FailFast
from managedchart_operator.diagnosis.halted import find_halted
from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.namespace_watch import NamespaceView, NamespaceWatches
from managedchart_operator.diagnosis.objects import MAX_NAMESPACES, Rendered, namespaces_of
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef, reference
from managedchart_operator.kube.watch import Polling
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.waiting.left_out import left_out

# Counted from when there is something to wait for: a hook, or the release's objects. Most waits are over before this, and need
# no explanation. Earlier events are not lost, since the watch begins with a list of all pods and Events.
WATCH_AFTER_SECONDS = 0.25


@dataclass(slots=True)
class Progress:
    """How far an operation is: helm waits for a hook, or everything is applied and the operator waits for the objects."""

    applied: bool = False
    """Whether helm has ended, and the operator waits for the release's objects."""
    namespaces: list[str] = field(default_factory=list)
    """The namespaces of the objects that the operator waits for; known once `placed` is set."""
    placed: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once there is something to wait for."""
    unready: frozenset[ObjectRef] | None = None
    """The objects that did not become ready while the operator waited; None where helm waits."""
    polls: list[Polling] = field(default_factory=list)
    """One for each collection that the operator waited for."""
    _helm_waits: int = 0

    def helm_waits(self) -> None:
        """helm has begun to wait: once for each hook, then for the release's objects."""
        self._helm_waits += 1
        self.waiting.set()

    def all_is_applied(self) -> None:
        """helm has ended, and the operator begins to wait."""
        self.applied = True
        self.waiting.set()

    def has_applied(self, revision: Revision | None, stored: StoredRelease | None) -> bool:
        """Whether helm is known to have applied the newest revision that was read; before that it waits once for each hook."""
        if self.applied:
            return True
        if revision is None or stored is None:
            return False
        operation = "install" if revision.number == 1 else "upgrade"
        return self._helm_waits > stored.hooks_at(f"pre-{operation}")


@dataclass(slots=True)
class RunEvidence:
    """Observes one run; `since` is when it began, `attempt` the random word in the labels of the revision that it makes."""

    collector: Collector
    watches: NamespaceWatches
    since: datetime
    attempt: str
    rendered: RenderedObjects
    progress: Progress = field(default_factory=Progress)
    _views: dict[str, NamespaceView] = field(default_factory=dict)
    """By namespace."""
    _fatal: Cause | None = None
    """The cause that has ended the wait."""
    _watching: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def close(self) -> None:
        """Close the watches of the namespaces, if any were opened."""
        await self._watching.aclose()

    def refused_watches(self) -> list[KubeError]:
        """Return why collections were listed at an interval instead of being watched, each once."""
        polls = [*self.progress.polls, *(view.polling for view in self._views.values())]
        return list({error.answer: error for poll in polls for error in poll.refused.values()}.values())

    async def watch_over(self, work: Coroutine[Any, Any, None], *, grace: float | None) -> Cause | None:
        """Do the work, and end it early when the namespaces show that waiting cannot succeed; returns the cause then.

        `grace` is in seconds, as in `FailFast`; with None nothing is ended early. Raises what the work raises.
        """
        task = asyncio.create_task(work, name="deploy")
        watch = asyncio.create_task(self._watch(grace=grace), name="evidence")
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if task.done() or watch.exception() is not None:
                # If the watch itself failed, the work continues without it.
                await task
                return None
            task.cancel()
            await asyncio.wait({task})
            if task.cancelled() or task.exception() is not None:
                self._fatal = watch.result()
            return self._fatal  # None if the work has succeeded just before
        finally:
            for each in (task, watch):
                each.cancel()
            # Gathered, so that asyncio does not report an error that came with the cancellation as never retrieved.
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _watch(self, *, grace: float | None) -> Cause:
        """Watch the release's namespaces until cancelled; returns only when waiting cannot succeed, without a grace never."""
        await self.progress.waiting.wait()
        await asyncio.sleep(WATCH_AFTER_SECONDS)
        for namespace in (await self._namespaces_to_watch())[:MAX_NAMESPACES]:
            self._views[namespace] = await self._watching.enter_async_context(self.watches.use(namespace))
        if grace is None:
            await asyncio.Event().wait()
        return await FailFast(
            views=self._views,
            since=self.since,
            grace=grace or 0.0,
            applied=self.has_applied,
            rendered=self._rendered_now,
            redact=self.redact,
            lineage_of=lambda rendered: Lineage(self.collector.objects, rendered, self.since),
        ).wait_for_fatal_cause()

    async def _namespaces_to_watch(self) -> list[str]:
        if not self.progress.applied:
            # helm waits for a hook, or for everything, so the operator has not read the objects yet.
            try:
                return namespaces_of(
                    await self.rendered.waited_for(hooks=True), namespace=self.rendered.storage.namespace
                )
            except (KubeError, HelmError):
                return [self.rendered.storage.namespace]  # `collect` reports what could not be read
        await self.progress.placed.wait()
        return self.progress.namespaces

    def redact(self, text: str) -> str:
        """Return a text without the secrets that are known by now."""
        return self.rendered.redactor()(text)

    def has_applied(self) -> bool:
        """Whether helm is known to have applied the release's objects."""
        return self.progress.has_applied(self.rendered.revision, self.rendered.stored)

    async def collect(self) -> Findings:
        """Return the evidence of why the release does not become ready. Raises nothing except when cancelled."""
        try:
            await self.rendered.read()
        except (KubeError, HelmError) as error:
            return Findings(incomplete=f"The release could not be read: {self.rendered.redactor()(error.message)}")
        if not self.rendered.all:
            return Findings()
        rendered, namespace = self.rendered, self.rendered.storage.namespace
        redact = await rendered.read_redactor()
        findings = await self.collector.collect(self._subject, views=self._views, redact=redact, known=self._fatal)
        if findings.cause is None and self.progress.waiting.is_set():
            with contextlib.suppress(TimeoutError, KubeError):
                async with asyncio.timeout(COLLECT_SECONDS):
                    objects = self.collector.objects
                    ignored = await left_out(objects, rendered.objects, exclude=rendered.exclude, namespace=namespace)
                    halted = await find_halted(
                        objects,
                        namespace=namespace,
                        rendered=[item for item in rendered.objects if reference(item, namespace) not in ignored],
                        events=findings.events,
                        unready=self.progress.unready,
                    )
                return replace(findings, cause=halted)
        return findings

    async def find_not_replaced(self) -> Cause | None:
        """Return the pod of an earlier revision for which a StatefulSet waits, as the cause.

        Raises nothing except when cancelled.
        """
        with contextlib.suppress(KubeError, HelmError, TimeoutError):
            async with asyncio.timeout(COLLECT_SECONDS):
                await self.rendered.read()
                return await self.collector.find_not_replaced(self._subject)
        return None

    @property
    def _subject(self) -> Subject:
        rendered = self.rendered
        return Subject(rendered.storage.namespace, rendered.all, rendered.hooks, self.since, rendered.exclude)

    async def _rendered_now(self) -> Rendered | None:
        """Return what the run's own revision renders; None until it is stored."""
        if not self._knows_its_own:
            with contextlib.suppress(KubeError, HelmError):  # it is read again at the next suspicion
                await self.rendered.read()
        if not self._knows_its_own:
            return None
        rendered, namespace = self.rendered, self.rendered.storage.namespace
        await asyncio.to_thread(rendered.redactor)  # which is needed next, and takes some time to make
        return await Rendered.of(
            self.collector.objects, rendered.all, rendered.hooks, namespace=namespace, exclude=rendered.exclude
        )

    @property
    def _knows_its_own(self) -> bool:
        """Whether the run's own revision was read; what it renders does not change after that."""
        return self.rendered.revision is not None and self.rendered.revision.attempt == self.attempt
