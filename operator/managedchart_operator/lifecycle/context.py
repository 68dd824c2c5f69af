"""What a phase gets to work with: the interface between a lifecycle and the operator.

The reconciler provides what stands behind the Protocols. Everything in a context belongs to one run of one resource; nothing of
it outlives the run.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.objects import ObjectRef


class Operation(StrEnum):
    """What the exec phase of a run is to do with the release, as the decision says."""

    INSTALL = "Install"
    UPGRADE = "Upgrade"
    RESUME = "Resume"
    """The release is deployed as wanted already: only the wait may be left, and what follows exec (after a crash, say)."""
    DRY_RUN = "DryRun"
    UNINSTALL = "Uninstall"
    SKIP = "Skip"

    @property
    def deploys(self) -> bool:
        """Whether the run is to leave the release as the spec asks."""
        return self in (Operation.INSTALL, Operation.UPGRADE, Operation.RESUME)


@dataclass(frozen=True, slots=True)
class InstalledRelease:
    """The newest revision of the release that counts as installed."""

    revision: int
    chart: str | None
    chart_version: str | None


@dataclass(frozen=True, slots=True)
class ChartCrds:
    """The CustomResourceDefinitions that the installed revision's chart brings."""

    names: frozenset[str] = frozenset()
    incomplete: str | None = None
    """Why there may be more than `names`: what kept the chart from being read. None when `names` is complete."""


class Release(Protocol):
    """The Helm release of the run."""

    @property
    def name(self) -> str:
        """Name of the release."""

    @property
    def namespace(self) -> str:
        """Namespace of the release."""

    async def check_inputs(self) -> None:
        """Read the chart (where that needs no network) and all values. Raises ChartError, ValuesError."""

    async def check_namespace(self) -> None:
        """Raise OperatorError when the target namespace is missing (and may not be created) or being deleted."""

    async def chart_version(self) -> str:
        """Return the version of the chart that this run is to deploy; fetches it. Raises ChartError, HelmError."""

    async def installed(self) -> InstalledRelease | None:
        """Return what is installed now, or None. Raises KubeError."""

    async def deployed_here(self) -> bool:
        """Whether this resource has deployed the release, now or earlier; False in doubt. Raises KubeError."""

    async def chart_crds(self) -> ChartCrds:
        """Return the CRDs in the crds/ folders of the installed revision's chart, subcharts included. Raises KubeError.

        May fetch the chart; one that cannot be fetched is not an error.
        """

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """Install or upgrade as the spec says; returns a sentence on what was done. Raises OperatorError."""

    async def resume(self) -> None:
        """Wait on for what an earlier run has deployed, where that run was killed while it did. Raises OperatorError."""

    async def uninstall(self) -> bool:
        """Uninstall and wait until the objects are gone; False where nothing was installed. Raises OperatorError."""

    async def manifest(self) -> list[dict[str, Any]]:
        """Return the objects that the chart renders to with the run's values. Raises OperatorError."""

    async def collect_evidence(self) -> Findings:
        """Return what the cluster shows of why the release does not come up. Raises nothing except when cancelled."""


class Cluster(Protocol):
    """Objects of the cluster, whatever their kind."""

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, or None."""

    async def list(self, api_version: str, kind: str, *, metadata_only: bool = False) -> list[dict[str, Any]]:
        """Return the objects of a kind of all namespaces."""

    async def try_apply(self, ref: ObjectRef, body: dict[str, Any]) -> None:
        """Let the API server judge an apply as helm makes it, without carrying it out. Raises KubeError with its `answer`."""

    async def merge_patch(self, ref: ObjectRef, patch: dict[str, Any]) -> dict[str, Any] | None:
        """Merge a patch into the object; None where there is none."""

    async def delete(self, ref: ObjectRef) -> bool:
        """Delete the object; False where there is none."""

    async def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of this kind live in a namespace."""

    async def locate(self, rendered: Mapping[str, Any], default_namespace: str) -> ObjectRef:
        """Return where a rendered object is, in the default namespace if it names none. Raises KubeError."""


class Recorder(Protocol):
    """Takes down what happens, for the status, the events and the metrics."""

    def phase_started(self, phase: Phase) -> None:
        """A phase begins."""

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None) -> None:
        """A phase has ended, with an error or well."""

    def evidence(self, findings: Findings) -> None:
        """What was found out about a failure of exec."""

    def warn(self, reason: str, message: str) -> None:
        """Tell of something that does not stop the run, as a Warning event on the resource."""


@dataclass(frozen=True, slots=True)
class PhaseContext:
    """Everything that a phase may use. `action` is Destroy while the resource is being deleted, else the spec's."""

    spec: ManagedChartSpec
    action: Action
    operation: Operation
    release: Release
    cluster: Cluster
    recorder: Recorder
    logger: logging.LoggerAdapter[logging.Logger]
