"""Pods as the API server has them, and as others may have written them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from managedchart_operator.diagnosis.pods import essential_pod, read_pod, read_pods


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


def test_little_is_kept_of_a_pod() -> None:
    """Of hundreds with ten thousands of entries each: one list took all of the operator's memory."""
    body = pod("web-1", phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    large = {
        **body,
        "metadata": {
            **body["metadata"],
            "labels": {"controller-revision-hash": "r1", **{f"l{number}": "" for number in range(1000)}},
            "managedFields": [{}] * 1000,
            "ownerReferences": [{"kind": "Job", "name": f"j{number}", "uid": str(number)} for number in range(1000)],
        },
        "spec": {"containers": [{"env": [{"name": f"a{number}"} for number in range(1000)]}]},
    }
    kept = essential_pod(large)
    assert len(json.dumps(kept)) < 4096
    assert read_pod(kept) == replace(read_pod(large), owners=read_pod(large).owners[:16])
    assert read_pod(kept).revision == "r1"
