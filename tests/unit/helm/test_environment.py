"""Of the operator's environment helm sees only what it needs to reach the cluster and to use memory."""

from pathlib import Path

import pytest

from managedchart_operator.helm.binary import environment


def test_gogc_is_doubled_unless_it_is_set(
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
