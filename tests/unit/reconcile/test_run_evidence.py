"""Which namespaces a run watches, and which objects count."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.diagnosis.fail_fast import FailFast
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import MAX_NAMESPACES, Identity, namespaces_of
from managedchart_operator.errors import KubeError
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.rendered import RenderedObjects, is_healthy
from managedchart_operator.reconcile.run_evidence import RunEvidence

SPEC = ManagedChartSpec.model_validate({"chart": {"path": "/charts/web"}})


def manifest(kind: str, *, namespace: str = "", version: str = "apps/v1", name: str = "a") -> str:
    """An object as helm stores it."""
    return f"---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace or '~'}}}\n"


class FakeWatches:
    """Remembers which namespaces are watched."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.begun = asyncio.Event()
        self.open: set[str] = set()

    @asynccontextmanager
    async def use(self, namespace: str) -> AsyncIterator[NamespaceView]:
        """Nothing is seen in any of them."""
        self.used.append(namespace)
        self.begun.set()
        self.open.add(namespace)
        yield NamespaceView()
        self.open.discard(namespace)


class FakeObjects:
    """Objects by kind, namespace and name."""

    def __init__(self, *there: ObjectRef) -> None:
        self.there = there

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """A DaemonSet that is ready, if it is there."""
        counts = ("desired", "current", "updated")
        status = {f"{word}NumberScheduled": 1 for word in counts} | {"numberAvailable": 1, "numberReady": 1}
        meta = {"generation": 1}
        return {"metadata": meta, "status": {**status, "observedGeneration": 1}} if ref in self.there else None


class FakeStorage:
    """A release in the namespace `apps` with one revision."""

    name = "web"
    namespace = "apps"
    newest = Revision(1, "deployed", "secret")

    def __init__(self, document: dict[str, Any], *, fails: bool) -> None:
        self._document, self._fails = document, fails

    async def observe(self) -> tuple[Revision, ...]:
        """As it is."""
        return (self.newest,)

    async def read_stored(self) -> StoredRelease:
        """Nobody may read Secrets where it fails."""
        if self._fails:
            raise KubeError("forbidden", reason=Reason.FORBIDDEN, transient=True, status=403)
        return StoredRelease(self._document)


def evidence_of(
    *objects: str, hooks: tuple[str, ...] = (), fails: bool = False, there: Any = None, spec: Any = SPEC
) -> RunEvidence:
    """The evidence of a run that makes revision 1 in the namespace `apps`."""
    document = {"manifest": "".join(objects), "hooks": [{"manifest": hook} for hook in hooks]}

    collector = cast("Any", SimpleNamespace(objects=there))
    watches, storage = cast("Any", FakeWatches()), cast("Any", FakeStorage(document, fails=fails))
    rendered = RenderedObjects(storage, cast("Any", SimpleNamespace(chart=None, inputs=None, spec=spec)))
    return RunEvidence(collector, watches, datetime.now(UTC), "attempt", rendered)


async def watched(evidence: RunEvidence, *, by_operator: bool) -> list[str]:
    """Return what is watched while the operator, or helm, waits."""
    watches = cast("Any", evidence.watches)

    async def work() -> None:
        if by_operator:
            evidence.progress.all_is_applied()
            evidence.progress.namespaces = namespaces_of(await evidence.rendered.waited_for(), namespace="apps")
            evidence.progress.placed.set()
        else:
            evidence.progress.helm_waits()
        await watches.begun.wait()

    assert await asyncio.wait_for(evidence.watch_over(work(), grace=1.0), 5) is None
    await evidence.close()
    assert not watches.open
    used: list[str] = watches.used
    return used


OBJECTS = (
    manifest("Role", namespace="kube-system", version="rbac.authorization.k8s.io/v1"),
    manifest("DaemonSet", namespace="system"),
    manifest("DaemonSet"),
)
HOOK = manifest("Job", namespace="hooks", version="batch/v1")


async def test_the_operator_watches_where_it_waits_for_something() -> None:
    """The hooks have run, and of a Role nothing can be seen."""
    assert await watched(evidence_of(*OBJECTS, hooks=(HOOK,)), by_operator=True) == ["apps", "system"]


async def test_hook_namespaces_are_watched_during_helms_wait() -> None:
    """For one of them, or for everything."""
    assert await watched(evidence_of(*OBJECTS, hooks=(HOOK,)), by_operator=False) == ["apps", "hooks", "system"]


async def test_an_unreadable_release_watches_its_namespace() -> None:
    """The look at the end says what is missing."""
    assert await watched(evidence_of(*OBJECTS, fails=True), by_operator=False) == ["apps"]


@pytest.mark.parametrize("by_operator", [True, False])
async def test_the_number_of_watched_namespaces_is_limited(*, by_operator: bool) -> None:
    """Each costs two connections."""
    many = (manifest("DaemonSet", namespace=f"n{number}") for number in range(20))
    assert len(await watched(evidence_of(*many), by_operator=by_operator)) == MAX_NAMESPACES


@pytest.mark.parametrize(
    ("objects", "healthy"),
    [
        ([manifest("DaemonSet", namespace="system")], True),
        ([manifest("DaemonSet", namespace="system"), manifest("DaemonSet", version="example.com/v1", name="b")], True),
        ([manifest("DaemonSet", namespace="system"), manifest("DaemonSet")], False),
        ([manifest("DaemonSet", namespace="elsewhere")], False),
        ([], False),
    ],
)
async def test_a_release_is_healthy_by_its_own_workloads(objects: list[str], *, healthy: bool) -> None:
    """Where they are, and not by a kind of the same name in another group."""
    there = FakeObjects(ObjectRef("apps/v1", "DaemonSet", "a", "system"))
    assert await is_healthy(evidence_of(*objects).rendered, cast("Any", there)) is healthy


async def test_the_cause_that_ends_the_wait_is_the_cause_of_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Message and root cause must not name different pods."""
    cause = Cause(Reason.CRASH_LOOP, "it crashes", Identity("", "Pod", "apps", "a"))
    seen: list[Cause | None] = []

    async def collect(*_: Any, known: Cause | None, views: Any, redact: Any) -> Findings:
        seen.append(known)
        return Findings(cause=known)

    async def at_once(_: FailFast) -> Cause:
        return cause

    monkeypatch.setattr(FailFast, "wait_for_fatal_cause", at_once)
    evidence = evidence_of(*OBJECTS)
    evidence.collector.collect = collect  # type: ignore[method-assign,assignment]

    async def work() -> None:
        evidence.progress.helm_waits()
        await asyncio.Event().wait()

    assert await asyncio.wait_for(evidence.watch_over(work(), grace=1.0), 5) is cause
    await evidence.close()
    assert (await evidence.collect()).cause is cause
    assert seen == [cause]


async def test_a_release_is_healthy_without_what_is_left_out() -> None:
    """Otherwise a resource whose retries are exhausted would never continue."""
    spec = ManagedChartSpec.model_validate(
        {"chart": {"path": "/charts/web"}, "waitFor": {"exclude": [{"kind": "DaemonSet", "name": "b"}]}}
    )
    there = FakeObjects(ObjectRef("apps/v1", "DaemonSet", "a", "apps"))
    evidence = evidence_of(manifest("DaemonSet"), manifest("DaemonSet", name="b"), spec=spec)
    assert await is_healthy(evidence.rendered, cast("Any", there))
