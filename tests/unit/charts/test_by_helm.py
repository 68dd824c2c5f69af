"""Which CRDs a chart has in crds/, by the real helm."""

import os
import sys
from pathlib import Path

import pytest

from harness.chart_files import chart_files, package_chart, write_chart
from managedchart_operator.charts.by_helm import chart_crds
from managedchart_operator.errors import ChartError, HelmError
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots

CRD = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %s}\n"
PARENT = chart_files("parent")
PARENT["Chart.yaml"] += "dependencies: [{name: sub, version: 1.0.0, condition: sub.enabled}]\n"
FILES = {
    **PARENT,
    "crds/a.yaml": CRD % "a.example.com" + "---\n" + CRD % "b.example.com",
    "crds/c.JSON": '{"kind": "CustomResourceDefinition", "metadata": {"name": "c.example.com"}}',
    "crds/README.md": CRD % "readme.example.com",
    "crds/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: beside.example.com}\n",
    **{f"charts/sub/{name}": text for name, text in chart_files("sub").items()},
    "charts/sub/crds/deep/d.yml": CRD % "d.example.com",
}


@pytest.fixture
def helm(helm_binary: str, tmp_path: Path) -> HelmRunner:
    slots = HelmSlots(processes=1, applies=0, free_memory=lambda: sys.maxsize)
    environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
    return HelmRunner(helm_binary, environment, slots, identity=str(tmp_path))


@pytest.mark.parametrize("packaged", [False, True], ids=["folder", "archive"])
async def test_crds_of_a_chart_and_its_subcharts_are_found(helm: HelmRunner, tmp_path: Path, *, packaged: bool) -> None:
    chart = write_chart(tmp_path / "parent", FILES)
    if packaged:
        chart = tmp_path / "parent-1.0.0.tgz"
        chart.write_bytes(package_chart(FILES, top="parent"))
    assert await chart_crds(helm, chart) == {f"{letter}.example.com" for letter in "abcd"}


async def test_a_chart_without_crds_brings_none(helm: HelmRunner, tmp_path: Path) -> None:
    assert await chart_crds(helm, write_chart(tmp_path / "small")) == set()


async def test_a_chart_that_helm_cannot_load_raises_helm_error(helm: HelmRunner, tmp_path: Path) -> None:
    with pytest.raises(HelmError):
        await chart_crds(helm, tmp_path)


async def test_crds_that_are_not_yaml_raise_chart_error(helm: HelmRunner, tmp_path: Path) -> None:
    files = {**chart_files(), "crds/a.yaml": "kind: {\n"}
    with pytest.raises(ChartError, match="crds/ cannot be read"):
        await chart_crds(helm, write_chart(tmp_path / "small", files))
