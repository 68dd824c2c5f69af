"""Whatever others write into Events and pods, the diagnosis reads it or leaves it out."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.fuzzing import bounded_time, fuzzed
from managedchart_operator.diagnosis.causes import find_cause
from managedchart_operator.diagnosis.events import MAX_EVENTS, MAX_TEXT, select
from managedchart_operator.diagnosis.evidence import Evidence
from managedchart_operator.diagnosis.pods import read_pods
from managedchart_operator.diagnosis.refusals import Creations
from managedchart_operator.redaction import Redactor

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["Failed", "FailedCreate", "BackOff", "OOMKilled", "Unschedulable", "FailedScheduling", "Unhealthy", "Warning"]
    ),
    st.text(max_size=5).map(lambda text: text * 500),
)
TIME = st.one_of(
    st.sampled_from(["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-06-01T10:00:00Z", "", "x"]), st.none()
)
COUNT = st.integers(0, 2**31 - 1)
META = st.fixed_dictionaries(
    {"uid": st.sampled_from(["1", "2"])},
    optional={
        "name": st.sampled_from(["a", "b"]),
        "namespace": st.just("n"),
        "creationTimestamp": TIME,
        "deletionTimestamp": TIME,
        "annotations": st.dictionaries(TEXT, TEXT, max_size=2),
        "labels": st.dictionaries(TEXT, TEXT, max_size=2),
        "ownerReferences": st.lists(
            st.fixed_dictionaries({"apiVersion": TEXT, "kind": TEXT, "name": TEXT, "uid": st.sampled_from(["1", "3"])}),
            max_size=2,
        ),
        "resourceVersion": st.one_of(COUNT.map(str), TEXT),
    },
)
REFERENCE = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.just("v1"),
        "kind": st.just("Pod"),
        "name": st.just("a"),
        "namespace": st.just("n"),
        "uid": st.just("1"),
    },
)
EVENT = st.fixed_dictionaries(
    {"metadata": META, "involvedObject": REFERENCE},
    optional={
        "type": st.sampled_from(["Normal", "Warning"]),
        "reason": TEXT,
        "message": TEXT,
        "count": COUNT,
        "firstTimestamp": TIME,
        "lastTimestamp": TIME,
        "eventTime": TIME,
        "series": st.one_of(st.none(), st.fixed_dictionaries({}, optional={"count": COUNT, "lastObservedTime": TIME})),
    },
)
STATE = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["waiting", "running", "terminated"]),
        st.fixed_dictionaries(
            {},
            optional={"reason": TEXT, "message": TEXT, "exitCode": st.integers(-(2**31), 2**31 - 1), "startedAt": TIME},
        ),
        max_size=2,
    ),
)
CONTAINER = st.fixed_dictionaries(
    {"name": st.sampled_from(["c", "d"])},
    optional={
        "state": STATE,
        "lastState": STATE,
        "ready": st.booleans(),
        "restartCount": COUNT,
        "image": TEXT,
        "started": st.booleans(),
    },
)
POD = st.fixed_dictionaries(
    {"metadata": META},
    optional={
        "spec": st.fixed_dictionaries({}, optional={"nodeName": TEXT, "containers": st.lists(CONTAINER, max_size=2)}),
        "status": st.fixed_dictionaries(
            {},
            optional={
                "phase": TEXT,
                "reason": TEXT,
                "message": TEXT,
                "conditions": st.lists(
                    st.fixed_dictionaries(
                        {"type": st.one_of(st.just("PodScheduled"), TEXT)},
                        optional={"status": TEXT, "reason": TEXT, "message": TEXT},
                    ),
                    max_size=2,
                ),
                "containerStatuses": st.lists(CONTAINER, max_size=2),
                "initContainerStatuses": st.lists(CONTAINER, max_size=2),
            },
        ),
    },
)


@fuzzed
@given(events=st.lists(EVENT, max_size=4), bodies=st.lists(POD, max_size=3))
def test_any_events_and_pods_are_explained_or_left_out(
    events: list[dict[str, Any]], bodies: list[dict[str, Any]]
) -> None:
    with bounded_time():
        pods = read_pods(bodies)
        found = select(events, since=SINCE, rendered=[pod.identity for pod in pods], owned={"1"}, redact=Redactor())
        Creations.of(events)
        cause = find_cause(Evidence(pods, found))
        assert cause is None or cause.message
        shown = [event.shown_from("n") for event in found]
    assert len(found) <= MAX_EVENTS
    assert all(len(event.message or "") <= MAX_TEXT for event in shown)
