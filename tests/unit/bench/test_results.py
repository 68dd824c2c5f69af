"""What a run says: the shape that is promised, and a comparison that does not mislead."""

import json
from pathlib import Path

import pytest

from benchmark import compare, results
from benchmark.results import PhaseResult, Result, Single

PROMISED = {
    "seconds", "floor_seconds", "ratio", "operator_cpu_seconds", "helm_cpu_seconds", "helm_processes", "api_requests",
}  # fmt: skip


def some_result() -> Result:
    result = Result(n=10, rounds=2)
    result.phases["install"] = PhaseResult(seconds=6.0, floor_seconds=4.0, helm_processes=10, api_requests=90)
    result.single = Single(samples=3, start_latency_ms=80, start_latency_max_ms=120, operator_cpu_ms=25, ready_ms=500)
    return result


def test_the_document_has_the_promised_names() -> None:
    document = some_result().document()
    assert list(document["phases"]) == ["install", "noop", "upgrade", "restart", "delete"]
    assert all(set(phase) >= PROMISED for phase in document["phases"].values())
    assert {"n", "operator_peak_rss_mb", "helm_peak_rss_mb", "max_loop_lag_ms"} <= set(document)
    assert json.loads(json.dumps(document)) == document


def test_the_ratio_is_to_the_floor() -> None:
    assert some_result().document()["phases"]["install"]["ratio"] == 1.5
    assert PhaseResult(seconds=1.0).ratio == 0.0


def test_the_table_has_a_line_for_each_phase() -> None:
    lines = results.table(some_result().document()).splitlines()
    assert [line.split()[0] for line in lines[3:8]] == list(results.PHASES)
    assert lines[3].split()[1:4] == ["6.00", "4.00", "1.50"]


def test_a_comparison_marks_what_is_more_than_noise() -> None:
    old, new = some_result().document(), some_result().document()
    new["phases"]["install"]["api_requests"] = 120
    new["phases"]["install"]["seconds"] = 6.1
    lines = {line.split()[0]: line for line in compare.compare(old, new).splitlines()[1:]}
    assert lines["phases.install.api_requests"].endswith("+33 % *")
    assert lines["phases.install.seconds"].endswith("+2 %")
    assert lines["phases.install.helm_processes"].split()[1:] == ["10.000", "10.000"]


def test_runs_of_different_size_are_said_to_be() -> None:
    old, new = some_result().document(), some_result().document()
    new["n"] = 100
    assert "10 and 100 releases" in compare.compare(old, new).splitlines()[0]


def test_the_newest_two_runs_of_one_size_are_compared(tmp_path: Path) -> None:
    for name, n in (("phases-1", 10), ("phases-2", 100), ("phases-3", 10), ("scale-4", 10)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"n": n}))
    old, new = compare.newest_two(tmp_path)
    assert (old.stem, new.stem) == ("phases-1", "phases-3")


def test_a_first_run_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    (tmp_path / "phases-1.json").write_text('{"n": 10}')
    with pytest.raises(compare.NothingToCompareError, match="make bench"):
        compare.newest_two(tmp_path)
