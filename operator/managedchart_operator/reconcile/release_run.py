"""One release during one run; the operations are functions over it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.reconcile.run_evidence import RunEvidence
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources
from managedchart_operator.reconcile.target_namespace import TargetNamespace


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
        """Build the parts of a run. The revisions must have been observed.

        `in_own_namespace` says that the release is in the namespace of its ManagedChart, which therefore exists.
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
