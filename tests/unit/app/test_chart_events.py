"""What a change of a ManagedChart asks for."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.app.assembly import Operator
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


class RecordingScheduler(Scheduler):
    """Remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Key, bool]] = []

    def request(self, key: Key, *, interrupt: bool = False) -> None:
        self.asked.append((key, interrupt))


class Bench:
    """An operator with a real store."""

    def __init__(self) -> None:
        self.store, self.scheduler = Store(), RecordingScheduler()
        self.forgotten: list[Key] = []
        unused, metrics = cast("Any", None), cast("Any", SimpleNamespace(forget=self.forgotten.append))
        profiles = cast("Any", SimpleNamespace(profiles=SimpleNamespace(any_by_labels=False)))
        self.profiles = profiles.profiles
        self.operator = Operator(unused, self.store, self.scheduler, unused, unused, metrics, unused, unused, profiles)


@pytest.mark.parametrize(
    ("known", "seen", "interrupts"),
    [
        pytest.param(None, WEB, [False], id="new"),
        pytest.param(WEB, WEB, [], id="listed again"),
        pytest.param(WEB, replace(WEB, status={"phase": "Ready"}), [], id="status"),
        pytest.param(WEB, replace(WEB, finalizers=("managedchart.dev/release",)), [], id="finalizer"),
        pytest.param(WEB, replace(WEB, generation=3), [True], id="spec"),
        pytest.param(WEB, replace(WEB, deleting=True), [True], id="deletion"),
        pytest.param(WEB, replace(WEB, uid="u-2"), [True], id="another object of the name"),
        pytest.param(WEB, replace(WEB, requests={"managedchart.dev/retry": "1"}), [False], id="annotation"),
        pytest.param(WEB, replace(WEB, labels={"team": "a"}), [], id="label"),
        pytest.param(
            WEB,
            replace(WEB, generation=3, requests={"managedchart.dev/retry": "1"}),
            [True],
            id="spec and annotation",
        ),
    ],
)
def test_what_a_change_means(known: ManagedChart | None, seen: ManagedChart, interrupts: list[bool]) -> None:
    """Nothing, a pass, or a pass that interrupts the one under way."""
    bench = Bench()
    if known is not None:
        bench.operator.seen(known)
        bench.scheduler.asked.clear()
    bench.operator.seen(seen)
    assert bench.scheduler.asked == [(seen.key, interrupt) for interrupt in interrupts]


def test_what_was_seen_is_kept() -> None:
    bench = Bench()
    bench.operator.seen(WEB)
    bench.operator.seen(replace(WEB, resource_version=6, status={"phase": "Ready"}))
    bench.operator.seen(replace(WEB, resource_version=7, generation=3))
    known = bench.store.get(WEB.key)
    assert known is not None
    assert (known.generation, known.resource_version) == (3, 7)
    assert bench.scheduler.asked == [(WEB.key, False), (WEB.key, True)]


def test_a_deletion_requests_the_next_claimant() -> None:
    other = replace(WEB, key=Key("apps", "other"), uid="u-2")
    bench = Bench()
    bench.operator.seen(WEB)
    bench.operator.seen(other)
    bench.scheduler.asked.clear()
    bench.operator.deleted(WEB)
    assert bench.store.get(WEB.key) is None
    assert bench.scheduler.asked == [(other.key, False)]
    assert bench.forgotten == [WEB.key]


def test_an_object_that_only_others_keep_lets_the_next_one_have_its_release() -> None:
    """Its removal has ended, however long their finalizers stay."""
    bench, asked = Bench(), list[Any]()
    bench.operator.access = cast("Any", SimpleNamespace(owners=SimpleNamespace(ask_next=asked.append)))
    bench.operator.seen(replace(WEB, deleting=True, finalizers=("managedchart.dev/release", "example.com/never")))
    bench.scheduler.asked.clear()
    removed = replace(WEB, deleting=True, finalizers=("example.com/never",), resource_version=6)
    bench.operator.seen(removed)
    assert asked == [removed]
    assert bench.scheduler.asked == []


def test_a_late_deletion_removes_no_newer_object() -> None:
    bench = Bench()
    bench.operator.seen(replace(WEB, uid="u-2", resource_version=9))
    bench.operator.deleted(WEB)
    assert bench.store.get(WEB.key) is not None


def test_a_label_means_a_pass_where_profiles_go_by_labels() -> None:
    """Another profile may be for the ManagedChart then."""
    bench = Bench()
    bench.operator.seen(WEB)
    bench.scheduler.asked.clear()
    bench.profiles.any_by_labels = True
    bench.operator.seen(replace(WEB, labels={"team": "a"}))
    assert bench.scheduler.asked == [(WEB.key, False)]
