"""Objects in a chart's own files, as actions apply them: read within bounds, and nothing is left out without a word."""

from pathlib import Path

import pytest

from harness.chart_files import chart_files, package_chart, write_chart
from managedchart_operator.charts.files import matches, objects_in
from managedchart_operator.errors import ChartError

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
BOUNDS = (64 * 1024, 3)


def names(chart: Path, pattern: str) -> list[str]:
    return [each["metadata"]["name"] for each in objects_in(chart, pattern, *BOUNDS)]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_files_are_read_in_their_order(tmp_path: Path, *, packed: bool) -> None:
    files = {
        **chart_files(),
        "files/b.yaml": CONFIG % "third",
        "files/a.yaml": CONFIG % "first" + "---\n# nothing\n---\n" + CONFIG % "second",
        "files/deep/c.yaml": CONFIG % "deep",
    }
    if packed:
        chart = tmp_path / "chart.tgz"
        chart.write_bytes(package_chart(files))
    else:
        chart = write_chart(tmp_path / "chart", files)

    assert names(chart, "files/*.yaml") == ["first", "second", "third"]
    assert names(chart, "files/*/c.yaml") == ["deep"]


def test_a_list_is_its_items(tmp_path: Path) -> None:
    items = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: a}}\n"

    assert names(write_chart(tmp_path / "chart", {"files/a.yaml": items}), "files/a.yaml") == ["a"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {{ .Values.a }}\n", "files/a.yaml, line 1"),
        ("- 1\n", "files/a.yaml: a document is not a Kubernetes object"),
        ("apiVersion: v1\nkind: ConfigMap\n", "files/a.yaml: a document is not a Kubernetes object"),
        ("apiVersion: v1\nkind: List\nitems: [1]\n", "files/a.yaml: a document is not a Kubernetes object"),
        ("---\n".join(CONFIG % f"a{n}" for n in range(4)), "more than 3 objects"),
        (CONFIG % "a" + "#" * 70_000, "larger than 64 KiB"),
    ],
    ids=["template", "list", "nameless", "odd items", "many", "large"],
)
def test_what_is_no_object_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    chart = write_chart(tmp_path / "chart", {"files/a.yaml": text})

    with pytest.raises(ChartError, match=problem):
        objects_in(chart, "files/*.yaml", *BOUNDS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match=r"the chart has no file files/\*\.yaml"):
        objects_in(write_chart(tmp_path / "chart", chart_files()), "files/*.yaml", *BOUNDS)


def test_a_star_stays_in_its_folder() -> None:
    assert matches("files/a.yaml", "files/*.yaml")
    assert not matches("files/deep/a.yaml", "files/*.yaml")
    assert not matches("charts/x/files/a.yaml", "files/*.yaml")
