"""Replaces everything that a lifecycle works with, and records the calls.

Boundary: behaves as the Protocols of `lifecycle.context` promise and knows no more; the real ones are tested in tests/e2e.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from managedchart_operator import testing
from managedchart_operator.api.phase_status import ActionStatus
from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.spec import Action, ChartSource, ManagedChartSpec
from managedchart_operator.api.status import FailureEvent, Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.egress.metrics import MetricAnswer
from managedchart_operator.errors import KubeError, LifecycleError, OperatorError
from managedchart_operator.kube.coming_kinds import ComingKinds
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.actions import patching
from managedchart_operator.lifecycle.context import ChartCrds, HelmTests, Operation, PhaseContext
from managedchart_operator.reasons import Reason

CLUSTER_WIDE = frozenset({"ClusterRole", "CustomResourceDefinition"})
EVENT = FailureEvent(type="Warning", reason="BackOff", object="Pod web", message="restarting failed container")


CHART = ManagedChart.from_body(
    {"metadata": {"namespace": "apps", "name": "web", "uid": "u1", "generation": 3, "resourceVersion": "1"}}
)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return two objects as one, field by field; what is in `new` wins."""
    result = dict(old)
    for key, value in new.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


@dataclass
class FakeRelease(testing.FakeRelease):
    """The release for authors of plug-ins, which notes how it was upgraded and has evidence."""

    upgrade_options: dict[str, bool] = field(default_factory=dict)

    async def upgrade(self, *, take_ownership: bool = False) -> str:
        self.upgrade_options = {"take_ownership": take_ownership}
        self._did("upgrade")
        return "deployed"

    async def uninstall(self) -> bool:
        self._did("uninstall")
        return True

    async def collect_evidence(self) -> Findings:
        self._did("collect_evidence")
        return Findings(events=[EVENT], incomplete="no logs")


@dataclass
class FakeFacts:
    """What a run knows about its revisions."""

    replaced: str | None = None
    stamp: str = "a1"

    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The objects in the chart's files, by the pattern that names them."""

    @property
    def replaced_stamp(self) -> str:
        return self.stamp

    async def replaced_version(self) -> str | None:
        return self.replaced

    async def chart_objects(self, pattern: str, *, most_bytes: int, most_objects: int) -> list[dict[str, Any]]:
        assert most_bytes > 0
        assert most_objects > 0
        return self.files[pattern]


@dataclass
class FakeExtras:
    """What actions ask of the release beyond the phases; `tested` has the arguments of the tests that were run."""

    of_chart: list[dict[str, Any]] = field(default_factory=list)
    installed: ChartCrds | None = None
    tests: HelmTests = field(default_factory=HelmTests)
    tested: list[tuple[tuple[str, ...], tuple[str, ...], float]] = field(default_factory=list)
    forgotten: int = 0
    metrics: MetricAnswer | LifecycleError | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    coming: ComingKinds = field(default_factory=ComingKinds)

    async def crds(self) -> list[dict[str, Any]]:
        return self.of_chart

    async def installed_crds(self) -> ChartCrds | None:
        return self.installed

    async def kinds_changed(self) -> None:
        self.forgotten += 1

    async def query_metrics(self, url: str, query: str) -> MetricAnswer:
        self.asked.append((url, query))
        if isinstance(self.metrics, LifecycleError):
            raise self.metrics
        assert self.metrics is not None
        return self.metrics

    async def test(self, *, only: Sequence[str], exclude: Sequence[str], seconds: float) -> HelmTests:
        self.tested.append((tuple(only), tuple(exclude), seconds))
        return self.tests


@dataclass
class FakeCrds:
    """Waits for no CRD, and notes for which it was asked."""

    served: list[str] = field(default_factory=list)

    async def until_served(self, crds: Sequence[dict[str, Any]]) -> None:
        self.served += [each["metadata"]["name"] for each in crds]


@dataclass
class FakeCluster:
    """Objects in memory; `refuses` has the error of a dry-run apply, by object."""

    locate, resolve = Objects.locate, Objects.resolve

    objects: dict[ObjectRef, dict[str, Any]] = field(default_factory=dict)
    refuses: dict[ObjectRef, KubeError] = field(default_factory=dict)
    tried: dict[ObjectRef, dict[str, Any]] = field(default_factory=dict)
    patched: list[ObjectRef] = field(default_factory=list)
    deleted: list[ObjectRef] = field(default_factory=list)
    applied: list[tuple[ObjectRef, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """Each server-side apply: the object, the body and the query."""
    created: list[tuple[ObjectRef, dict[str, str]]] = field(default_factory=list)
    """Each object that was created, and the query."""
    written: list[tuple[ObjectRef, Any, dict[str, str]]] = field(default_factory=list)
    """Each merge patch and JSON patch of an action: the object, the body and the query."""
    paths: dict[str, ObjectRef] = field(default_factory=dict)
    identity: Identity | None = None
    crds: FakeCrds = field(default_factory=FakeCrds)
    logs: dict[str, str] = field(default_factory=dict)
    """The log of each pod."""

    @property
    def client(self) -> Self:
        return self

    def acting_as(self, identity: Identity | None) -> "FakeCluster":
        """The same objects, for another identity."""
        return replace(self, identity=identity)

    async def path_of(self, ref: ObjectRef) -> str:
        self.paths[str(ref)] = ref
        return str(ref)

    async def request(
        self, method: str, path: str, *, query: dict[str, str] | None = None, body: Any = None, **more: Any
    ) -> Any:
        """What `kube.applying` and `kube.single_writes` send; or the log of a pod.

        Changes give an object another resourceVersion.
        """
        if path.endswith("/log"):
            return self.logs.get(path.removesuffix("/log").rpartition("/")[2])
        ref, query = self.paths[path.removesuffix("/scale")], query or {}
        if method == "POST":
            return self._created(replace(ref, name=body["metadata"]["name"]), body, query)
        if ref in self.refuses:
            raise self.refuses[ref]
        found = self.objects.get(ref)
        if "apply" in more.get("content_type", ""):
            self.applied.append((ref, body, query))
            return self._changed(ref, merged(found or {}, body), query) or body
        if found is None:
            raise KubeError("not found", reason=Reason.INTERNAL_ERROR, transient=False, status=404)
        if method == "DELETE":
            return self._deleted(ref, found, body["preconditions"])
        if method == "GET":
            return {"spec": found["spec"], "status": found.get("status", {})}
        self.written.append((ref, body, query))
        new = patching.merged(found, body) if isinstance(body, dict) else self._tested(found, body)
        return self._changed(ref, new, query)

    def _created(self, ref: ObjectRef, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any] | None:
        if ref in self.objects:
            raise KubeError(
                "exists", reason=Reason.INTERNAL_ERROR, transient=False, status=409, answer="already exists"
            )
        self.created.append((ref, query))
        uid = f"{ref.name}-{len(self.created)}"
        return self._changed(ref, {**body, "metadata": {**body["metadata"], "uid": uid}}, query)

    def _changed(self, ref: ObjectRef, new: dict[str, Any], query: dict[str, str]) -> dict[str, Any] | None:
        if "dryRun" not in query and new != self.objects.get(ref):
            version = int(new["metadata"].get("resourceVersion") or 0) + 1
            self.objects[ref] = {**new, "metadata": {**new["metadata"], "resourceVersion": str(version)}}
        return self.objects.get(ref)

    def _tested(self, found: dict[str, Any], operations: list[dict[str, Any]]) -> Any:
        try:
            return patching.patched(found, operations)[0]
        except patching.TestFailedError:
            raise KubeError(
                "rejected", reason=Reason.OBJECT_INVALID, transient=False, status=422, answer="rejected"
            ) from None

    def _deleted(self, ref: ObjectRef, found: dict[str, Any], preconditions: dict[str, str]) -> dict[str, Any]:
        if not preconditions.items() <= found["metadata"].items():
            raise KubeError("changed", reason=Reason.INTERNAL_ERROR, transient=False, status=409, answer="changed")
        self.deleted.append(ref)
        if not found["metadata"].get("finalizers"):
            return self.objects.pop(ref)
        found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return found

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        return self.objects.get(ref)

    async def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        keep: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> list[dict[str, Any]]:
        """Without the types of the items, as the API server does; of selectors it knows only equality of labels."""
        pairs = dict(part.split("=") for part in labels.split(",") if part)
        return [
            keep({key: value for key, value in found.items() if key not in ("apiVersion", "kind")})
            for ref, found in self.objects.items()
            if (ref.api_version, ref.kind) == (api_version, kind)
            and namespace in ("", ref.namespace)
            and pairs.items() <= (found["metadata"].get("labels") or {}).items()
        ]

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
    actions: dict[str, ActionStatus] = field(default_factory=dict)
    payloads: dict[Phase, tuple[str, ...]] = field(default_factory=dict)

    def phase_started(self, phase: Phase) -> None:
        self.phases.append(f"{phase}+")

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, payload: Sequence[str] = ()) -> None:
        self.payloads[phase] = tuple(payload)
        self.phases.append(f"{phase}{'!' if error else '.'}")
        if error:
            self.errors[phase] = error

    async def store(self) -> None:
        self.phases.append("stored")

    def action(self, entry: ActionStatus) -> None:
        """Keep the last state of each action."""
        self.actions[entry.name] = entry.model_copy()

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
    extras: FakeExtras


def bench(
    *,
    release: FakeRelease | None = None,
    cluster: FakeCluster | None = None,
    action: Action = Action.DEPLOY,
    operation: Operation = Operation.UPGRADE,
    stamp: str = "a1",
    **spec: Any,
) -> Bench:
    """Build a context; `spec` are fields of the spec by their Python names."""
    release, cluster, recorder = release or FakeRelease(), cluster or FakeCluster(), FakeRecorder()
    extras = FakeExtras()
    context = PhaseContext(
        spec=ManagedChartSpec(chart=ChartSource(path="/charts/web"), action=action, **spec),
        action=action,
        operation=operation,
        release=release,
        cluster=cluster,
        recorder=recorder,
        logger=logging.LoggerAdapter(logging.getLogger("test"), {}),
        chart=CHART,
        facts=FakeFacts(release.installed_version, stamp),
        extras=extras,
    )
    return Bench(context, release, cluster, recorder, extras)
