"""One ManagedChart at a time works with a release, and the next one is asked when it may be its turn."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.errors import SpecError
from managedchart_operator.reconcile.release_owners import ReleaseOwners
from managedchart_operator.reconcile.store import Store
from unit.reconcile.test_claims import DEPLOYED, gave_up, named


class Releases:
    """Owners over a store, and the keys that were requested."""

    def __init__(self, *charts: ManagedChart) -> None:
        self.store, self.requested = Store(), list[Key]()
        self.without_consent: set[Key] = set()
        self.owners = ReleaseOwners(self.store, refuses=lambda claim: claim.key in self.without_consent)
        self.owners.when_free(self.requested.append)
        for each in charts:
            self.put(each)

    def put(self, chart: ManagedChart) -> None:
        known = self.store.get(chart.key)
        version = known.resource_version + 1 if known else 1
        self.store.put(_with(chart, resource_version=version))

    def refused(self, chart: ManagedChart, *, label_owner: str | None = None) -> SpecError:
        with pytest.raises(SpecError) as caught:
            self.owners.take(chart, label_owner=label_owner)
        return caught.value


def _with(chart: ManagedChart, **fields: Any) -> ManagedChart:
    return replace(chart, **fields)


FIRST, SECOND = named("first", day=1), named("second", day=2)


def test_another_run_is_refused_until_this_one_ends() -> None:
    """Also one that would go first: it came later."""
    squat, home = named("squat", namespace="team-a", day=1), named("home", day=2)
    releases = Releases(squat)
    releases.owners.take(squat, label_owner=None)
    releases.put(home)
    releases.refused(home)
    releases.owners.done(home)
    assert releases.requested == []
    releases.owners.done(squat)
    assert releases.requested == [home.key]
    releases.owners.take(home, label_owner=None)
    releases.refused(squat)


def test_who_was_refused_is_asked_when_the_other_gives_up() -> None:
    refused = named("second", day=2, status=gave_up("ReleaseOwned"))
    releases = Releases(FIRST, refused)
    releases.owners.take(FIRST, label_owner=None)
    releases.put(named("first", day=1, status=gave_up()))
    releases.owners.done(FIRST)
    assert releases.requested == [refused.key]


def test_nobody_is_asked_for_a_release_that_is_deployed() -> None:
    releases = Releases(FIRST, named("second", day=2, status=gave_up("ReleaseOwned")))
    releases.owners.take(FIRST, label_owner=None)
    releases.put(named("first", day=1, status=DEPLOYED))
    releases.owners.done(FIRST)
    assert releases.requested == []


def test_a_removal_waits_for_the_run_of_another() -> None:
    releases = Releases(FIRST, SECOND)
    releases.owners.take(FIRST, label_owner=None)
    assert not releases.owners.take_to_remove(SECOND)
    releases.owners.done(SECOND)
    releases.owners.done(FIRST)
    assert releases.requested == [SECOND.key]
    assert releases.owners.take_to_remove(SECOND)
    releases.refused(FIRST)


def test_an_owner_in_another_namespace_is_not_named() -> None:
    """Whoever reads this status may not read that namespace."""
    far = named("payroll", namespace="team-b", day=1)
    near, reader = named("near", namespace="team-a", day=1), named("web", namespace="team-a", day=2)
    told = Releases(far, reader).refused(reader, label_owner="uid-payroll")
    assert told.message == "The release apps/web belongs to another ManagedChart"
    assert "payroll" not in f"{told.message} {told.hint}"
    assert "team-b" not in f"{told.message} {told.hint}"
    told = Releases(near, reader).refused(reader)
    assert told.message == "The release apps/web belongs to ManagedChart team-a/near"


@given(st.lists(st.tuples(st.sampled_from(["take", "remove", "done", "fail", "skip"]), st.integers(0, 2)), max_size=30))
def test_never_two_work_with_one_release(steps: list[tuple[str, int]]) -> None:
    charts = [named("a", day=1), named("b", day=2), named("c", namespace="team-a", day=1)]
    releases, working = Releases(*charts), set[str]()
    for action, number in steps:
        name = "abc"[number]
        chart = releases.store.get(charts[number].key)
        assert chart is not None
        if action == "take" and name not in working:
            try:
                releases.owners.take(chart, label_owner=None)
            except SpecError:
                continue
            working.add(name)
        elif action == "remove" and name not in working and releases.owners.take_to_remove(chart):
            working.add(name)
        elif action == "done":
            releases.owners.done(chart)
            working.discard(name)
        elif action == "fail":
            releases.put(_with(chart, status=gave_up()))
        elif action == "skip":
            releases.put(_with(chart, spec={**chart.spec, "action": "Skip"}))
        assert len(working) <= 1
    for chart in charts:
        releases.owners.done(chart)
    assert not releases.owners._working
    assert not releases.owners._waiting


def test_a_status_does_not_replace_the_consent() -> None:
    """S16: who may write the status of a ManagedChart writes there that it has deployed, and that nobody has refused it."""
    squat = named("squat", namespace="team-a", day=1, status=DEPLOYED)
    home = named("home", day=2, status=gave_up("ReleaseOwned"))
    releases = Releases(squat, home)
    releases.refused(home)
    releases.without_consent.add(squat.key)
    releases.owners.done(squat)
    assert releases.requested == [home.key]
    releases.owners.take(home, label_owner=None)
