"""One release during one run; the operations are functions over it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.errors import OperatorError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.namespaces import Namespaces, NamespaceState
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.journal import Journal
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.reconcile.run_evidence import RunEvidence
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources


@dataclass(slots=True)
class TargetNamespace:
    """The namespace of a release: whether it exists, and whether helm may and has to create it.

    It is read once per run when it is first needed; never with `known_to_exist`, since the ManagedChart or a revision of the
    release is in it. If it is being deleted, the API server refuses the upgrade with that reason.
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
        if self.known_to_exist:
            return NamespaceState.ACTIVE
        if self._state is None:
            self._state = await self.namespaces.state(self.name)
        return self._state


@dataclass(frozen=True, slots=True)
class ReleaseRun:
    """What the operations of a run work with; `begin` builds it.

    `attempt` is the random word in the labels of a revision that this run makes.
    """

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
    ) -> Self:
        """Build the parts of a run, whose revisions must have been observed.

        `in_own_namespace` says that the release is in the namespace of its ManagedChart.
        """
        attempt = secrets.token_hex(8)
        rendered = RenderedObjects(storage, sources)
        evidence = RunEvidence(
            services.collector, services.watches, storage.namespace, datetime.now(UTC), attempt, rendered
        )
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
        """Removes the secrets of this run from a text."""
        return self.evidence.rendered.redactor()
