"""What actions need of a release beyond the phases: the CRDs of its chart, and its tests."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from managedchart_operator.egress.metrics import MetricAnswer, MetricSources
from managedchart_operator.errors import LifecycleError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.tested import read_tested
from managedchart_operator.kube.coming_kinds import ComingKinds
from managedchart_operator.lifecycle.context import ChartCrds, HelmTests
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.helm_call import helm_error
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.tested_hooks import hooks_kept

# helm's own deadline for a test comes first, so that it says which one it was.
_GRACE_SECONDS = 10.0
# helm waits for its turn and starts before its deadline for the first test begins.
_TOGETHER_SECONDS = 2.0


@dataclass(slots=True)
class RunExtras:
    """Implements `lifecycle.context.ReleaseExtras`."""

    release: LifecycleRelease
    _installed: tuple[ChartCrds | None] | None = None
    """The answer of `installed_crds`: after an uninstall neither is known."""

    @property
    def coming(self) -> ComingKinds:
        """The kinds whose CRDs a dry run would have applied by now."""
        return self.release.crds.coming

    async def crds(self) -> list[dict[str, Any]]:
        """Return the CRDs in the crds/ folders of the chart. Raises ChartError, HelmError, KubeError."""
        outlined = await self.release.crds.files.outlined()
        return list((await self.release.crds.files.whole()).crds.values()) if outlined.crds else []

    async def installed_crds(self) -> ChartCrds | None:
        """Return the CRDs of the installed chart, if this resource has deployed it. Raises KubeError."""
        if self._installed is None:
            deployed = await self.release.deployed_here()
            self._installed = (await self.release.chart_crds() if deployed else None,)
        return self._installed[0]

    async def kinds_changed(self) -> None:
        """Make the next helm process ask which kinds the cluster serves."""
        await asyncio.to_thread(self.release.run.services.helm.clear_discovery_cache)

    async def query_metrics(self, url: str, query: str) -> MetricAnswer:
        """Ask a server that an administrator allows. Raises LifecycleError."""
        egress = self.release.run.services.charts.egress
        return await (egress.metrics if egress else MetricSources()).query(url, query)

    async def test(self, *, only: Sequence[str], exclude: Sequence[str], seconds: float) -> HelmTests:
        """Run `helm test`. Raises HelmError if helm cannot be started, or exceeds a limit."""
        run = self.release.run
        arguments = command.run_tests(
            release=run.name, namespace=run.namespace, timeout=f"{seconds:.1f}s", only=only, exclude=exclude
        )
        run.storage.is_current = False  # helm notes in the revision when the tests ran
        began = datetime.now(UTC)
        kept = hooks_kept(run.storage, run.journal) if only or exclude else contextlib.nullcontext()
        try:
            # helm's own deadline is for each test; of several, none may be over it when all of them are.
            async with kept, asyncio.timeout(seconds + min(_TOGETHER_SECONDS, seconds)) as limit:
                output = await run.services.helm.run(
                    arguments, deadline=seconds + _GRACE_SECONDS, keep_stdout=True, applies=False
                )
        except TimeoutError as timeout:
            if not limit.expired():
                raise
            return HelmTests(failed=await self._running(began), error=_too_long(timeout))
        tested = read_tested(output.stdout.decode(errors="replace"))
        error: OperatorError | None = None
        if output.exit_code != 0:
            error = await helm_error(run, output, command="test")

        def ran(names: Sequence[str]) -> tuple[str, ...]:
            """Leave out what the release only remembers of an earlier run."""
            return tuple(name for name in names if (not only or name in only) and name not in exclude)

        return HelmTests(ran(tested.passed), ran(tested.failed), tested.logs, error)

    async def _running(self, since: datetime) -> tuple[str, ...]:
        """Return the tests that a helm which began after `since` has left running. Raises KubeError, HelmError."""
        storage = self.release.run.storage
        await storage.observe()
        stored = await storage.read_stored()
        return tuple(stored.running_tests(since=since)) if stored else ()


def _too_long(timeout: TimeoutError) -> LifecycleError:
    error = LifecycleError(
        "The tests did not end in time",
        reason=Reason.PHASE_TIMEOUT,
        hint="Set a longer timeout for the action, which is for all tests together, or several actions with filters.",
    )
    error.__cause__ = timeout
    return error
