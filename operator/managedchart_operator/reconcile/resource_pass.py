"""What one pass over one resource works with, and what it observes."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from managedchart_operator.api.duration import seconds
from managedchart_operator.api.resource import FORCE_ANNOTATION, RETRY_ANNOTATION, ManagedChart
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.errors import KubeError, OperatorError
from managedchart_operator.helm.storage import UNINSTALLED, UNINSTALLING
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.permissions import Permission
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.context import PhaseContext
from managedchart_operator.lifecycle.with_actions import plugin_of, version_of
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.clamping import clamp
from managedchart_operator.reconcile.decide import Desired, Observed
from managedchart_operator.reconcile.digest import Digest, digest_of_deletion, digest_without_inputs
from managedchart_operator.reconcile.last_run import LastRun, attempt_requested, last_run_of, requested
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.phase_recorder import PhaseRecorder
from managedchart_operator.reconcile.release_extras import RunExtras
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import ReleaseStorage, rollback_is_own
from managedchart_operator.reconcile.run_facts import RevisionFacts
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources
from managedchart_operator.reconcile.status_recorder import StatusRecorder


@dataclass(frozen=True, slots=True)
class Recording:
    """The resource, and where a pass over it is recorded."""

    chart: ManagedChart
    recorder: StatusRecorder
    phases: PhaseRecorder
    logger: logging.LoggerAdapter[logging.Logger]


@dataclass(frozen=True, slots=True)
class ResourcePass(Recording):
    """A pass over a resource whose spec can be read: with its release, and what the status says about the last run."""

    spec: ManagedChartSpec
    last: LastRun
    release: ReleaseRun
    digest: Digest
    """Digest of the input of this pass."""
    clamped: str
    """A sentence about values of the spec that are beyond a bound, and what is used instead; "" if none is."""
    changed_cause: str = ""
    """What made the last run fail and has changed since, like `LifecycleProfile p` or `plug-in p`."""

    @property
    def action(self) -> Action:
        """The action of the spec, or Destroy while the ManagedChart is being deleted."""
        return Action.DESTROY if self.chart.deleting else self.spec.action

    @property
    def repeats_last_input(self) -> bool:
        """Whether the last run had the same input, and nothing asks for another attempt."""
        same = self.last.current and self.digest.matches(self.last.digest) and not self.changed_cause
        return same and not attempt_requested(self.chart, self.recorder.status)

    def context(self, release: LifecycleRelease) -> PhaseContext:
        """Return the context of the lifecycle's phases."""
        return PhaseContext(
            spec=self.spec,
            action=self.action,
            operation=release.plan.operation,
            release=release,
            cluster=self.release.objects,
            recorder=self.phases,
            logger=self.logger,
            chart=self.chart,
            facts=RevisionFacts(self.release, release.plan),
            extras=RunExtras(release),
        )

    @property
    def left_out(self) -> tuple[Phase, ...]:
        """The phases around an uninstall that are left out.

        Both where the release stays, since its objects are of somebody else. And the first once an earlier attempt has ended it
        and the release is gone or going: what it is about may no longer exist, so that it would fail for ever.
        """
        newest, storage = self.release.newest, self.release.storage
        if newest is not None and not storage.ownership.owns(storage.revisions):
            return Phase.PRE_DELETE, Phase.POST_DELETE
        gone = newest is None or newest.status in (UNINSTALLING, UNINSTALLED)
        return (Phase.PRE_DELETE,) if gone and self.last.began_uninstall else ()

    async def check_account(self) -> None:
        """Raise AccountMissingError if the account on whose behalf a run begins does not exist; raises KubeError too."""
        await self.release.services.accounts.check(self.release.services.identity)

    def desired(self) -> Desired:
        """Return what the spec wants."""
        return Desired(
            self.action,
            self.digest,
            dry_run=self.spec.dry_run,
            timeout=seconds(self.spec.timeout),
            reinstalls=self.spec.last_breaking_version_requiring_restart is not None,
            chart_version=self.spec.chart.version,
            retry_limit=self.spec.retry.limit,
        )

    async def observed(self) -> Observed:
        """Return what the decision depends on. Raises KubeError, HelmError."""
        status, storage = self.recorder.status, self.release.storage
        return Observed(
            storage.ownership,
            now=datetime.now(UTC).timestamp(),
            revisions=storage.revisions,
            last=self.last,
            rollback_is_own=await rollback_is_own(storage),
            retry_requested=requested(self.chart, status, RETRY_ANNOTATION),
            force_requested=requested(self.chart, status, FORCE_ANNOTATION),
            granted=await self._granted(),
            changed_cause=self.changed_cause,
        )

    async def _granted(self) -> bool:
        """Whether the permission that the last run lacked was granted; not without an answer."""
        missing, services = self.last.missing_permission, self.release.services
        with contextlib.suppress(KubeError):
            return missing is not None and await services.accounts.granted(missing, services.identity)
        return False

    def with_lifecycle(self, lifecycle: Lifecycle) -> "ResourcePass":
        """Return the pass with what has changed in the lifecycle since the last run."""
        profile, plugin = self.last.failed_profile, self.last.failed_plugin
        if profile is not None and version_of(lifecycle, profile.name) != profile:
            return replace(self, changed_cause=f"LifecycleProfile {profile.name}")
        if plugin is not None and plugin_of(lifecycle) != plugin:
            return replace(self, changed_cause=f"plug-in {plugin.name}")
        return self

    async def with_inputs(self) -> "ResourcePass":
        """Return the pass with the digest of its inputs, or itself if they cannot be read: check_prerequisites reports why."""
        if self.spec.action is Action.DEPLOY:
            with contextlib.suppress(OperatorError):
                digest = (await self.release.sources.read()).digest
                await digest.prepare(self.last.digest, *(each.digest for each in self.release.storage.revisions[:1]))
                return replace(self, digest=digest)
        await self.digest.prepare(self.last.digest)
        return self


async def observe(
    recording: Recording,
    spec: ManagedChartSpec,
    services: Services,
    *,
    as_operator: bool = False,
    only_checks: bool = False,
) -> ResourcePass:
    """Begin a pass by observing the release of a resource, on its behalf or else `as_operator`; `spec` is the stored one.

    For `only_checks` the release is not observed: nothing will be decided about it. Raises KubeError.
    """
    chart, status = recording.chart, recording.recorder.status
    identity = None if as_operator else services.accounts.identity_of(chart)
    services = services.on_behalf_of(chart.key.namespace, identity)
    # Of what is stored: a value that is clamped deploys nothing.
    digest = digest_of_deletion() if chart.deleting else await asyncio.to_thread(digest_without_inputs, spec)
    stored, (spec, clamped) = spec, clamp(spec)
    ownership = Ownership.of(chart.uid, status)
    storage = ReleaseStorage(
        services.secrets,
        chart.release_namespace,
        chart.release_name,
        ownership,
        may_read=None if identity is None else partial(_may_read_secrets, services, chart.release_namespace),
    )
    if not only_checks:
        await storage.observe()
    release = ReleaseRun.begin(
        services,
        spec,
        storage,
        Sources(services, spec, storage.name, refresh=attempt_requested(chart, status), stored=stored),
        recording.phases.journal,
        in_own_namespace=chart.release_namespace == chart.key.namespace,
        earlier_blockers=tuple(
            ObjectRef(each.api_version, each.kind, each.name, each.namespace) for each in status.blockers
        ),
        names=(chart.key.name, chart.key.namespace),
    )
    recording.phases.rendered = release.evidence.rendered
    return ResourcePass(
        chart=chart,
        recorder=recording.recorder,
        phases=recording.phases,
        logger=recording.logger,
        spec=spec,
        last=last_run_of(chart, status, started=services.started),
        release=release,
        digest=digest,
        clamped=clamped,
    )


async def _may_read_secrets(services: Services, namespace: str) -> bool:
    """Whether the account of a resource may read Secrets in a namespace. Raises KubeError."""
    try:
        return await services.collector.objects.permissions.allowed(Permission("get", "secrets", "", namespace))
    except KubeError as error:
        if error.reason is not Reason.FORBIDDEN:
            raise
        return False  # the operator may not even ask on its behalf
