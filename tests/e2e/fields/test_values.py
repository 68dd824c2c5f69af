"""values, set, valuesFiles and yamlFilesContent: precedence, nulls, and removed values."""

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import PRINT_VALUES, SOON, config, deploy, printed, refused
from harness.chart_files import chart_files, write_chart
from harness.cluster import Cluster, managedchart

pytestmark = pytest.mark.usefixtures("operator")

PRINTER = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: values}\ndata: {values: {{ toJson .Values | b64enc }}}\n"
DEFAULTS = """
level: {a: chart, b: chart, c: chart, d: chart, e: chart, f: chart, g: chart, h: chart}
list: [1, 2, 3]
resources: {limits: {cpu: 1, memory: 64Mi}}
nodeSelector: {disk: ssd}
"""


@pytest.fixture(scope="module")
def chart(chart_root: Path) -> dict[str, str]:
    """A chart with defaults that prints its values."""
    files = {**chart_files("defaults", configmap=PRINTER), "values.yaml": DEFAULTS}
    return {"path": str(write_chart(chart_root / "defaults", files))}


def levels(names: str, value: str) -> dict[str, Any]:
    """Values that set these levels."""
    return {"level": dict.fromkeys(names, value)}


def values_file(chart_root: Path, name: str, values: dict[str, Any]) -> str:
    """Write a values file below a chart root."""
    path = chart_root / name
    path.write_text(json.dumps(values))
    return str(path)


def test_precedence(cluster: Cluster, ns: str, chart: dict[str, str], chart_root: Path) -> None:
    """Chart, valuesFiles, yamlFilesContent, values, set; within a list the later one."""
    deploy(
        cluster,
        ns,
        "a",
        chart,
        valuesFiles=[
            values_file(chart_root, "first.yaml", levels("bcdefgh", "file 1")),
            values_file(chart_root, "second.yaml", levels("cdefgh", "file 2")),
        ],
        yamlFilesContent=[
            {"filename": "first", "yamlContent": json.dumps(levels("defgh", "yaml 1"))},
            {"filename": "second", "yamlContent": json.dumps(levels("efgh", "yaml 2"))},
        ],
        values=levels("fgh", "values"),
        set=[
            {"key": "level.g", "value": "set 1"},
            {"key": "level.h", "value": "x"},
            {"key": "level.h", "value": "set 2"},
        ],
    )
    assert printed(cluster, ns)["level"] == {
        "a": "chart",
        "b": "file 1",
        "c": "file 2",
        "d": "yaml 1",
        "e": "yaml 2",
        "f": "values",
        "g": "set 1",
        "h": "set 2",
    }


def test_mappings_are_merged_and_lists_replaced(cluster: Cluster, ns: str, chart: dict[str, str]) -> None:
    deploy(cluster, ns, "a", chart, values={"list": [9], "resources": {"limits": {"cpu": 2}}})
    found = printed(cluster, ns)
    assert found["list"] == [9]
    assert found["resources"] == {"limits": {"cpu": 2, "memory": "64Mi"}}


@pytest.mark.parametrize(
    "spec",
    [
        {"values": {"nodeSelector": None, "resources": {"limits": {"cpu": None}}}},
        {"yamlFilesContent": [{"filename": "f", "yamlContent": "nodeSelector: null\nresources: {limits: {cpu: ~}}"}]},
        {"set": [{"key": "nodeSelector", "value": "null"}, {"key": "resources.limits.cpu", "value": "null"}]},
    ],
    ids=lambda spec: next(iter(spec)),
)
def test_a_null_deletes_the_charts_default(
    cluster: Cluster, ns: str, chart: dict[str, str], spec: dict[str, Any]
) -> None:
    """In values it needs server-side apply, because client-side kubectl drops nulls."""
    body = json.dumps(managedchart("a", chart, **spec))
    cluster.kubectl("apply", "--server-side", f"--namespace={ns}", "-f", "-", input=body)
    cluster.wait_ready(ns, "a")
    found = printed(cluster, ns)
    assert "nodeSelector" not in found
    assert found["resources"] == {"limits": {"memory": "64Mi"}}


def test_removing_all_values_restores_the_chart_defaults(
    cluster: Cluster, ns: str, chart: dict[str, str], chart_root: Path
) -> None:
    """By default helm would reuse the values of the last revision."""
    spec = {
        "valuesFiles": [values_file(chart_root, "gone.yaml", levels("a", "file"))],
        "yamlFilesContent": [{"filename": "f", "yamlContent": "level: {b: yaml}"}],
        "values": {"level": {"c": "values"}, "list": []},
        "set": [{"key": "level.d", "value": "set"}],
    }
    deploy(cluster, ns, "a", chart, **spec)
    assert list(printed(cluster, ns)["level"].values())[:4] == ["file", "yaml", "values", "set"]
    deploy(cluster, ns, "a", chart)
    found = printed(cluster, ns)
    assert set(found["level"].values()) == {"chart"}
    assert found["list"] == [1, 2, 3]
    assert cluster.revisions(ns, "a")[-1] == (2, "deployed")


def test_set_types_its_values_as_helm_does(cluster: Cluster, ns: str) -> None:
    entries = {
        "int": "8",
        "flag": "true",
        "text": "1.5",
        "zeros": "007",
        "list[1].name": "b",
        r"a\.b": "dot",
        "m.n": "",
    }
    deploy(cluster, ns, "a", PRINT_VALUES, set=[{"key": key, "value": value} for key, value in entries.items()])
    assert printed(cluster, ns) == {
        "int": 8,
        "flag": True,
        "text": "1.5",
        "zeros": "007",
        "list": [None, {"name": "b"}],
        "a.b": "dot",
        "m": {"n": ""},
    }


def test_values_reach_the_templates_unchanged(cluster: Cluster, ns: str) -> None:
    """Numbers, texts that look like numbers, and characters that YAML treats apart."""
    values = {
        "int": 1,
        "large": 9007199254740991,
        "float": 0.1,
        "on": "on",
        "version": "1.10",
        "text": "a: b\n- ü ✓ 🎈 {{ x }} \u2028",
        "empty": {},
        "list": [{"a": 1}, []],
    }
    deploy(cluster, ns, "a", PRINT_VALUES, values=values)
    assert printed(cluster, ns) == values


def test_a_missing_values_file_changes_nothing(cluster: Cluster, ns: str, chart_root: Path) -> None:
    """It may arrive later (a volume that is filled after the start): the next retry reads it."""
    path = chart_root / f"{ns}.yaml"
    failure = refused(cluster, ns, "a", PRINT_VALUES, valuesFiles=[str(path)], retry=SOON)
    assert (failure["phase"], failure["reason"]) == ("CheckPrerequisites", "ValuesFileUnavailable")
    assert failure["message"].startswith(f'Can\'t access helm chart override file "{path}" for chart "a"')
    assert cluster.revisions(ns, "a") == []
    path.write_text("late: true\n")
    cluster.wait_ready(ns, "a")
    assert printed(cluster, ns) == {"late": True}


def test_unreadable_yaml_names_file_and_line(cluster: Cluster, ns: str) -> None:
    broken = {"filename": "extra.yaml", "yamlContent": "a: 1\nb: [\n"}
    failure = refused(cluster, ns, "a", PRINT_VALUES, yamlFilesContent=[broken])
    assert (failure["phase"], failure["reason"]) == ("CheckPrerequisites", "ValuesInvalid")
    assert failure["message"].startswith("spec.yamlFilesContent[0] (extra.yaml), line ")
    assert config(cluster, ns, "values") is None
