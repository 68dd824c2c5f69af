"""What a release of one run does with helm's storage, over fakes."""

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.errors import UninstallBlockedError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import decode
from managedchart_operator.kube.releases import Listing
from managedchart_operator.reconcile import release_storage
from managedchart_operator.reconcile.release import HelmRelease
from managedchart_operator.reconcile.tools import Tools

SECRET = Path(__file__).parents[1] / "helm" / "test_storage_pending.json"
"""What helm 4.3.1 left when it was killed."""


class FakeSecrets:
    """One release Secret, and what it was rewritten to."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] = json.loads(SECRET.read_text())
        self.labels: dict[str, str] = {}
        self.gone = False

    async def list_metadata(self, *, namespace: str, release: str) -> Listing:
        """The Secret's metadata, as it is now."""
        found = {**self.secret["metadata"], **({"labels": self.labels} if self.labels else {})}
        return Listing([] if self.gone else [found], "1")

    async def read(self, *, namespace: str, name: str) -> dict[str, Any]:
        """The whole Secret."""
        return self.secret

    async def rewrite(self, secret: dict[str, Any], *, release: str, labels: dict[str, str]) -> None:
        """Keep the labels."""
        self.labels = labels


def release_over(secrets: FakeSecrets, *, helm: Any = None, objects: Any = None, timeout: str = "1s") -> HelmRelease:
    """A release of which only the storage is there, and what is given."""
    nothing = cast("Any", None)
    collector = cast("Any", SimpleNamespace(objects=objects))
    tools = Tools(helm, nothing, nothing, cast("Any", secrets), nothing, collector, nothing, nothing)
    spec = ManagedChartSpec.model_validate({"chart": {"path": "/charts/web"}, "timeout": timeout})
    return HelmRelease(tools, spec, "web", "apps", owner="uid", started=datetime.now(UTC))


class FakeHelm:
    """A helm that succeeds at once, whatever it is asked for, and forgets the release."""

    def __init__(self, secrets: FakeSecrets) -> None:
        self.asked: list[str] = []
        self._secrets = secrets

    async def run(self, arguments: list[str], **_: Any) -> HelmOutput:
        self.asked += arguments
        self._secrets.gone = True
        return HelmOutput(b"", "", 0, 0.0)


class TerminatingObjects:
    """All objects are being deleted and do not go; a Deployment still has a pod."""

    async def namespaced(self, *_: Any) -> bool:
        return True

    async def get(self, _: Any) -> dict[str, Any]:
        meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"], "generation": 1}
        return {"metadata": meta, "status": {"replicas": 1, "observedGeneration": 1}}


async def test_what_helm_says_to_be_gone_is_looked_at() -> None:
    """Its wait ends well too soon when it has seen one object gone and none of the others yet: found on a busy machine."""
    secrets = FakeSecrets()
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm, objects=TerminatingObjects(), timeout="100ms")
    with pytest.raises(UninstallBlockedError) as raised:
        await release.uninstall()
    assert "--wait=watcher" in helm.asked
    assert "example.com/hold" in raised.value.message
    assert release.revisions == ()  # the status must not tell of a release that helm has forgotten


@pytest.mark.parametrize("work", ["decode", "with_status"])
async def test_a_large_release_does_not_hold_up_the_event_loop(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is unpacked, all other charts go on: here, what is unpacked waits for the loop to do something."""
    real: Callable[..., Any] = getattr(release_storage, work)
    went_on = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        loop.call_soon_threadsafe(went_on.set)
        assert went_on.wait(5), "the event loop stood still"
        return real(*arguments, **options)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(release_storage, work, slow)
    release = release_over(FakeSecrets())
    [revision] = await release.observe()
    assert revision.pending
    stored = await release.read_stored()
    assert stored is not None
    assert stored.chart_name == "web"
    await release.unlock(revision)
    assert [revision.status for revision in release.revisions] == ["failed"]
    assert went_on.is_set()


@pytest.mark.parametrize(
    ("apply_method", "forced"),
    [("ssa", True), ("csa", False), (None, False)],
    ids=["server's side", "client's side", "helm 3"],
)
async def test_a_rollback_forces_conflicts_where_helm_allows_it(apply_method: str | None, *, forced: bool) -> None:
    """helm refuses the flag for a revision that was applied from the client's side."""
    secrets = FakeSecrets()
    document = decode(secrets.secret).document | {"apply_method": apply_method, "manifest": ""}
    packed = base64.b64encode(gzip.compress(json.dumps(document).encode()))
    secrets.secret["data"]["release"] = base64.b64encode(packed).decode()
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm)
    [revision] = await release.observe()
    await release.rollback(revision)
    assert ("--force-conflicts" in helm.asked) is forced


async def test_a_rollback_to_what_only_helm_can_read_is_left_to_helm() -> None:
    secrets = FakeSecrets()
    secrets.secret["data"]["release"] = "unreadable"
    helm = FakeHelm(secrets)
    release = release_over(secrets, helm=helm)
    [revision] = await release.observe()
    await release.rollback(revision)
    assert helm.asked[0] == "rollback"
    assert "--force-conflicts" not in helm.asked
