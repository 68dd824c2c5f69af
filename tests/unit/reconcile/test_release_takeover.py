"""When a take-over is announced, and what the Event says."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.helm.values import read_values
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.lifecycle_runs import announce_takeover
from managedchart_operator.reconcile.resource_pass import ResourcePass
from managedchart_operator.reconcile.sources import Inputs
from unit.reconcile.fakes import LOGGER, FakeEvents, chart, unavailable

CHART = {"metadata": {"name": "web", "version": "1.2.3"}}


class FakeStorage:
    """A release whose newest revision others made."""

    def __init__(self, stored: StoredRelease | Exception | None) -> None:
        self.stored = stored

    async def read_stored(self) -> StoredRelease | None:
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored


def work(newest: Revision | None, stored: StoredRelease | Exception | None, inputs: Inputs | None) -> ResourcePass:
    """A pass over a ManagedChart of that release."""
    release = SimpleNamespace(
        newest=newest,
        storage=FakeStorage(stored),
        sources=SimpleNamespace(inputs=inputs),
        namespace="apps",
        name="web",
    )
    return cast("Any", SimpleNamespace(chart=chart(), release=release, logger=LOGGER))


def inputs_of(values: dict[str, Any]) -> Inputs:
    return Inputs(read_values(files=[], yaml_files=[], values=values, set_values=[]), Digest("digest"))


async def announced(
    *,
    owner: str | None = None,
    status: str = DEPLOYED,
    values: dict[str, Any] | None = None,
    stored: StoredRelease | Exception | None = None,
    now: dict[str, Any] | None = None,
    inputs: bool = True,
    operation: Operation = Operation.UPGRADE,
) -> list[tuple[str, str, str]]:
    newest = Revision(3, status, "sh.helm.release.v1.web.v3", owner=owner)
    known = stored or StoredRelease({"chart": CHART, "config": values})
    events = FakeEvents()
    announcing = work(newest, known, inputs_of(now or {}) if inputs else None)
    await announce_takeover(announcing, operation, cast("Any", events))
    return events.posted


TAKES_OVER = "Taking over release apps/web, revision 3 (chart web 1.2.3), which was not made by this resource"


@pytest.mark.parametrize("owner", [None, "uid-of-another"], ids=["nobody", "another ManagedChart"])
@pytest.mark.parametrize("status", [DEPLOYED, FAILED])
async def test_a_release_that_others_made_is_announced(owner: str | None, status: str) -> None:
    assert await announced(owner=owner, status=status) == [("Normal", "ReleaseTakenOver", TAKES_OVER)]


async def test_lost_values_are_named_without_content() -> None:
    [(kind, _, message)] = await announced(
        values={"image": {"tag": "secret-1"}, "resources": {"limits": {"cpu": "secret-2"}}, "same": 1},
        now={"image": {"tag": "secret-3"}, "same": 1, "resources": {}},
    )
    assert message == f"{TAKES_OVER}. Values of that revision that no longer apply: image.tag, resources.limits"
    assert kind == "Warning"


async def test_the_event_fits_with_many_values() -> None:
    """The API server refuses more than 1024 characters."""
    [(_, _, message)] = await announced(values={f"{number:03}{'x' * 500}": 1 for number in range(300)})
    assert message.endswith(" and 292 more")
    assert len(message) < 1000


@pytest.mark.parametrize(
    "error",
    [unavailable(), HelmError("it is no release", reason=Reason.HELM_FAILED, transient=False)],
    ids=["API server", "Secret"],
)
async def test_an_unreadable_revision_is_announced_too(error: Exception) -> None:
    [(kind, _, message)] = await announced(stored=error)
    assert message == (
        "Taking over release apps/web, revision 3, which was not made by this resource. "
        f"Its values cannot be read: {error}"
    )
    assert kind == "Warning"


@pytest.mark.parametrize(
    "case",
    [
        {"owner": "uid-web"},
        {"status": UNINSTALLED},
        {"operation": Operation.RESUME},
        {"operation": Operation.DRY_RUN},
        {"operation": Operation.UNINSTALL},
        {"inputs": False},
    ],
    ids=lambda case: next(iter(case)) + " " + str(next(iter(case.values()))),
)
async def test_nothing_is_announced_where_nothing_is_taken_over(case: dict[str, Any]) -> None:
    """Ours, uninstalled, nothing that upgrades, or values that cannot be read, so that no upgrade follows."""
    assert await announced(**case) == []


async def test_a_first_install_is_not_announced() -> None:
    events = FakeEvents()
    await announce_takeover(work(None, None, inputs_of({})), Operation.UPGRADE, cast("Any", events))
    assert events.posted == []
