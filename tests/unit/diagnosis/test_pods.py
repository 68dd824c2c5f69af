"""Pods as the API server has them, and as others may have written them."""

from typing import Any

import pytest

from managedchart_operator.diagnosis.pods import read_pods


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "apps", "uid": f"uid-{name}"}, "status": status}


@pytest.mark.parametrize(
    "status",
    [
        {"conditions": [{}]},
        {"conditions": 5},
        {"conditions": [{"type": []}]},
        {"containerStatuses": [{}]},
        {"containerStatuses": [5]},
        {"containerStatuses": [{"name": "a", "state": [1]}]},
        {"containerStatuses": [{"name": "a", "state": {"waiting": 5}}]},
        {"containerStatuses": [{"name": "a", "restartCount": "many"}]},
        {"containerStatuses": [{"name": "a", "lastState": {"terminated": 5}}]},
    ],
    ids=str,
)
def test_a_pod_that_cannot_be_read_is_left_out(status: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """The others of the namespace are read, and the log says which is missing."""
    assert [found.name for found in read_pods([pod("a"), pod("odd", **status), pod("b")])] == ["a", "b"]
    assert "apps/odd" in caplog.text
