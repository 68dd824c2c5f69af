"""What `make bench-failures` takes for the kubelet's word, and what it prints."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from benchmark import failures
from benchmark.watching import TooSlowError


class FakeApi:
    """Has seen these events when it is watched."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = events

    def watch(self, path: str, *, version: str, seconds: float) -> Iterator[dict[str, Any]]:
        """Yield them all, then end as a watch whose time is over."""
        for event in self._events:
            yield {"type": "ADDED", "object": event}


def event(reason: str, about: str, *, kind: str = "Pod") -> dict[str, Any]:
    return {"reason": reason, "involvedObject": {"kind": kind, "name": about}}


def test_only_events_about_the_releases_own_pods_count() -> None:
    others = (event("Failed", "bad-10-x"), event("BackOff", "bad-10-x"), event("BackOff", "bad-1-y", kind="Job"))
    own = (event("Pulling", "bad-1-x"), event("Failed", "bad-1-x"), event("Failed", "bad-1-x"))
    with pytest.raises(TooSlowError, match=r"only \['Failed'\]"):
        failures._kubelet_events(FakeApi(*others, *own), "n", "bad-1", "1")  # type: ignore[arg-type]
    seen = failures._kubelet_events(FakeApi(*others, *own, event("BackOff", "bad-1-x")), "n", "bad-1", "1")  # type: ignore[arg-type]
    assert list(seen) == [failures.FAILED, failures.BACK_OFF]
    assert seen[failures.FAILED] < seen[failures.BACK_OFF]


def test_a_failure_for_another_reason_is_no_name() -> None:
    chart = {"metadata": {"name": "bad-1"}, "status": {"lastFailure": {"reason": "Timeout"}}}
    with pytest.raises(TooSlowError, match="Timeout"):
        failures._named(FakeApi(chart), "n", "bad-1", "1")  # type: ignore[arg-type]


def test_the_document_ends_with_medians_and_worsts_and_the_table_with_what_they_count() -> None:
    document = {
        "runs": 3,
        "bad_image_seconds": failures.summary([3.5, 3.6, 4.4444]),
        "bad_image_after_back_off_seconds": failures.summary([2.5]),
        "bad_image_after_push_seconds": failures.summary([4.0]),
        "fix_to_helm_seconds": failures.summary([0.05]),
        "goals": {"bad_image_seconds": 5.0, "fix_to_helm_seconds": 0.5},
    }
    assert document["bad_image_seconds"] == {"p50": 3.6, "max": 4.444}
    assert json.loads(json.dumps(document)) == document
    lines = failures.table(document).splitlines()
    assert lines[3].split()[-3:] == ["3.600", "4.444", "5.0"]
    assert lines[6].split()[-3:] == ["0.050", "0.050", "0.5"]
