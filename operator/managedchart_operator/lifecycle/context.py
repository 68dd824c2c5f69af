"""What a phase works with: the interface between a lifecycle and the operator.

The reconciler implements the Protocols. A context belongs to one run of one resource and must not be used after it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from managedchart_operator.api.phase_status import ActionStatus
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.egress.metrics import MetricAnswer
from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.coming_kinds import ComingKinds
from managedchart_operator.kube.objects import Objects


class Operation(StrEnum):
    """What the exec phase of a run does with the release."""

    INSTALL = "Install"
    UPGRADE = "Upgrade"
    RESUME = "Resume"
    """The release matches the spec already; only the wait may remain, and the phases after exec (after a crash, say)."""
    DRY_RUN = "DryRun"
    UNINSTALL = "Uninstall"
    SKIP = "Skip"

    @property
    def deploys(self) -> bool:
        """Whether the run makes the release match the spec."""
        return self in (Operation.INSTALL, Operation.UPGRADE, Operation.RESUME)


@dataclass(frozen=True, slots=True)
class InstalledRelease:
    """The newest revision of the release that counts as installed."""

    revision: int
    chart: str | None
    chart_version: str | None


@dataclass(frozen=True, slots=True)
class ChartCrds:
    """The CustomResourceDefinitions of the installed revision's chart."""

    names: frozenset[str] = frozenset()
    incomplete: str | None = None
    """Why `names` may be incomplete: the error that prevented reading the chart. None if it is complete."""


class Release(Protocol):
    """The Helm release of the run."""

    @property
    def name(self) -> str:
        """Name of the release."""

    @property
    def namespace(self) -> str:
        """Namespace of the release."""

    async def check_inputs(self) -> None:
        """Read the chart (if that needs no network) and all values. Raises ChartError, ValuesError."""

    async def check_namespace(self) -> None:
        """Raise OperatorError if the target namespace is being deleted, or is missing and may not be created."""

    async def chart_version(self) -> str:
        """Fetch the chart that this run deploys and return its version. Raises ChartError, HelmError."""

    async def installed(self) -> InstalledRelease | None:
        """Return the installed release, or None. Raises KubeError."""

    async def deployed_here(self) -> bool:
        """Whether this ManagedChart has ever deployed the release; False in doubt. Raises KubeError."""

    async def chart_crds(self) -> ChartCrds:
        """Return the CRDs in the crds/ folders of the installed revision's chart, subcharts included. Raises KubeError.

        May fetch the chart. If it cannot be fetched, the result is incomplete; that is not an error.
        """

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """Install or upgrade; returns a sentence on what was done. Raises OperatorError."""

    async def resume(self) -> None:
        """Continue the wait for what an earlier run deployed, if that run was killed meanwhile. Raises OperatorError."""

    async def uninstall(self) -> bool:
        """Uninstall and wait until the objects are deleted; False if nothing was installed. Raises OperatorError."""

    async def manifest(self) -> list[dict[str, Any]]:
        """Return the objects that the chart renders with the run's values. Raises OperatorError.

        First the CRDs in its crds/ folders are applied, as spec.crds says; not in a dry run, whose objects may be of kinds that
        the cluster does not know yet.
        """

    def redactor(self, objects: Sequence[dict[str, Any]]) -> Callable[[str], str]:
        """Return what removes the secrets of the run, and of these objects, from a text. Thousands take 0.1 s."""

    async def collect_evidence(self) -> Findings:
        """Return the evidence of why the release does not become ready. Raises nothing except when cancelled."""


class RunFacts(Protocol):
    """What does not change between the begin of a run and its end, nor in a run that continues it after a crash."""

    @property
    def stamp(self) -> str:
        """Identifies the newest revision among all revisions of all releases; empty if there is none."""

    @property
    def replaced_stamp(self) -> str:
        """Identifies the newest revision that was deployed, before exec the one that this run replaces; empty if none was.

        A revision that a kill has left pending does not count, so the run that continues finds the same one.
        """

    async def replaced_version(self) -> str | None:
        """Return the version of the chart that was deployed before this run's revision; None if there was none.

        Raises KubeError, HelmError.
        """

    async def chart_objects(self, pattern: str, *, most_bytes: int, most_objects: int) -> list[dict[str, Any]]:
        """Return the objects in the chart's files that a pattern like `files/*.yaml` matches; nothing is rendered.

        Raises ChartError, also if there is no such file, one is no YAML, or a document is not an object.
        """


@dataclass(frozen=True, slots=True)
class HelmTests:
    """What `helm test` reported."""

    passed: Sequence[str] = ()
    """The tests that succeeded, by the names of their objects."""
    failed: Sequence[str] = ()
    """The tests that did not."""
    logs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The logs that helm printed, by pod and container, as they are."""
    error: OperatorError | None = None
    """Why the run of the tests failed; None if it did not."""


class ReleaseExtras(Protocol):
    """What only actions need of the release and of its chart."""

    @property
    def coming(self) -> ComingKinds:
        """The kinds whose CRDs this run would have applied by now, if it is a dry run."""

    async def crds(self) -> list[dict[str, Any]]:
        """Return the CRDs in the crds/ folders of the chart that this run deploys, enabled subcharts included.

        Raises ChartError, HelmError, KubeError.
        """

    async def installed_crds(self) -> ChartCrds | None:
        """Return the CRDs of the installed chart as `Release.chart_crds` does; None if this ManagedChart did not deploy it.

        After an uninstall the answer is the one from before it, if it was asked for then. Raises KubeError.
        """

    async def kinds_changed(self) -> None:
        """Make the next Helm process ask which kinds the cluster serves."""

    async def query_metrics(self, url: str, query: str) -> MetricAnswer:
        """Ask a server outside of the cluster. Raises LifecycleError if that is not allowed, or there is no answer."""

    async def test(self, *, only: Sequence[str], exclude: Sequence[str], seconds: float) -> HelmTests:
        """Run the tests of the release with these names, or all; each may take so long. Raises HelmError if Helm cannot run."""


class Recorder(Protocol):
    """Records what happens, for the status, the Events and the metrics."""

    def phase_started(self, phase: Phase) -> None:
        """Record that a phase begins."""

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, payload: Sequence[str] = ()) -> None:
        """Record that a phase has succeeded, with the keys of the payload that it passes on, or failed with an error."""

    async def store(self) -> None:
        """Store what was recorded so far, so that it outlives the operator. Raises nothing except when cancelled."""

    def action(self, entry: ActionStatus) -> None:
        """Record an action of the phase that runs: a new one, or a change of the last one."""

    def evidence(self, findings: Findings) -> None:
        """Record the evidence of a failure."""

    def warn(self, reason: str, message: str) -> None:
        """Write a Warning Event about something that does not stop the run."""


@dataclass(frozen=True, slots=True)
class PhaseContext:
    """Everything that a phase may use. `action` is that of the spec, or Destroy while the ManagedChart is being deleted."""

    spec: ManagedChartSpec
    action: Action
    operation: Operation
    release: Release
    cluster: Objects
    recorder: Recorder
    logger: logging.LoggerAdapter[logging.Logger]
    chart: ManagedChart
    """The resource itself: its names, UID and generation."""
    facts: RunFacts
    extras: ReleaseExtras
