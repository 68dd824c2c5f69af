"""What actions need of a release beyond the phases."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.egress import Names, calls
from managedchart_operator.errors import HelmError, LifecycleError
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.lifecycle.context import ChartCrds
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile import release_extras
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.release_extras import RunExtras

REPORT = """\
TEST SUITE:     web-a
Last Started:   Thu Nov 26 14:18:29 2026
Last Completed: Thu Nov 26 14:18:35 2026
Phase:          Succeeded
TEST SUITE:     web-b
Last Started:   Thu Nov 26 14:18:35 2026
Last Completed: Thu Nov 26 14:18:35 2026
Phase:          Failed
"""


class Release:
    """A release that is uninstalled after the first question, and helm; `calls` has its arguments."""

    def __init__(self, *, exit_code: int = 0) -> None:
        self.exit_code = exit_code
        self.calls: list[list[str]] = []
        self.asked = 0
        self.storage = SimpleNamespace(is_current=True, newest=None, look=self._nothing, read_stored=self._nothing)
        services = SimpleNamespace(helm=SimpleNamespace(run=self._helm))
        self.run = SimpleNamespace(
            name="web", namespace="apps", storage=self.storage, services=services, journal=Journal()
        )

    async def _nothing(self) -> None:
        """Nothing is stored."""

    async def _helm(self, arguments: list[str], **options: Any) -> HelmOutput:
        assert not options["applies"], "a test may take long, and applies next to nothing"
        self.calls.append(arguments)
        return HelmOutput(REPORT.encode(), "", self.exit_code)

    async def deployed_here(self) -> bool:
        self.asked += 1
        return self.asked == 1

    async def chart_crds(self) -> ChartCrds:
        return ChartCrds(frozenset({"widgets.example.com"}))


def extras(release: Release) -> RunExtras:
    return RunExtras(cast("Any", release))


async def test_metrics_are_asked_where_the_operator_allows_it() -> None:
    release, url = Release(), "https://thanos.example.com"
    charts = SimpleNamespace(egress=None)
    release.run.services.charts = charts

    with pytest.raises(LifecycleError, match="is not one of the metric sources"):
        await extras(release).query_metrics(url, "up")
    async with calls(Names(), metrics=[url]) as charts.egress:
        with pytest.raises(LifecycleError, match=f"{url} cannot be reached: no such host"):
            await extras(release).query_metrics(url, "up")


async def test_the_installed_crds_are_known_after_the_uninstall() -> None:
    release = Release()
    found = extras(release)

    assert await found.installed_crds() == await found.installed_crds() == ChartCrds(frozenset({"widgets.example.com"}))
    assert release.asked == 1


async def test_tests_that_did_not_run_do_not_count() -> None:
    """The release remembers the results of earlier runs."""
    release = Release()

    found = await extras(release).test(only=(), exclude=("web-b",), seconds=30.0)

    assert (found.passed, found.failed, found.error) == (("web-a",), (), None)
    assert "--filter=!name=web-b" in release.calls[0]
    assert "--timeout=30.0s" in release.calls[0]
    assert not release.storage.is_current, "helm has written the release Secret"


async def test_a_failed_test_has_the_error_of_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    error = HelmError("failed", reason=Reason.HELM_FAILED, transient=True)

    async def helm_error(*_: Any, **__: Any) -> HelmError:
        return error

    monkeypatch.setattr(release_extras, "helm_error", helm_error)

    found = await extras(Release(exit_code=1)).test(only=("web-b",), exclude=(), seconds=30.0)

    assert (found.passed, found.failed, found.error) == ((), ("web-b",), error)


async def test_tests_that_take_too_long_together_are_told_by_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """helm is ended then, and prints nothing. It notes what it begins; what others have begun before is not its own."""
    monkeypatch.setattr(release_extras, "_TOGETHER_SECONDS", 0.01)
    release = Release()

    async def hangs(*_: Any, **__: Any) -> HelmOutput:
        await asyncio.Event().wait()
        raise AssertionError

    async def observe() -> None:
        observed.append(True)

    async def read_stored() -> StoredRelease:
        return StoredRelease({"hooks": hooks})

    later, earlier = "2999-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00Z"
    hooks = [
        {"name": name, "events": [event], "last_run": {"phase": phase, "started_at": at}}
        for name, event, phase, at in (
            ("running", "test", "Running", later),
            ("passed", "test", "Succeeded", later),
            ("of-others", "test", "Running", earlier),
            ("no-test", "post-install", "Running", later),
            ("forged", "test", "Running", "soon"),
        )
    ]
    observed: list[bool] = []
    release.run.services.helm.run, release.storage.observe = hangs, observe
    release.storage.read_stored = read_stored

    found = await extras(release).test(only=(), exclude=(), seconds=0.01)

    assert observed, "helm has written the release Secret"
    assert (found.passed, found.failed) == ((), ("running",))
    assert found.error is not None
    assert (found.error.message, found.error.reason) == ("The tests did not end in time", Reason.PHASE_TIMEOUT)
