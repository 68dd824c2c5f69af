"""Fakes with which the author of a plug-in tests it without a cluster; docs/plugins.md shows how.

`fake_context` makes what a phase gets. The fakes behave as the operator's own parts promise (`lifecycle.context`), keep what
was done with them for a test to look at, and raise what the test wants.
"""

import copy
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from managedchart_operator.api.phase_status import ActionStatus
from managedchart_operator.api.resource import API_VERSION, KIND, ManagedChart
from managedchart_operator.api.spec import Action, ChartSource, ManagedChartSpec
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.egress.metrics import MetricAnswer
from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.coming_kinds import ComingKinds
from managedchart_operator.kube.objects import ObjectRef, Objects, reference
from managedchart_operator.lifecycle.context import ChartCrds, HelmTests, InstalledRelease, Operation, PhaseContext
from managedchart_operator.redaction import Redactor, secrets_in_manifest

__all__ = ["FakeCluster", "FakeExtras", "FakeFacts", "FakeRecorder", "FakeRelease", "fake_context"]

CLUSTER_WIDE = frozenset({
    "APIService", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "IngressClass",
    "MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume", "PriorityClass", "StorageClass",
    "ValidatingWebhookConfiguration",
})  # fmt: skip
"""The kinds whose objects have no namespace, unless a FakeCluster says otherwise."""


@dataclass
class FakeRelease:
    """A release in memory: `calls` has the methods that were called, `raises` the error that a method raises."""

    name: str = "web"
    namespace: str = "apps"
    version: str = "2.0.0"
    """Version of the chart that is to be deployed."""
    installed_version: str | None = None
    """Version of the chart that is installed; None if nothing is."""
    deployed: bool = True
    """Whether this ManagedChart has deployed the release."""
    crds: ChartCrds = field(default_factory=ChartCrds)
    objects: list[dict[str, Any]] = field(default_factory=list)
    """What the chart renders."""
    calls: list[str] = field(default_factory=list)
    raises: dict[str, Exception] = field(default_factory=dict)

    def _did(self, call: str) -> None:
        self.calls.append(call)
        if call in self.raises:
            raise self.raises[call]

    async def check_inputs(self) -> None:
        """Succeed, or raise."""
        self._did("check_inputs")

    async def check_namespace(self) -> None:
        """Succeed, or raise."""
        self._did("check_namespace")

    async def chart_version(self) -> str:
        """Return `version`."""
        self._did("chart_version")
        return self.version

    async def installed(self) -> InstalledRelease | None:
        """Return the revision 1 with `installed_version`, or None."""
        self._did("installed")
        return InstalledRelease(1, self.name, self.installed_version) if self.installed_version else None

    async def deployed_here(self) -> bool:
        """Return `deployed`."""
        self._did("deployed_here")
        return self.deployed

    async def chart_crds(self) -> ChartCrds:
        """Return `crds`."""
        self._did("chart_crds")
        return self.crds

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        """Deploy: `installed_version` is `version` afterwards."""
        self._did("upgrade(take_ownership=True)" if take_ownership else "upgrade")
        self.installed_version = self.version
        return "deployed"

    async def resume(self) -> None:
        """Succeed, or raise."""
        self._did("resume")

    async def uninstall(self) -> bool:
        """Uninstall: nothing is installed afterwards."""
        self._did("uninstall")
        was, self.installed_version = self.installed_version, None
        return was is not None

    async def manifest(self) -> list[dict[str, Any]]:
        """Return `objects`."""
        self._did("manifest")
        return copy.deepcopy(self.objects)

    def redactor(self, objects: Sequence[dict[str, Any]]) -> Callable[[str], str]:
        """Return what removes the values of Secrets among the objects from a text."""
        return Redactor(secrets_in_manifest(objects))

    async def collect_evidence(self) -> Findings:
        """Return no evidence."""
        self._did("collect_evidence")
        return Findings()


class FakeCluster:
    """Objects in memory, made of manifests; `changes` has what was done: (verb, object)."""

    locate, locate_all, resolve = Objects.locate, Objects.locate_all, Objects.resolve

    def __init__(self, *manifests: Mapping[str, Any], cluster_wide: Iterable[str] = CLUSTER_WIDE) -> None:
        self._cluster_wide = frozenset(cluster_wide)
        self.objects: dict[ObjectRef, dict[str, Any]] = {}
        """By reference; a test may add and change them."""
        self.changes: list[tuple[str, ObjectRef]] = []
        self.raises: dict[tuple[str, ObjectRef], Exception] = {}
        """The error that a verb (get, merge_patch, try_apply, delete) raises for an object."""
        for each in manifests:
            self.objects[reference(each, "" if each["kind"] in self._cluster_wide else "apps")] = copy.deepcopy(
                dict(each)
            )

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return a copy of the object, or None."""
        self._raise("get", ref)
        return copy.deepcopy(self.objects.get(ref))

    async def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the objects of a kind, without their types as the API server does. Selectors: `key=value` with commas."""
        if fields:
            raise NotImplementedError("a FakeCluster knows no field selectors")
        pairs = dict(part.split("=", 1) for part in labels.split(",") if part)
        return [
            {
                name: copy.deepcopy(value)
                for name, value in found.items()
                if name == "metadata" or not (metadata_only or name in ("apiVersion", "kind"))
            }
            for ref, found in self.objects.items()
            if (ref.api_version, ref.kind) == (api_version, kind)
            and namespace in ("", ref.namespace)
            and pairs.items() <= (found.get("metadata", {}).get("labels") or {}).items()
        ]

    async def merge_patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge a patch into the object (RFC 7386) and return it; None if it does not exist."""
        self._raise("merge_patch", ref)
        if ref not in self.objects:
            return None
        self.changes.append(("merge_patch", ref))
        self.objects[ref] = _merged(self.objects[ref], patch)
        return copy.deepcopy(self.objects[ref])

    async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any], *, force: bool = True) -> None:  # noqa: ARG002
        """Succeed, or raise."""
        self._raise("try_apply", ref)

    async def delete(self, ref: ObjectRef) -> bool:
        """Delete the object; False if it does not exist."""
        self._raise("delete", ref)
        if self.objects.pop(ref, None) is None:
            return False
        self.changes.append(("delete", ref))
        return True

    async def namespaced(self, api_version: str, kind: str) -> bool:  # noqa: ARG002
        """Whether objects of this kind live in a namespace."""
        return kind not in self._cluster_wide

    async def served_version(self, api_version: str, kind: str) -> str | None:  # noqa: ARG002
        """Return the apiVersion: every one is served."""
        return api_version

    def _raise(self, verb: str, ref: ObjectRef) -> None:
        if error := self.raises.get((verb, ref)):
            raise error


def _merged(old: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(old) if isinstance(old, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value) if isinstance(value, Mapping) else copy.deepcopy(value)
    return result


@dataclass
class FakeRecorder:
    """Keeps what a phase records."""

    warnings: list[tuple[str, str]] = field(default_factory=list)
    """Reason and message of each Warning Event."""
    findings: list[Findings] = field(default_factory=list)
    phases: list[tuple[Phase, OperatorError | None]] = field(default_factory=list)
    """The phases that have ended, when a test calls `Lifecycle.run`."""

    def phase_started(self, phase: Phase) -> None:
        """Do nothing."""

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, payload: Sequence[str] = ()) -> None:  # noqa: ARG002
        """Keep the phase and its error."""
        self.phases.append((phase, error))

    async def store(self) -> None:
        """Do nothing."""

    def action(self, entry: ActionStatus) -> None:
        """Do nothing."""

    def evidence(self, findings: Findings) -> None:
        """Keep the evidence."""
        self.findings.append(findings)

    def warn(self, reason: str, message: str) -> None:
        """Keep the warning."""
        self.warnings.append((reason, message))


@dataclass
class FakeFacts:
    """What does not change during a run."""

    stamp: str = "a1b2c3"
    replaced_stamp: str = "0a1b2c"
    replaced: str | None = None
    """The version of the chart before this run."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """The objects in the chart's files."""

    async def replaced_version(self) -> str | None:
        """Return `replaced`."""
        return self.replaced

    async def chart_objects(self, pattern: str, *, most_bytes: int, most_objects: int) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return `files`, whatever the pattern."""
        return copy.deepcopy(self.files)


@dataclass
class FakeExtras:
    """What else a run knows about the chart and its release; `calls` has the methods that were called."""

    chart_crds: list[dict[str, Any]] = field(default_factory=list)
    """The CRDs of the chart that is to be deployed."""
    installed: ChartCrds | None = None
    tests: HelmTests = field(default_factory=HelmTests)
    """What `helm test` reports."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The values of queries."""
    calls: list[str] = field(default_factory=list)
    coming: ComingKinds = field(default_factory=ComingKinds)

    async def crds(self) -> list[dict[str, Any]]:
        """Return `chart_crds`."""
        self.calls.append("crds")
        return copy.deepcopy(self.chart_crds)

    async def installed_crds(self) -> ChartCrds | None:
        """Return `installed`."""
        self.calls.append("installed_crds")
        return self.installed

    async def kinds_changed(self) -> None:
        """Succeed."""
        self.calls.append("kinds_changed")

    async def query_metrics(self, url: str, query: str) -> MetricAnswer:  # noqa: ARG002
        """Return the value of `metrics` for the query, as Prometheus does; no value if it has none."""
        self.calls.append("query_metrics")
        samples = [{"metric": {}, "value": [0, str(self.metrics[query])]}] if query in self.metrics else []
        return MetricAnswer(200, json.dumps({"data": {"resultType": "vector", "result": samples}}))

    async def test(self, *, only: Sequence[str], exclude: Sequence[str], seconds: float) -> HelmTests:  # noqa: ARG002
        """Return `tests`."""
        self.calls.append("test")
        return self.tests


def fake_context(
    *,
    release: FakeRelease | None = None,
    cluster: FakeCluster | None = None,
    recorder: FakeRecorder | None = None,
    facts: FakeFacts | None = None,
    extras: FakeExtras | None = None,
    action: Action = Action.DEPLOY,
    operation: Operation | None = None,
    spec: Mapping[str, Any] | None = None,
) -> PhaseContext:
    """Return what a phase gets. `spec` has fields as in YAML; without an operation it is Upgrade, Uninstall or Skip.

    Parts that the test does not give are empty fakes: a release `apps/web` without objects, a cluster without objects.
    """
    release = release or FakeRelease()
    written = {"chart": ChartSource(path="/charts/web"), "action": action, **(spec or {})}
    defaults = {Action.DEPLOY: Operation.UPGRADE, Action.DESTROY: Operation.UNINSTALL, Action.SKIP: Operation.SKIP}
    metadata = {"namespace": release.namespace, "name": release.name, "uid": "uid-1", "generation": 1}
    return PhaseContext(
        spec=ManagedChartSpec.model_validate(written),
        action=action,
        operation=operation or defaults[action],
        release=release,
        cluster=cast("Objects", cluster or FakeCluster()),
        recorder=recorder or FakeRecorder(),
        logger=logging.LoggerAdapter(logging.getLogger("plugin"), {}),
        chart=ManagedChart.from_body(
            {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec or {}}
        ),
        facts=facts or FakeFacts(),
        extras=extras or FakeExtras(),
    )
