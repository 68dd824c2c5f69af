"""Stand-ins for what the engine works with: the API server's side of a status, objects, and the metrics."""

import asyncio
import copy
import logging
from collections.abc import Mapping
from typing import Any

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.phase_recorder import PhaseRecorder
from managedchart_operator.reconcile.resource_pass import Recording
from managedchart_operator.reconcile.services import Telemetry
from managedchart_operator.reconcile.status_recorder import StatusRecorder
from managedchart_operator.reconcile.status_writer import StatusWriter

LOGGER = logging.LoggerAdapter(logging.getLogger("test"), {})


def chart(name: str = "web", *, namespace: str = "apps", **fields: Any) -> ManagedChart:
    """A ManagedChart; `fields` are those of the class."""
    known: dict[str, Any] = {
        "key": Key(namespace, name),
        "uid": f"uid-{name}",
        "resource_version": 1,
        "generation": 1,
        "created": "2026-01-01T00:00:00Z",
        "deleting": False,
        "finalizers": (),
        "requests": {},
        "spec": {"chart": {"path": "/charts/web"}},
        "status": {},
    }
    return ManagedChart(**{**known, **fields})


def merged(document: Any, patch: Any) -> Any:
    """Apply a merge patch as RFC 7386, section 2, says it in pseudocode."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def unavailable() -> KubeError:
    """What the adapter raises when the API server does not answer."""
    return KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)


class FakeApi:
    """The API server's copy of one status. A cleared `gate` delays the answers."""

    def __init__(self, status: Mapping[str, Any] | None = None) -> None:
        self.status: dict[str, Any] = dict(status or {})
        self.patches: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.deleted = False
        self.under_way = 0
        self.most_under_way = 0
        self.version = 1

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> ManagedChart | None:
        """Merge the patch, as the status subresource does; the answer is asked for without spec and status."""
        self.patches.append(copy.deepcopy(dict(patch)))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            if self.failures:
                raise self.failures.pop(0)
            if self.deleted:
                return None
            self.status = merged(self.status, patch)
            self.version += 1
            return chart(key.name, uid=uid, resource_version=self.version, spec={})
        finally:
            self.under_way -= 1


class FakeObjects:
    """The objects in the namespace `apps` by name, whatever their kind, with their annotations."""

    locate_all = Objects.locate_all

    def __init__(self, held: Mapping[str, dict[str, str]], *, created: str = "") -> None:
        self.held = dict(held)
        self._created = created

    async def namespaced(self, _version: str, _kind: str) -> bool:
        """All kinds are."""
        return True

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """The metadata is all there is."""
        if ref.namespace != "apps" or ref.name not in self.held:
            return None
        return {
            "metadata": {
                "name": ref.name,
                "annotations": self.held[ref.name],
                "creationTimestamp": self._created,
            }
        }

    async def delete(self, ref: ObjectRef) -> bool:
        """At once, without dependents."""
        return self.held.pop(ref.name, None) is not None


class FakeTelemetry:
    """Records what the metrics would receive."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, bool]] = []
        self.actions: list[tuple[str, str]] = []
        self.failures: list[tuple[str, str]] = []
        self.statuses: list[str] = []
        self.actions: list[tuple[str, str]] = []

    def reconciled(self, verdict: str) -> None:
        """Nothing here is about that."""

    def retried(self) -> None:
        """Nothing here is about that."""

    def action_ended(self, verb: str, *, outcome: str, seconds: float) -> None:
        """An action has ended."""
        assert seconds >= 0
        self.actions.append((verb, outcome))

    def phase_ended(self, phase: str, *, seconds: float, succeeded: bool) -> None:
        """A phase has ended."""
        assert seconds >= 0
        self.phases.append((phase, succeeded))

    def failed(self, reason: Reason, phase: str) -> None:
        """A run has failed."""
        self.failures.append((reason.value, phase))

    def status_changed(self, key: Key, status: ManagedChartStatus) -> None:
        """The conditions may have changed."""
        self.statuses.append(status.phase.value)


def writer_of(resource: ManagedChart, api: FakeApi, written: list[ManagedChart] | None = None) -> StatusWriter:
    """A status writer of a resource over the fake API."""
    answers: list[ManagedChart] = [] if written is None else written
    return StatusWriter(resource, api, written=answers.append)  # type: ignore[arg-type]


def recording_of(resource: ManagedChart, api: FakeApi, telemetry: Telemetry | None = None) -> Recording:
    """Where a pass over a resource is recorded."""
    recorder = StatusRecorder(resource, writer_of(resource, api), telemetry or FakeTelemetry())
    return Recording(resource, recorder, PhaseRecorder(recorder, LOGGER), LOGGER)


class FakeEvents:
    """Takes down type, reason and message of each Event."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, str, str]] = []
        self.kept: list[str] = []
        """The reasons of those that may not be left out."""
        self.elsewhere: list[tuple[str, str]] = []
        """Reason and message of those in a namespace that survives."""

    async def post_elsewhere(self, _chart: ManagedChart, *, reason: str, message: str) -> None:
        """Take it down."""
        self.elsewhere.append((reason, message))

    async def post(self, _chart: ManagedChart, *, type: str, reason: str, message: str, keep: bool = False) -> None:  # noqa: A002
        """Take it down."""
        self.posted.append((type, reason, message))
        self.kept += [reason] if keep else []
