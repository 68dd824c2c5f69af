"""The paths of `waitFor.jsonPath`, as `kubectl wait --for=jsonpath` reads them."""

from typing import Any

import pytest

from managedchart_operator.lifecycle.actions.json_path import steps_of, value_at

POD: dict[str, Any] = {
    "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
    "status": {
        "phase": "Running",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}],
    },
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{.status.phase}", "Running"),
        ("status.phase", "Running"),
        ("$.status.podIPs[0].ip", "10.0.0.1"),
        ("{.status.podIPs[1].ip}", None),
        ('{.status.conditions[?(@.type=="Initialized")].status}', "True"),
        ("{.status.conditions[?(@.type == 'Ready')].status}", "False"),
        ("{.metadata.labels.app\\.kubernetes\\.io/name}", "web"),
        ("{.metadata.labels['app.kubernetes.io/name']}", "web"),
        ("{.status.phase.deeper}", None),
    ],
)
def test_reads_one_value(path: str, expected: str | None) -> None:
    assert value_at(POD, steps_of(path)) == expected


@pytest.mark.parametrize("path", ["{.items[*].name}", "{..phase}", "{range .items}", "{.a[?(@.b>1)]}", "{.a[-1:]}"])
def test_refuses_what_selects_several_values(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be read from"):
        steps_of(path)
