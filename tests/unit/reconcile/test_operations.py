"""What the operations do with helm and its storage, over fakes."""

import asyncio
import base64
import gzip
import json
import threading
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.charts.store import Chart
from managedchart_operator.errors import HelmError, ObjectsLeftError, UninstallBlockedError
from managedchart_operator.helm import stored_release
from managedchart_operator.helm.child_limits import ChildLimits
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import ATTEMPT_LABEL
from managedchart_operator.helm.stored_release import decode
from managedchart_operator.helm.yaml_reader import Budget
from managedchart_operator.kube.objects import ObjectRef, Objects
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.operations.rollback import rollback
from managedchart_operator.reconcile.operations.uninstall import uninstall
from managedchart_operator.reconcile.operations.unlock import unlock
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import ReleaseStorage, rollback_is_own
from managedchart_operator.reconcile.services import Services
from managedchart_operator.reconcile.sources import Sources

SECRET = Path(__file__).parents[1] / "helm" / "test_storage_pending.json"
"""What helm 4.3.1 left when it was killed."""
OWNER = json.loads(SECRET.read_text())["metadata"]["labels"]["managedchart.dev/owner"]


class FakeSecrets:
    """One release Secret, and what it was rewritten to."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] = json.loads(SECRET.read_text())
        self.labels: dict[str, str] = {}
        self.gone = False

    async def list_metadata(self, *, namespace: str, release: str) -> list[dict[str, Any]]:
        """The Secret's metadata, as it is now."""
        found = {**self.secret["metadata"], **({"labels": self.labels} if self.labels else {})}
        return [] if self.gone else [found]

    async def read(self, *, namespace: str, name: str) -> dict[str, Any]:
        """The whole Secret."""
        return self.secret

    async def rewrite(self, secret: dict[str, Any], *, release: str, labels: dict[str, str], own: bool) -> None:
        """Keep the labels."""
        self.labels = labels

    async def delete(self, *, namespace: str, name: str) -> None:
        """There is none any more."""
        self.gone = True


def release_over(secrets: FakeSecrets, *, helm: Any = None, objects: Any = None, timeout: str = "1s") -> ReleaseRun:
    """A run over a release of which only the storage is there, and what is given."""
    nothing = cast("Any", None)
    collector = cast("Any", SimpleNamespace(objects=objects))
    services = Services(helm, nothing, nothing, cast("Any", secrets), nothing, collector, nothing, nothing, nothing)
    spec = ManagedChartSpec.model_validate({"chart": {"path": "/charts/web"}, "timeout": timeout})
    storage = ReleaseStorage(services.secrets, "apps", "web", Ownership(OWNER))
    sources = Sources(services, spec, "web")
    return ReleaseRun.begin(services, spec, storage, sources, Journal(), in_own_namespace=True)


class FakeHelm:
    """A helm that succeeds at once, whatever it is asked for, and forgets the release."""

    def __init__(self, secrets: FakeSecrets) -> None:
        self.asked: list[str] = []
        self.limits = ChildLimits()
        self._secrets = secrets

    def clear_discovery_cache(self) -> None:
        """It remembers nothing."""

    async def run(self, arguments: list[str], **_: Any) -> HelmOutput:
        self.asked += arguments
        self._secrets.gone = True
        return HelmOutput(b"", "", 0)


class TerminatingObjects:
    """All objects are being deleted and do not go; a Deployment still has a pod."""

    locate_all = Objects.locate_all

    async def namespaced(self, *_: Any) -> bool:
        return True

    async def get(self, _: Any) -> dict[str, Any]:
        meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"], "generation": 1}
        return {"metadata": meta, "status": {"replicas": 1, "observedGeneration": 1}}


async def test_helms_claim_of_deletion_is_checked() -> None:
    """Its wait may end before it has looked at all objects: found on a busy machine."""
    secrets = FakeSecrets()
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm, objects=TerminatingObjects(), timeout="100ms")
    with pytest.raises(UninstallBlockedError) as raised:
        await uninstall(release)
    assert "--wait=watcher" in helm.asked
    assert "example.com/hold" in raised.value.message
    assert release.storage.revisions == ()  # the status must not show a release that helm has forgotten


@pytest.mark.parametrize("work", ["read_document", "with_status"])
async def test_a_large_release_does_not_block_the_loop(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is unpacked, all other charts go on: here, what is unpacked waits for the loop to do something."""
    real: Callable[..., Any] = getattr(stored_release, work)
    went_on = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        loop.call_soon_threadsafe(went_on.set)
        assert went_on.wait(5), "the event loop stood still"
        return real(*arguments, **options)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(stored_release, work, slow)
    release = release_over(FakeSecrets())
    [revision] = await release.storage.observe()
    assert revision.pending
    stored = await release.storage.read_stored()
    assert stored is not None
    assert stored.chart_name == "web"
    await unlock(release, revision)
    assert [revision.status for revision in release.storage.revisions] == ["failed"]
    assert went_on.is_set()


def rewritten(secrets: FakeSecrets, **parts: Any) -> FakeSecrets:
    """Give the stored release other parts."""
    document = decode(secrets.secret).document | {"hooks": [], **parts}
    secrets.secret["data"]["release"] = b64encode(b64encode(json.dumps(document).encode())).decode()
    return secrets


class UnreadableSecrets(FakeSecrets):
    """A release whose newest Secret nobody can read."""

    def __init__(self) -> None:
        super().__init__()
        self.secret["data"]["release"] = "bm90aGluZw=="


class NoObjects:
    """Nothing is there."""

    locate_all = Objects.locate_all

    async def namespaced(self, *_: Any) -> bool:
        return True

    async def get(self, _: Any) -> None:
        return None


HOOK = {"manifest": "kind: [", "events": ["pre-install"], "delete_policies": ["hook-succeeded"]}
UNREADABLE: dict[str, dict[str, Any]] = {
    "no YAML": {"manifest": "kind: ["},
    "too many objects": {"manifest": "x: [" + "[]," * 1001 + "]"},
    "a hook that is no YAML": {"manifest": "", "hooks": [HOOK]},
    "too many values": {"config": {"a": [[]] * 200_000}},
    "another form": {"manifest": 7},
}


@pytest.mark.parametrize("parts", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_release_is_uninstalled_by_helm(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With helm's own wait, since nothing is known of what is to go."""
    monkeypatch.setattr("managedchart_operator.helm.manifest.Budget", partial(Budget, nodes=1000))
    secrets = rewritten(FakeSecrets(), **parts)
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm, objects=NoObjects())
    assert (await uninstall(release)).changed
    assert {"uninstall", "--wait=watcher", "--cascade=foreground"} <= set(helm.asked)


async def test_dates_do_not_block_the_uninstall() -> None:
    """Python knows no year 0 and no 30 February."""
    manifest = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {a: 2026-02-30}}\ndata: {b: 0000-00-00}\n"
    )
    secrets = rewritten(FakeSecrets(), manifest=manifest)
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm, objects=NoObjects())
    assert (await uninstall(release)).changed
    assert "--wait=watcher" not in helm.asked  # what is to go is known, and has no pods


async def test_manifests_are_read_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[threading.Thread] = []

    def rendered(_: Any) -> list[dict[str, Any]]:
        read.append(threading.current_thread())
        return []

    async def render(*_: Any, **__: Any) -> HelmOutput:
        return HelmOutput(b"", "", 0)

    monkeypatch.setattr("managedchart_operator.reconcile.operations.dry_run.rendered_objects", rendered)
    monkeypatch.setattr("managedchart_operator.reconcile.lifecycle_release.render", render)
    release = LifecycleRelease(release_over(FakeSecrets()), Run(Operation.UPGRADE, "because"))
    release.run.sources.spec = release.run.spec.model_copy(update={"skip_schema_validation": True})
    release.run.sources.chart = Chart(
        Path("web"), ChartMetadata("web", "1.0.0", None), "digest", late_hooks=False, ttl_jobs=False
    )
    assert await release.manifest() == []
    assert read != [threading.main_thread()]
    assert len(read) == 1


class HelmThatSays:
    """A helm that ends like this, and that may find what it uninstalls in the revision before."""

    def __init__(self, text: str, secrets: FakeSecrets, *, forgets: bool = False) -> None:
        self.text, self._secrets, self._forgets = text, secrets, forgets
        self.runs = 0

    async def run(self, _: list[str], **__: Any) -> HelmOutput:
        self.runs += 1
        self._secrets.gone = self._forgets
        return HelmOutput(b"", self.text, 1 if self.text else 0)


@pytest.mark.parametrize(
    "text", ["", "Error: no release provided", "Error: uninstall: Release not loaded: web: release: not found"]
)
async def test_helm_tries_what_the_operator_cannot_read(text: str) -> None:
    """It may go by the revision before. What is left then is reported, and its Secret stays."""
    secrets = UnreadableSecrets()
    helm = HelmThatSays(text, secrets)
    release = release_over(secrets, helm=helm, objects=NoObjects())
    with pytest.raises(
        ObjectsLeftError, match=r"The release Secret sh\.helm\.release\.v1\.web\.v2 cannot be read"
    ) as raised:
        await uninstall(release)
    assert helm.runs == 1
    assert "sh.helm.release.v1.web.v2 cannot be read" in raised.value.left
    assert release.newest is not None


async def test_spared_objects_are_named_although_more_is_left() -> None:
    secrets = UnreadableSecrets()
    run = release_over(secrets, helm=HelmThatSays("", secrets), objects=NoObjects())
    with pytest.raises(ObjectsLeftError):
        await uninstall(run, spare=(ObjectRef("v1", "ConfigMap", "old", "apps"),))
    [(reason, message)] = run.journal.take_warnings()
    assert reason == "ReleaseLeft"
    assert message.startswith("Uninstalled, except what existed before the release: ConfigMap")


async def test_what_helm_can_read_is_uninstalled() -> None:
    """The operator's own bounds are narrower than helm's."""
    secrets = UnreadableSecrets()
    release = release_over(secrets, helm=HelmThatSays("", secrets, forgets=True), objects=NoObjects())
    assert (await uninstall(release)).changed


async def test_another_helm_error_is_not_an_end() -> None:
    """The API server does not answer, say: then the uninstall is tried again."""
    secrets = UnreadableSecrets()
    release = release_over(secrets, helm=HelmThatSays("Error: connection refused", secrets), objects=NoObjects())
    with pytest.raises(HelmError) as raised:
        await uninstall(release)
    assert "cannot be read" not in raised.value.message
    assert not isinstance(raised.value, ObjectsLeftError)


async def test_an_unreadable_rollback_is_not_own() -> None:
    """Otherwise nothing about the release could be decided, and its deletion would never begin."""
    secrets = UnreadableSecrets()
    secrets.labels = {**secrets.secret["metadata"]["labels"], ATTEMPT_LABEL: "1.carriedover"}
    release = release_over(secrets, objects=NoObjects())
    await release.storage.observe()
    assert not await rollback_is_own(release.storage)


@pytest.mark.parametrize(
    ("apply_method", "forced"),
    [("ssa", True), ("csa", False), (None, False)],
    ids=["server's side", "client's side", "helm 3"],
)
async def test_a_rollback_forces_conflicts_if_possible(apply_method: str | None, *, forced: bool) -> None:
    """helm refuses the flag for a revision that was applied from the client's side."""
    secrets = FakeSecrets()
    document = decode(secrets.secret).document | {"apply_method": apply_method, "manifest": ""}
    packed = base64.b64encode(gzip.compress(json.dumps(document).encode()))
    secrets.secret["data"]["release"] = base64.b64encode(packed).decode()
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm, objects=NoObjects())
    [revision] = await release.storage.observe()
    await rollback(release, revision)
    assert ("--force-conflicts" in helm.asked) is forced


async def test_helm_rolls_back_to_unreadable_revisions() -> None:
    secrets = FakeSecrets()
    secrets.secret["data"]["release"] = "unreadable"
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm, objects=NoObjects())
    [revision] = await release.storage.observe()
    await rollback(release, revision)
    assert helm.asked[0] == "rollback"
    assert "--force-conflicts" not in helm.asked
