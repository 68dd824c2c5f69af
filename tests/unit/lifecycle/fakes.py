"""Replaces everything that a lifecycle works with, and records the calls.

Boundary: behaves as the Protocols of `lifecycle.context` promise and knows no more; the real ones are tested in tests/e2e.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.api.spec import Action, ChartSource, ManagedChartSpec
from managedchart_operator.api.status import FailureEvent, Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import KubeError, OperatorError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.context import ChartCrds, InstalledRelease, Operation, PhaseContext
from managedchart_operator.redaction import Redactor, secrets_in_manifest

CLUSTER_WIDE = frozenset({"ClusterRole", "CustomResourceDefinition"})
EVENT = FailureEvent(type="Warning", reason="BackOff", object="Pod web", message="restarting failed container")


@dataclass
class FakeRelease:
    """A release in memory; `calls` has what was done with it, `raises` the errors by method."""

    calls: list[str] = field(default_factory=list)
    raises: dict[str, Exception] = field(default_factory=dict)
    name: str = "web"
    namespace: str = "apps"
    version: str = "2.0.0"
    installed_version: str | None = None
    deployed: bool = True
    crds: ChartCrds = field(default_factory=ChartCrds)
    objects: list[dict[str, Any]] = field(default_factory=list)
    upgrade_options: dict[str, bool] = field(default_factory=dict)

    def _did(self, call: str) -> None:
        self.calls.append(call)
        if call in self.raises:
            raise self.raises[call]

    async def check_inputs(self) -> None:
        self._did("check_inputs")

    async def check_namespace(self) -> None:
        self._did("check_namespace")

    async def chart_version(self) -> str:
        self._did("chart_version")
        return self.version

    async def installed(self) -> InstalledRelease | None:
        self._did("installed")
        return InstalledRelease(1, "web", self.installed_version) if self.installed_version else None

    async def deployed_here(self) -> bool:
        self._did("deployed_here")
        return self.deployed

    async def chart_crds(self) -> ChartCrds:
        self._did("chart_crds")
        return self.crds

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        self.upgrade_options = {"take_ownership": take_ownership}
        self._did("upgrade")
        return "deployed"

    async def resume(self) -> None:
        self._did("resume")

    async def uninstall(self) -> bool:
        self._did("uninstall")
        return True

    async def manifest(self) -> list[dict[str, Any]]:
        self._did("manifest")
        return self.objects

    def redactor(self, objects: Sequence[dict[str, Any]]) -> Callable[[str], str]:
        return Redactor(secrets_in_manifest(objects))

    async def collect_evidence(self) -> Findings:
        self._did("collect_evidence")
        return Findings(events=[EVENT], incomplete="no logs")


@dataclass
class FakeCluster:
    """Objects in memory; `refuses` has the error of a dry-run apply, by object."""

    locate, resolve = Objects.locate, Objects.resolve

    objects: dict[ObjectRef, dict[str, Any]] = field(default_factory=dict)
    refuses: dict[ObjectRef, KubeError] = field(default_factory=dict)
    tried: dict[ObjectRef, dict[str, Any]] = field(default_factory=dict)
    patched: list[ObjectRef] = field(default_factory=list)
    deleted: list[ObjectRef] = field(default_factory=list)

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        return self.objects.get(ref)

    async def list(self, api_version: str, kind: str, *, metadata_only: bool = False) -> list[dict[str, Any]]:
        return [found for ref, found in self.objects.items() if (ref.api_version, ref.kind) == (api_version, kind)]

    async def try_apply(self, ref: ObjectRef, body: dict[str, Any]) -> None:
        assert not self.patched, "all are tried before the first is marked"
        self.tried[ref] = body
        if ref in self.refuses:
            raise self.refuses[ref]

    async def merge_patch(self, ref: ObjectRef, patch: dict[str, Any]) -> dict[str, Any] | None:
        self.patched.append(ref)
        meta = self.objects[ref]["metadata"]
        for kind, entries in patch["metadata"].items():
            meta[kind] = {**(meta.get(kind) or {}), **entries}
        return self.objects[ref]

    async def delete(self, ref: ObjectRef) -> bool:
        found = self.objects.pop(ref, None) is not None
        if found:
            self.deleted.append(ref)
        return found

    async def namespaced(self, api_version: str, kind: str) -> bool:
        return kind not in CLUSTER_WIDE


@dataclass
class FakeRecorder:
    """Records phases as `Exec+` (started), `Exec.` (succeeded), `Exec!` (failed)."""

    phases: list[str] = field(default_factory=list)
    errors: dict[Phase, OperatorError] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    warnings: list[tuple[str, str]] = field(default_factory=list)

    def phase_started(self, phase: Phase) -> None:
        self.phases.append(f"{phase}+")

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, message: str | None = None) -> None:
        self.phases.append(f"{phase}{'!' if error else '.'}")
        if error:
            self.errors[phase] = error

    def evidence(self, findings: Findings) -> None:
        self.findings = findings

    def warn(self, reason: str, message: str) -> None:
        self.warnings.append((reason, message))


@dataclass
class Bench:
    """A context and the fakes in it."""

    context: PhaseContext
    release: FakeRelease
    cluster: FakeCluster
    recorder: FakeRecorder


def bench(
    *,
    release: FakeRelease | None = None,
    cluster: FakeCluster | None = None,
    action: Action = Action.DEPLOY,
    operation: Operation = Operation.UPGRADE,
    **spec: Any,
) -> Bench:
    """Build a context; `spec` are fields of the spec by their Python names."""
    release, cluster, recorder = release or FakeRelease(), cluster or FakeCluster(), FakeRecorder()
    context = PhaseContext(
        spec=ManagedChartSpec(chart=ChartSource(path="/charts/web"), action=action, **spec),
        action=action,
        operation=operation,
        release=release,
        cluster=cluster,
        recorder=recorder,
        logger=logging.LoggerAdapter(logging.getLogger("test"), {}),
    )
    return Bench(context, release, cluster, recorder)
