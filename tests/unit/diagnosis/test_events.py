"""Which events of a namespace belong to a run, merged and ordered for a person."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managedchart_operator.diagnosis.events import MAX_EVENTS, select
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.kube.events import essential_event, is_older, last_seen

BEGAN = datetime(2026, 1, 1, 12, 0, 0, 600_000, tzinfo=UTC)
OURS: dict[str, Any] = {
    "rendered": {
        Identity("apps", "Deployment", "apps", "web"),
        Identity("batch", "Job", "apps", "migrate"),
        Identity("example.com", "Cluster", "", "whole"),
    },
    "owned": {"pod-1", "pod-2"},
}


def at(seconds: float) -> str:
    """A time as Kubernetes writes it, so many seconds after noon."""
    return (BEGAN.replace(microsecond=0) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def event(
    text: str = "Back-off pulling image",
    *,
    seen: str | None = None,
    kind: str = "Pod",
    name: str = "web-1",
    uid: str = "pod-1",
    **fields: Any,
) -> dict[str, Any]:
    subject = {"apiVersion": "v1", "kind": kind, "namespace": "apps", "name": name, "uid": uid}
    return {
        "type": "Warning",
        "reason": "BackOff",
        "involvedObject": subject,
        "message": text,
        "lastTimestamp": seen or at(5),
        **fields,
    }


def messages(*events: dict[str, Any]) -> list[str]:
    return [found.message for found in select(events, **OURS, since=BEGAN)]


# ---- which


def test_an_event_from_before_the_run_never_counts() -> None:
    """The failure of yesterday explains nothing."""
    assert messages(event("old", seen=at(-1)), event("new", seen=at(1))) == ["new"]


def test_an_event_of_the_first_second_counts() -> None:
    """Events carry whole seconds, so it looks earlier than the run in which it was."""
    assert messages(event("first", seen=at(0))) == ["first"]


def test_a_repeated_event_counts_by_its_last_time() -> None:
    assert messages(event("again", firstTimestamp=at(-600), seen=at(3))) == ["again"]


def test_an_event_without_a_time_does_not_count() -> None:
    assert messages(event() | {"lastTimestamp": None}) == []


@pytest.mark.parametrize(
    ("subject", "ours"),
    [
        ({"kind": "Pod", "name": "web-1", "uid": "pod-1"}, True),
        ({"kind": "Pod", "name": "web-1", "uid": "pod-of-somebody"}, False),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "apps", "name": "web", "uid": "any"}, True),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "apps", "name": "web"}, True),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "other", "name": "web"}, False),
        ({"apiVersion": "example.com/v1", "kind": "Deployment", "namespace": "apps", "name": "web"}, False),
        ({"kind": "Deployment", "namespace": "apps", "name": "web"}, False),
        ({"apiVersion": "v1", "kind": "Service", "namespace": "apps", "name": "web", "uid": "any"}, False),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "apps", "name": "other", "uid": "any"}, False),
        ({"apiVersion": "example.com/v2", "kind": "Cluster", "name": "whole"}, True),
        ({"apiVersion": "example.com/v2", "kind": "Cluster", "namespace": "apps", "name": "whole"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_only_events_of_the_releases_objects_count(subject: dict[str, str] | None, ours: bool) -> None:
    """A pod by its UID, since the pod of another release may have had the same name; a rendered one by its identity."""
    assert bool(messages(event() | {"involvedObject": subject})) is ours


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"series": {"lastObservedTime": "2026-01-01T12:00:09.123456Z"}, "eventTime": at(1)}, 9.123456),
        ({"lastTimestamp": at(8), "firstTimestamp": at(1)}, 8),
        ({"lastTimestamp": None, "eventTime": "2026-01-01T12:00:07.500000Z", "firstTimestamp": None}, 7.5),
        ({"firstTimestamp": at(6)}, 6),
        ({"lastTimestamp": "2026-01-01T14:00:05+02:00"}, 5),
    ],
    ids=["series", "core", "events.k8s.io", "first only", "another zone"],
)
def test_every_writers_time_is_read(fields: dict[str, Any], seen: float) -> None:
    """kubelet, scheduler and controllers use different fields."""
    assert last_seen(fields) == BEGAN.replace(microsecond=0) + timedelta(seconds=seen)


# ---- merged


def test_equal_events_are_merged_with_their_count() -> None:
    [found] = select([event(count=3, seen=at(2)), event(count=4, seen=at(9)), event(seen=at(4))], **OURS, since=BEGAN)
    shown = found.shown_from("apps")
    assert (shown.count, shown.last_seen) == (8, at(9))
    assert (shown.type, shown.reason, shown.object) == ("Warning", "BackOff", "Pod web-1")


def test_an_event_from_another_namespace_says_so() -> None:
    [found] = select([event()], **OURS, since=BEGAN)
    assert found.shown_from("other").object == "Pod apps/web-1"


def test_events_of_one_name_in_two_namespaces_are_two() -> None:
    elsewhere = event(uid="pod-2")
    elsewhere["involvedObject"]["namespace"] = "other"
    assert len(select([event(), elsewhere], **OURS, since=BEGAN)) == 2


def test_different_events_are_not_merged() -> None:
    events = [event("a"), event("b"), event("a", name="web-2", uid="pod-2"), event("a", reason="Failed")]
    assert len(select(events, **OURS, since=BEGAN)) == 4


def test_a_series_has_its_own_count() -> None:
    [found] = select([event(series={"count": 12, "lastObservedTime": at(5)}, count=1)], **OURS, since=BEGAN)
    assert found.count == 12


def test_an_incomplete_event_is_shown() -> None:
    bare = {"involvedObject": {"uid": "pod-1"}, "eventTime": at(1)}
    [found] = select([bare], **OURS, since=BEGAN)
    shown = found.shown_from("apps")
    assert (shown.type, shown.reason, shown.object, shown.message, shown.count) == ("Normal", "Unknown", "? ?", "", 1)


# ---- in order, and not too many


def test_warnings_come_first_then_the_latest() -> None:
    events = [
        event("normal late", type="Normal", seen=at(9)),
        event("warning early", seen=at(1)),
        event("warning late", seen=at(8)),
        event("normal early", type="Normal", seen=at(2)),
    ]
    assert messages(*events) == ["warning late", "warning early", "normal late", "normal early"]


def test_a_flood_keeps_the_warnings_and_the_latest() -> None:
    """Hundreds of Scheduled and Pulled do not displace the Warning."""
    noise = [event(f"normal {number}", type="Normal", seen=at(50)) for number in range(300)]
    found = messages(*noise, *(event(f"warning {number}", seen=at(number)) for number in range(30)))
    assert found == [f"warning {number}" for number in range(29, 29 - MAX_EVENTS, -1)]


@given(
    st.lists(
        st.builds(
            event,
            st.sampled_from(["a", "b", "c"]),
            seen=st.integers(-5, 30).map(at),
            uid=st.sampled_from(["pod-1", "pod-2", "pod-3"]),
            type=st.sampled_from(["Normal", "Warning"]),
            count=st.integers(0, 5),
        ),
        max_size=12,
    )
)
def test_every_event_of_the_run_counts_once(events: list[dict[str, Any]]) -> None:
    found = select(events, **OURS, since=BEGAN)
    counted = [
        item for item in events if item["involvedObject"]["uid"] in OURS["owned"] and item["lastTimestamp"] >= at(0)
    ]
    assert sum(item.count for item in found) == sum(max(item["count"], 1) for item in counted)
    keys = [(item.subject, item.reason, item.message) for item in found]
    assert len(keys) == len(set(keys))


# ---- what others write


@pytest.mark.parametrize("time", ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "soon"])
def test_an_event_with_an_unreadable_time_is_skipped(time: str) -> None:
    """Anybody may write one, and the others of the namespace must still be found."""
    unreadable = event("theirs", seen=time)
    assert messages(unreadable, event("ours")) == ["ours"]
    assert is_older(unreadable, BEGAN)
    assert last_seen({**unreadable, "eventTime": at(7)}) == BEGAN.replace(microsecond=0) + timedelta(seconds=7)


def test_little_is_kept_of_an_event() -> None:
    """Anybody who may write Events may write a megabyte; thousands are kept of a namespace."""
    event = {
        "metadata": {"name": "e", "uid": "u", "labels": {f"l{number}": "" for number in range(1000)}},
        "involvedObject": {"kind": "Pod", "name": "x" * 100_000, "fieldPath": "x" * 100_000},
        "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:00Z"},
        "reason": "BackOff",
        "message": "m" * 100_000,
        "count": 2,
        "source": {"host": "x" * 100_000},
        "related": {"name": "x" * 100_000},
    }
    kept = essential_event(event)
    assert len(json.dumps(kept)) < 10_000
    assert (kept["reason"], kept["count"], kept["series"]) == ("BackOff", 2, event["series"])
    assert essential_event({"metadata": {"uid": "u"}, "reason": ["x"]}) == {"metadata": {"uid": "u"}}
