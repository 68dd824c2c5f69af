"""Observes one resource and its release, and plans what this pass is going to do."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import FORCE_ANNOTATION, RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.errors import OperatorError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.registry import find_lifecycle
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Desired, Observed, decide
from managedchart_operator.reconcile.digest import Digest, digest_without_inputs
from managedchart_operator.reconcile.last_run import attempt_requested, last_run_of, requested
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.parse import parse_spec
from managedchart_operator.reconcile.plan import Plan
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import ReleaseStorage, rollback_is_own
from managedchart_operator.reconcile.resource_pass import Recording, ResourcePass
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources
from managedchart_operator.reconcile.store import Store, release_owner


@dataclass(frozen=True, slots=True)
class Planned:
    """A pass, and what it is going to do."""

    work: ResourcePass
    plan: Plan
    lifecycle: Lifecycle


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans passes; one for the whole operator. Changes nothing."""

    store: Store
    services: Services
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def plan(self, recording: Recording) -> Planned:
        """Return the plan for a resource that is not being deleted. Raises OperatorError."""
        chart, spec = recording.chart, parse_spec(recording.chart)
        work = await self.observe(recording, spec)
        self._check_owner(chart, work.release)
        lifecycle = find_lifecycle(spec.lifecycle.name)
        work = replace(work, digest=await _digest(work))
        plan = decide(desired(work), await observed(work))
        return Planned(work, plan, lifecycle)

    async def observe(self, recording: Recording, spec: ManagedChartSpec) -> ResourcePass:
        """Observe the release of a resource. Raises KubeError."""
        chart, status = recording.chart, recording.recorder.status
        ownership = Ownership.of(chart.uid, status)
        storage = ReleaseStorage(self.services.secrets, chart.release_namespace, chart.release_name, ownership)
        await storage.observe()
        release = ReleaseRun.begin(
            self.services,
            spec,
            storage,
            Sources(self.services, spec, storage.name, refresh=attempt_requested(chart, status)),
            recording.journal,
            in_own_namespace=chart.release_namespace == chart.key.namespace,
            earlier_blockers=tuple(
                ObjectRef(each.api_version, each.kind, each.name, each.namespace) for each in status.blockers
            ),
        )
        return ResourcePass(
            chart=chart,
            recorder=recording.recorder,
            phases=recording.phases,
            journal=recording.journal,
            logger=recording.logger,
            spec=spec,
            last=last_run_of(chart, status, started=self.started),
            release=release,
        )

    def _check_owner(self, chart: ManagedChart, release: ReleaseRun) -> None:
        claimants = self.store.claimants((release.namespace, release.name))
        owner = release_owner(claimants, label_owner=release.newest.owner if release.newest else None)
        if owner is not None and owner.uid != chart.uid:
            raise SpecError(
                f"The release {release.namespace}/{release.name} belongs to ManagedChart {owner.key}",
                reason=Reason.RELEASE_OWNED,
                hint="Set another spec.releaseName or spec.targetNamespace, or delete the other ManagedChart.",
            )


def desired(work: ResourcePass) -> Desired:
    """Return what the spec wants."""
    spec = work.spec
    return Desired(
        Action.DESTROY if work.chart.deleting else spec.action,
        work.digest,
        dry_run=spec.dry_run,
        timeout=seconds(spec.timeout),
        reinstalls=spec.last_breaking_version_requiring_restart is not None,
    )


async def observed(work: ResourcePass) -> Observed:
    """Return what the decision depends on. Raises KubeError, HelmError."""
    chart, status, storage = work.chart, work.recorder.status, work.release.storage
    return Observed(
        work.release.ownership,
        now=datetime.now(UTC).timestamp(),
        revisions=storage.revisions,
        last=work.last,
        rollback_is_own=await rollback_is_own(storage),
        retry_requested=requested(chart, status, RETRY_ANNOTATION),
        force_requested=requested(chart, status, FORCE_ANNOTATION),
    )


async def _digest(work: ResourcePass) -> Digest:
    """Return the digest of the input, or a stand-in where it cannot be read: check_prerequisites reports that error."""
    if work.spec.action is Action.DEPLOY:
        try:
            return (await work.release.sources.read()).digest
        except OperatorError:
            pass
    return digest_without_inputs(work.spec)
