"""One release during one run; the operations are functions over it."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.api.status import ReleaseStatus
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.namespaces import Namespaces, NamespaceState
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.reconcile.run_evidence import RunEvidence
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources
from managedchart_operator.times import write_time

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TargetNamespace:
    """The namespace of a release: whether it exists, and whether helm may and has to create it; read once, when it is needed.

    It is `known_to_exist` if the ManagedChart or a revision is in it: then the API server reports if it is being deleted.
    """

    namespaces: Namespaces
    name: str
    create: bool
    known_to_exist: bool
    _state: NamespaceState | None = None

    async def check(self) -> None:
        """Raise OperatorError when it is missing and may not be created, or is being deleted."""
        match await self._look():
            case NamespaceState.TERMINATING:
                raise OperatorError(
                    f"Namespace {self.name} is being deleted",
                    reason=Reason.NAMESPACE_TERMINATING,
                    transient=True,
                    hint=f"Wait until it is deleted, or see what blocks it: kubectl get namespace {self.name} -o yaml",
                )
            case NamespaceState.MISSING if not self.create:
                raise OperatorError(
                    f"Namespace {self.name} does not exist, and spec.createNamespace is false",
                    reason=Reason.NAMESPACE_NOT_FOUND,
                    transient=True,
                    hint=f"Create it (kubectl create namespace {self.name}) or set spec.createNamespace: true.",
                )

    async def is_to_be_created(self) -> bool:
        """Whether helm has to create it: it would apply even an existing one, which needs permission. Raises KubeError."""
        return self.create and await self._look() is NamespaceState.MISSING

    async def _look(self) -> NamespaceState:
        if self._state is None:
            self._state = NamespaceState.ACTIVE if self.known_to_exist else await self.namespaces.state(self.name)
        return self._state


@dataclass(frozen=True, slots=True)
class ReleaseRun:
    """What the operations of a run work with; `attempt` is the random word in the labels of a revision that it makes."""

    services: Services
    spec: ManagedChartSpec
    storage: ReleaseStorage
    sources: Sources
    namespace_state: TargetNamespace
    evidence: RunEvidence
    attempt: str
    journal: Journal
    earlier_blockers: tuple[ObjectRef, ...] = ()
    """The objects that an earlier uninstall waited for."""

    @classmethod
    def begin(
        cls,
        services: Services,
        spec: ManagedChartSpec,
        storage: ReleaseStorage,
        sources: Sources,
        journal: Journal,
        *,
        in_own_namespace: bool,
        earlier_blockers: tuple[ObjectRef, ...] = (),
        names: tuple[str, ...] = (),
    ) -> Self:
        """Build the parts of a run; `in_own_namespace` says that its release is in the namespace of the ManagedChart.

        `names` are those of the ManagedChart, which are never masked.
        """
        attempt = secrets.token_hex(8)
        rendered = RenderedObjects(storage, sources, names=names)
        evidence = RunEvidence(services.collector, services.watches, datetime.now(UTC), attempt, rendered)
        exists = in_own_namespace or storage.newest is not None
        namespace = TargetNamespace(services.namespaces, storage.namespace, spec.create_namespace, exists)
        return cls(services, spec, storage, sources, namespace, evidence, attempt, journal, earlier_blockers)

    @property
    def name(self) -> str:
        """Name of the release."""
        return self.storage.name

    @property
    def namespace(self) -> str:
        """Namespace of the release."""
        return self.storage.namespace

    @property
    def newest(self) -> Revision | None:
        """The newest revision as last observed."""
        return self.storage.newest

    @property
    def ownership(self) -> Ownership:
        """What the ManagedChart can prove about the release."""
        return self.storage.ownership

    @property
    def objects(self) -> Objects:
        """The objects of the cluster."""
        return self.services.collector.objects

    @property
    def redactor(self) -> Callable[[str], str]:
        """Removes the secrets of this run from a text, as far as they are known by now."""
        return self.evidence.rendered.redactor()


async def release_status(run: ReleaseRun, *, digest: Digest) -> ReleaseStatus | None:
    """Describe the newest revision, with the chart that was just deployed where the revision cannot be read.

    `digest` is that of the run's input. A release of others is not described, since this resource's readers may not read it.
    """
    newest = run.newest
    if newest is None or not (run.ownership.made(newest) or run.ownership.owns(run.storage.revisions)):
        return None
    chart = run.sources.chart
    name, version, app = (chart.name, chart.version, chart.app_version) if chart else (None, None, None)
    if chart is None or not digest.matches(newest.digest):
        try:
            stored = await run.storage.read_stored() or StoredRelease({})
            name, version, app = stored.chart_name, stored.chart_version, stored.app_version
        except (KubeError, HelmError) as error:
            logger.warning("%s/%s: cannot read revision %d: %s", run.namespace, run.name, newest.number, error.message)
    return ReleaseStatus(
        name=run.name,
        namespace=run.namespace,
        revision=newest.number,
        status=newest.status,
        chart=name,
        chart_version=version,
        app_version=app,
        digest=newest.digest,
        last_deployed=write_time(datetime.fromtimestamp(newest.stored_at, UTC)) if newest.stored_at else None,
    )
