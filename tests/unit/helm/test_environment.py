"""helm sees what leads it to the cluster and how to use memory, and nothing else of the operator's environment."""

from pathlib import Path

import pytest

from managedchart_operator.helm.binary import environment


def test_the_garbage_collector_runs_half_as_often_unless_the_administrator_says_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOGC", raising=False)
    assert environment(Path("/home"))["GOGC"] == "200"
    monkeypatch.setenv("GOGC", "50")
    assert environment(Path("/home"))["GOGC"] == "50"


def test_nothing_else_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("OPERATOR_PASSWORD", "secret")
    monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
    seen = environment(Path("/home"))
    assert seen["HTTPS_PROXY"] == "http://proxy:3128"
    assert not {"OPERATOR_PASSWORD", "HELM_NAMESPACE"} & seen.keys()
    assert {seen[name].split("/")[1] for name in ("HOME", "TMPDIR", "KUBECACHEDIR", "HELM_CACHE_HOME")} == {"home"}
