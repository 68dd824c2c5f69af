"""The release as a lifecycle sees it: a thin facade over the operations of one run."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.charts.by_helm import chart_crds, crd_names
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import KubeError, OperatorError
from managedchart_operator.helm.manifest import ManifestError
from managedchart_operator.lifecycle.context import ChartCrds, InstalledRelease, Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crd_hints import explain_crds
from managedchart_operator.reconcile.crds import RunCrds
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.helm_call import BeforeHelm
from managedchart_operator.reconcile.operations.dry_run import (
    dry_run,
    invalid_objects,
    largest_parts,
    read_rendered,
    render,
    try_render,
)
from managedchart_operator.reconcile.operations.install_or_upgrade import install_or_upgrade
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.operations.resume import resume
from managedchart_operator.reconcile.operations.uninstall import uninstall
from managedchart_operator.reconcile.release_run import ReleaseRun


@dataclass(slots=True)
class LifecycleRelease:
    """Implements `lifecycle.context.Release`."""

    run: ReleaseRun
    plan: Run
    before_uninstall: BeforeHelm = None
    begins_uninstall: Callable[[], Awaitable[None]] | None = None
    """Stores that the uninstall begins: a restarted operator must not repeat PreDelete, whose objects may be deleted then."""
    crds: RunCrds = field(init=False)
    _tries: bool = field(init=False)
    """Whether nothing may be changed."""
    _refused: Reason | None = None
    """Why helm, or its dry run, has refused the release, if it did."""

    def __post_init__(self) -> None:
        self.crds = RunCrds(self.run)
        self._tries = self.plan.operation is Operation.DRY_RUN

    @property
    def name(self) -> str:
        """Name of the release."""
        return self.run.name

    @property
    def namespace(self) -> str:
        """Namespace of the release."""
        return self.run.namespace

    async def check_inputs(self) -> None:
        """Check the chart's source, and read the chart (where that needs no network) and all values.

        Raises ChartError, ValuesError.
        """
        # What is deployed already is not fetched again, so other settings of the operator must not make it fail.
        if self.plan.operation is not Operation.RESUME:
            self.run.services.charts.check_source(self.run.spec.chart)
        await self.run.sources.read()

    async def check_namespace(self) -> None:
        """Raise OperatorError when the target namespace is missing (and may not be created) or being deleted."""
        await self.run.namespace_state.check()

    async def chart_version(self) -> str:
        """Return the version of the chart that is to be deployed. Raises ChartError, HelmError."""
        return (await self.run.sources.fetch()).version

    async def installed(self) -> InstalledRelease | None:
        """Return what is installed now, whether its last upgrade succeeded or not. Raises KubeError, HelmError."""
        await self.run.storage.look()  # a validation has not observed the release
        newest, stored = self.run.newest, await self.run.storage.read_stored()
        if stored is None or newest is None:
            return None
        return InstalledRelease(newest.number, stored.chart_name, stored.chart_version)

    async def deployed_here(self) -> bool:
        """Whether the revisions or the status prove that this resource has deployed the release. Raises KubeError."""
        return self.run.ownership.deployed(await self.run.storage.look())

    async def chart_crds(self) -> ChartCrds:
        """Return the CRDs in the crds/ folders of the installed chart. Raises KubeError.

        The release Secret has the files of the chart itself, but not those of its subcharts, so the chart is fetched as well.
        This is asked while a release is removed, so a chart that cannot be fetched makes the answer incomplete.
        """
        names: set[str] = set()
        source = self.run.spec.chart
        incomplete = None
        try:
            stored = await self.run.storage.read_stored()
            if stored is not None:
                names |= await asyncio.to_thread(lambda: crd_names(*stored.crd_files))
                if stored.chart_version and (source.repository or source.oci):
                    # The spec may ask for another version by now. A path or inline contents have only their current one.
                    source = source.model_copy(update={"version": stored.chart_version})
            chart = await self.run.services.charts.fetch(source)
            if stored is None or stored.chart_name in (None, chart.name):
                names |= await chart_crds(self.run.services.helm, chart.path)
            else:
                incomplete = f"The chart {stored.chart_name} is installed, but the spec names {chart.name}"
        except KubeError:
            raise
        except OperatorError as error:
            incomplete = error.message
        except (ValueError, ManifestError) as error:
            incomplete = f"The chart in the release Secret cannot be read: {error}"
        return ChartCrds(frozenset(names), incomplete)

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """Install or upgrade with helm, or only validate it in a dry run. Raises OperatorError."""
        try:
            if self._tries:
                return _noted(self.run, await dry_run(self.run, self.crds, take_ownership=take_ownership))
            await self.crds.apply()
            done = await install_or_upgrade(self.run, take_ownership=take_ownership)
            return _noted(self.run, done, deployed=True)
        except OperatorError as error:
            self._refused = error.reason
            await explain_crds(error, self.crds)
            raise

    async def resume(self) -> None:
        """Continue to wait for what an earlier process deployed before it was stopped. Raises OperatorError."""
        _noted(self.run, await resume(self.run, self.plan.awaiting), deployed=True)

    async def uninstall(self) -> bool:
        """Uninstall and wait until all objects are deleted; False if there was nothing to do. Raises HelmError, KubeError."""
        if self.begins_uninstall is not None:
            await self.begins_uninstall()
        outcome = await uninstall(self.run, before=self.before_uninstall)
        _noted(self.run, outcome)
        return outcome.changed

    async def manifest(self) -> list[dict[str, Any]]:
        """Return the objects that the chart renders, without hooks. Raises OperatorError."""
        try:
            if self._tries:
                return await try_render(self.run, await self.crds.preview(), take_ownership=True)
            await self.crds.apply()
            output = await render(self.run, take_ownership=True, dry_run=False)
            return await read_rendered(output)
        except OperatorError as error:
            await explain_crds(error, self.crds)
            raise

    def redactor(self, objects: Sequence[dict[str, Any]]) -> Callable[[str], str]:
        """Return what removes the secrets of the run, and of these objects, from a text."""
        return self.run.evidence.rendered.redactor(objects)

    async def collect_evidence(self) -> Findings:
        """Return the evidence of why the release does not become ready. Raises nothing except when cancelled."""
        # helm renders, builds and stores a release before it applies anything, so nothing of it is in the cluster then.
        if self._refused is Reason.RELEASE_TOO_LARGE:
            return await largest_parts(
                lambda: render(self.run, take_ownership=True, dry_run=self._tries), redact=self.run.redactor
            )
        if self._refused is Reason.TEMPLATE_ERROR:
            return await invalid_objects(
                lambda: render(self.run, take_ownership=True, dry_run=True, offline=True), redact=self.run.redactor
            )
        return await self.run.evidence.collect()


def _noted(run: ReleaseRun, outcome: Outcome, *, deployed: bool = False) -> str:
    """Note the outcome, and which revision is deployed if it is one of a deployment; returns the message."""
    chart, journal = run.sources.chart, run.journal
    journal.outcome = outcome
    if deployed:
        journal.deployed, journal.chart_version = run.newest, chart.version if chart else None
    return outcome.message
