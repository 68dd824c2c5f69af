"""What is no reason to end a wait costs nothing either."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from managedchart_operator.diagnosis.fail_fast import FailFast
from managedchart_operator.diagnosis.namespace_watch import NamespaceView

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("age", "looks"), [(timedelta(seconds=-1), True), (timedelta(seconds=1), False)])
async def test_a_refusal_from_before_the_run_is_not_looked_into(age: timedelta, *, looks: bool) -> None:
    """Events stay for an hour, and each look at one asks the API server."""
    looked = asyncio.Event()

    async def rendered() -> None:
        looked.set()

    def lineage_of(_: object) -> Any:
        raise AssertionError("nothing is rendered")

    view = NamespaceView()
    view.see_event(
        {
            "metadata": {"uid": "e"},
            "type": "Warning",
            "reason": "FailedCreate",
            "lastTimestamp": (SINCE - age).isoformat(),
            "involvedObject": {"kind": "ReplicaSet", "name": "web-1"},
        }
    )
    wait = FailFast(view, "apps", SINCE, 0.0, lambda: True, rendered, lineage_of)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait.hopeless(), 0.2)
    assert looked.is_set() == looks
