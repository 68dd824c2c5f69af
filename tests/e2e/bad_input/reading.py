"""Reads a failure as its user does: from the conditions, lastFailure, and the Events.

Purpose: what holds of every failure, whatever its cause, is asserted here once; a test adds what its message must say.
"""

from typing import Any

from harness.cluster import Cluster, condition_of, current

# Quick retries, so that a test sees several of them; enough of them that none gives up before its test ends.
RETRY = {"limit": 1000, "backoff": "1s", "maxBackoff": "1s"}

# The API server's limit for the message of an Event.
EVENT_LENGTH = 1024


def read_failure(
    cluster: Cluster, namespace: str, name: str, reason: str, *, transient: bool, failures: int = 1
) -> dict[str, Any]:
    """Wait for a failure and return the ManagedChart in it, after checking what every failure must have.

    `transient` is what it has to be: retried at a time that is told, or Stalled with what it waits for. `failures` is
    how many attempts in a row must have failed.
    """

    def settled(chart: dict[str, Any]) -> bool:
        ready, attempt = condition_of(chart, "Ready"), (chart.get("status") or {}).get("attempt") or {}
        at_rest = "nextRetryAt" in attempt or condition_of(chart, "Stalled")
        enough = attempt.get("failures", 0) >= failures
        return bool(
            current(chart, ready) and ready["status"] == "False" and ready["reason"] == reason and at_rest and enough
        )

    chart = cluster.wait_chart(namespace, name, settled, what=f"not Ready for {reason}, {failures} times")
    status, ready, failure = chart["status"], condition_of(chart, "Ready"), chart["status"]["lastFailure"]
    assert status["observedGeneration"] == chart["metadata"]["generation"]
    assert status["phase"] == "Failed"
    assert failure["reason"] == reason
    assert failure["message"] == ready["message"]
    if transient:
        assert not condition_of(chart, "Stalled"), "a failure that may heal must be tried again"
        reconciling = condition_of(chart, "Reconciling")
        assert (reconciling["status"], reconciling["reason"]) == ("True", "RetryScheduled")
        assert status["attempt"]["nextRetryAt"] in reconciling["message"]
    else:
        stalled = condition_of(chart, "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", reason)
        assert "change the spec or set the annotation managedchart.dev/retry to a new value" in stalled["message"]
        assert not condition_of(chart, "Reconciling")
        assert "nextRetryAt" not in status["attempt"]
    event = cluster.wait_event(namespace, name, reason)[-1]
    assert event["type"] == "Warning"
    assert event["message"].startswith(ready["message"][:500])
    assert failure["hint"], "what to do about it is not said"
    assert failure["hint"] in event["message"] or len(event["message"]) == EVENT_LENGTH, "the Event leaves that out"
    return chart


def told(chart: dict[str, Any]) -> str:
    """Return the last failure in the status as one text, to check what it must, or must not, contain."""
    failure = chart["status"]["lastFailure"]
    return "\n".join(str(failure.get(field) or "") for field in ("message", "hint", "helmError", "incomplete"))
