"""What a change of a ManagedChart asks for."""

from dataclasses import replace

import pytest

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.app.chart_events import ChartEvents, Meaning, meaning_of
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store

WEB = ManagedChart(
    key=Key("apps", "web"),
    uid="u-1",
    resource_version=5,
    generation=2,
    created="2026-01-01T00:00:00Z",
    deleting=False,
    finalizers=(),
    requests={},
    spec={"releaseName": "web"},
    status={},
)


@pytest.mark.parametrize(
    ("known", "seen", "meaning"),
    [
        pytest.param(None, WEB, Meaning.RECONCILE, id="new"),
        pytest.param(WEB, WEB, Meaning.NOTHING, id="listed again"),
        pytest.param(WEB, replace(WEB, status={"phase": "Ready"}), Meaning.NOTHING, id="status"),
        pytest.param(WEB, replace(WEB, finalizers=("managedchart.dev/release",)), Meaning.NOTHING, id="finalizer"),
        pytest.param(WEB, replace(WEB, generation=3), Meaning.INTERRUPT, id="spec"),
        pytest.param(WEB, replace(WEB, deleting=True), Meaning.INTERRUPT, id="deletion"),
        pytest.param(WEB, replace(WEB, uid="u-2"), Meaning.INTERRUPT, id="another object of the name"),
        pytest.param(WEB, replace(WEB, requests={"managedchart.dev/retry": "1"}), Meaning.RECONCILE, id="annotation"),
        pytest.param(
            WEB,
            replace(WEB, generation=3, requests={"managedchart.dev/retry": "1"}),
            Meaning.INTERRUPT,
            id="spec and annotation",
        ),
    ],
)
def test_what_a_change_means(known: ManagedChart | None, seen: ManagedChart, meaning: Meaning) -> None:
    assert meaning_of(known, seen) is meaning


class RecordingScheduler(Scheduler):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Key, bool]] = []

    def request(self, key: Key, *, interrupt: bool = False) -> None:
        self.asked.append((key, interrupt))


class Bench:
    """The events with a real store."""

    def __init__(self) -> None:
        self.store, self.scheduler = Store(), RecordingScheduler()
        self.forgotten: list[Key] = []
        self.events = ChartEvents(self.store, self.scheduler, forget=self.forgotten.append)


def test_what_was_seen_is_kept() -> None:
    bench = Bench()
    bench.events.seen(WEB)
    bench.events.seen(replace(WEB, resource_version=6, status={"phase": "Ready"}))
    bench.events.seen(replace(WEB, resource_version=7, generation=3))
    known = bench.store.get(WEB.key)
    assert known is not None
    assert (known.generation, known.resource_version) == (3, 7)
    assert bench.scheduler.asked == [(WEB.key, False), (WEB.key, True)]


def test_a_deletion_requests_the_next_claimant() -> None:
    other = replace(WEB, key=Key("apps", "other"), uid="u-2")
    bench = Bench()
    bench.events.seen(WEB)
    bench.events.seen(other)
    bench.scheduler.asked.clear()
    bench.events.deleted(WEB)
    assert bench.store.get(WEB.key) is None
    assert bench.scheduler.asked == [(other.key, False)]
    assert bench.forgotten == [WEB.key]


def test_a_late_deletion_removes_no_newer_object() -> None:
    bench = Bench()
    bench.events.seen(replace(WEB, uid="u-2", resource_version=9))
    bench.events.deleted(WEB)
    assert bench.store.get(WEB.key) is not None
