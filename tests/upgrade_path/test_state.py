"""What counts as a change between two states, and the specs that the upgrade begins with."""

import copy
from pathlib import Path
from typing import Any

from upgrade_path.fleet import HOMES, TARGETS, UPGRADED_AGAIN, fleet
from upgrade_path.state import State, changed_ready, changed_revisions, written

READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
KEY = ("a", "web")


def chart(version: str = "1", **status: Any) -> dict[str, Any]:
    metadata = {"namespace": KEY[0], "name": KEY[1], "resourceVersion": version, "generation": 1}
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Ready", "conditions": [READY], **status}}


def state(found: dict[str, Any], **revisions: str) -> State:
    return State({KEY: found}, {("a", name): version for name, version in revisions.items()})


def test_a_revision_that_is_written_made_or_deleted_is_a_change() -> None:
    before, after = state(chart(), same="1", old="2", gone="3"), state(chart(), same="1", old="4", new="5")
    assert changed_revisions(before, before) == []
    assert changed_revisions(before, after) == ["a/gone was deleted", "a/new was created", "a/old was written"]


def test_any_change_of_the_condition_ready_counts() -> None:
    later = READY | {"lastTransitionTime": "2026-01-02T00:00:00Z"}
    assert changed_ready(state(chart()), state(chart("2", conditions=[READY], phase="Failed"))) == []
    assert changed_ready(state(chart()), state(chart("2", conditions=[later]))) == ["a/web"]
    assert changed_ready(state(chart()), State({}, {})) == ["a/web"]


def test_what_was_written_is_named_by_its_parts() -> None:
    """A default of the present CRD is in every spec that is read, and is not a write."""
    defaulted = copy.deepcopy(chart())
    defaulted["spec"]["new"] = "default"
    assert written(state(chart()), state(defaulted)) == {}
    clamped = chart("2", conditions=[READY, {"type": "Clamped", "status": "True"}])
    assert written(state(chart()), state(clamped)) == {KEY: ["condition Clamped"]}
    assert written(state(chart()), state(chart("2"))) == {KEY: []}


def test_the_upgrade_begins_with_every_kind_of_end() -> None:
    wanted = fleet(repository="http://127.0.0.1", values_file=Path("/values.yaml"))
    assert len(wanted) >= 24
    assert len({each.key for each in wanted}) == len(wanted)
    assert {each.namespace for each in wanted} == set(HOMES)
    assert {each.spec.get("targetNamespace") for each in wanted} == {None, *TARGETS}
    assert set(UPGRADED_AGAIN) <= {each.name for each in wanted}
    beyond = {each.beyond.get("timeout") or each.beyond["retry"]["backoff"] for each in wanted if each.beyond}
    assert beyond == {"48h", "999h", "100ms", "1ms"}
