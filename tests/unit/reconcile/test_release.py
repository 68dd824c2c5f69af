"""What a release of one run does with helm's storage, over fakes."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from managedchart_operator.api.spec import ManagedChartSpec
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

    async def list_metadata(self, *, namespace: str, release: str) -> list[dict[str, Any]]:
        """The Secret's metadata, as it is now."""
        return [{**self.secret["metadata"], **({"labels": self.labels} if self.labels else {})}]

    async def read(self, *, namespace: str, name: str) -> dict[str, Any]:
        """The whole Secret."""
        return self.secret

    async def rewrite(self, secret: dict[str, Any], *, release: str, labels: dict[str, str]) -> None:
        """Keep the labels."""
        self.labels = labels


def release_over(secrets: FakeSecrets) -> HelmRelease:
    """A release of which only the storage is there."""
    nothing = cast("Any", None)
    tools = Tools(nothing, nothing, nothing, cast("Any", secrets), nothing, nothing, nothing, nothing)
    spec = ManagedChartSpec.model_validate({"chart": {"path": "/charts/web"}})
    return HelmRelease(tools, spec, "web", "apps", owner="uid", started=datetime.now(UTC))


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
