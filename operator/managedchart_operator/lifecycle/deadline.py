"""The deadline of a phase: how long the code of a lifecycle itself may take.

While the operator works on the release for it (renders, upgrades, waits, uninstalls) the clock stands still: all of that has
deadlines of its own, and may have to wait for a slot. So one limit holds for every phase of a plug-in, also for exec, in which
the rollout alone may take `spec.timeout`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from managedchart_operator.api.bounds import LONGEST
from managedchart_operator.api.duration import seconds
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.egress.metrics import MetricAnswer
from managedchart_operator.errors import LifecycleError, OperatorError
from managedchart_operator.kube.silence import listening
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import (
    ChartCrds,
    HelmTests,
    InstalledRelease,
    PhaseContext,
    Release,
    ReleaseExtras,
)
from managedchart_operator.reasons import Reason

# A timeout of a second is for the objects of a release; a phase sends requests, also while the machine is busy.
LEAST_SECONDS = 10.0


class Deadline:
    """Ends a block of code after some seconds of its own. In no case does it take longer than LONGEST.

    Use it with `async with`; it raises PhaseTimeoutError, named by `what`. `meanwhile` is entered whenever the clock stops, and
    left before it goes on, so what it waits for does not count either.
    """

    def __init__(
        self, limit: float, *, what: str, meanwhile: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    ) -> None:
        self._limit, self._what, self._meanwhile = limit, what, meanwhile
        self._left, self._since, self._paused = limit, 0.0, 0
        self._requests = contextlib.ExitStack()
        self._own = asyncio.timeout(limit)
        self._whole = asyncio.timeout(seconds(LONGEST))

    @classmethod
    def of(
        cls,
        spec: ManagedChartSpec,
        *,
        what: str,
        meanwhile: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> Self:
        """Return the deadline of a phase: spec.timeout, but at least LEAST_SECONDS."""
        return cls(max(seconds(spec.timeout), LEAST_SECONDS), what=what, meanwhile=meanwhile)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Stop the clock during a block."""
        loop = asyncio.get_running_loop()
        if not self._paused:
            self._left -= loop.time() - self._since
            if not self._own.expired():
                self._own.reschedule(None)
        self._paused += 1
        try:
            async with self._meanwhile():
                yield
        finally:
            self._paused -= 1
            if not self._paused:
                self._since = loop.time()
                if not self._own.expired():
                    self._own.reschedule(self._since + max(self._left, 0.0))

    async def __aenter__(self) -> Self:
        self._since = asyncio.get_running_loop().time()
        self._silence = self._requests.enter_context(listening())
        await self._whole.__aenter__()
        await self._own.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own = whole = False
        self._requests.close()
        try:
            await self._own.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            own, kind, error = True, TimeoutError, timeout
        try:
            await self._whole.__aexit__(kind, error, trace)
        except TimeoutError:
            whole = True
        if own or whole:
            limit = f"{self._limit:g} s of its own time" if own else LONGEST
            if self._silence.explains(self._limit):
                raise LifecycleError(
                    f"{self._what} did not end within {limit}, and the API server does not answer",
                    reason=Reason.API_UNAVAILABLE,
                ) from error
            raise LifecycleError(
                f"{self._what} did not end within {limit}",
                reason=Reason.PHASE_TIMEOUT,
                hint="Correct the lifecycle, or set a longer spec.timeout.",
            ) from error


class OffTheClock:
    """Implements `lifecycle.context.Release`: a release whose work does not count for a deadline."""

    def __init__(self, release: Release, deadline: Deadline) -> None:
        self._release, self._deadline = release, deadline
        self.name, self.namespace = release.name, release.namespace

    async def check_inputs(self) -> None:
        """As the release."""
        async with self._deadline.paused():
            await self._release.check_inputs()

    async def check_namespace(self) -> None:
        """As the release."""
        async with self._deadline.paused():
            await self._release.check_namespace()

    async def chart_version(self) -> str:
        """As the release."""
        async with self._deadline.paused():
            return await self._release.chart_version()

    async def installed(self) -> InstalledRelease | None:
        """As the release; a request, so it counts."""
        return await self._release.installed()

    async def deployed_here(self) -> bool:
        """As the release; a request, so it counts."""
        return await self._release.deployed_here()

    async def chart_crds(self) -> ChartCrds:
        """As the release."""
        async with self._deadline.paused():
            return await self._release.chart_crds()

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """As the release."""
        async with self._deadline.paused():
            return await self._release.upgrade(take_ownership=take_ownership)

    async def resume(self) -> None:
        """As the release."""
        async with self._deadline.paused():
            await self._release.resume()

    async def uninstall(self) -> bool:
        """As the release."""
        async with self._deadline.paused():
            return await self._release.uninstall()

    async def manifest(self) -> list[dict[str, Any]]:
        """As the release."""
        async with self._deadline.paused():
            return await self._release.manifest()

    def redactor(self, objects: Sequence[dict[str, Any]]) -> Callable[[str], str]:
        """As the release."""
        return self._release.redactor(objects)

    async def collect_evidence(self) -> Findings:
        """As the release."""
        async with self._deadline.paused():
            return await self._release.collect_evidence()


class ExtrasOffTheClock:
    """Implements `lifecycle.context.ReleaseExtras`, as OffTheClock does for the release."""

    def __init__(self, extras: ReleaseExtras, deadline: Deadline) -> None:
        self._extras, self._deadline = extras, deadline
        self.coming = extras.coming

    async def crds(self) -> list[dict[str, Any]]:
        """As the extras."""
        async with self._deadline.paused():
            return await self._extras.crds()

    async def installed_crds(self) -> ChartCrds | None:
        """As the extras."""
        async with self._deadline.paused():
            return await self._extras.installed_crds()

    async def kinds_changed(self) -> None:
        """As the extras."""
        await self._extras.kinds_changed()

    async def query_metrics(self, url: str, query: str) -> MetricAnswer:
        """As the extras."""
        return await self._extras.query_metrics(url, query)

    async def test(self, *, only: Sequence[str], exclude: Sequence[str], seconds: float) -> HelmTests:
        """As the extras."""
        async with self._deadline.paused():
            return await self._extras.test(only=only, exclude=exclude, seconds=seconds)


class WithDeadlines(Lifecycle):
    """A built-in lifecycle each of whose phases has a deadline, except exec: it calls nothing that has none."""

    def __init__(self, inner: Lifecycle, *, name: str) -> None:
        self.inner, self._name = inner, name

    async def check_prerequisites(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.CHECK_PREREQUISITES, context) as deadline:
            return await self.inner.check_prerequisites(off_the_clock(context, deadline), payload)

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.PRE_EXEC, context) as deadline:
            return await self.inner.pre_exec(off_the_clock(context, deadline), payload)

    async def exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        return await self.inner.exec(context, payload)

    async def on_deploy_failure(self, context: PhaseContext, payload: Payload, error: OperatorError) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.ON_DEPLOY_FAILURE, context) as deadline:
            return await self.inner.on_deploy_failure(off_the_clock(context, deadline), payload, error)

    async def post_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.POST_EXEC, context) as deadline:
            return await self.inner.post_exec(off_the_clock(context, deadline), payload)

    async def validate(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.VALIDATE, context) as deadline:
            return await self.inner.validate(off_the_clock(context, deadline), payload)

    async def pre_delete(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.PRE_DELETE, context) as deadline:
            return await self.inner.pre_delete(off_the_clock(context, deadline), payload)

    async def post_delete(self, context: PhaseContext, payload: Payload) -> Payload:
        """As the lifecycle."""
        async with self._limited(Phase.POST_DELETE, context) as deadline:
            return await self.inner.post_delete(off_the_clock(context, deadline), payload)

    def has(self, phase: Phase) -> bool:
        """Whether the lifecycle has the phase."""
        return self.inner.has(phase)

    def _limited(self, phase: Phase, context: PhaseContext) -> Deadline:
        return Deadline.of(context.spec, what=f"Phase {phase.value} of the lifecycle {self._name}")


def off_the_clock(context: PhaseContext, deadline: Deadline) -> PhaseContext:
    """Return a context in which the work on the release does not count for a deadline."""
    return replace(
        context,
        release=OffTheClock(context.release, deadline),
        extras=ExtrasOffTheClock(context.extras, deadline),
    )
