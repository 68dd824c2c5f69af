"""README.md: what it shows is real, and what it states about versions is what the code holds."""

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from managedchart_operator import __version__
from managedchart_operator.api.resource import API_VERSION, KIND
from managedchart_operator.api.spec import Action, ManagedChartSpec
from managedchart_operator.errors import LifecycleError
from managedchart_operator.helm.binary import NEXT_MAJOR, OLDEST_VERSION
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.registry import VERBS
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.registry import ENTRY_POINT_GROUP
from unit.lifecycle.fakes import FakeCluster, bench
from unit.lifecycle.plugins.plugin_folder import discovered

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FIRST = ["reason", "message", "hint", "rootCause"]
STORAGE_CLASS = ObjectRef("storage.k8s.io/v1", "StorageClass", "fast")
ENTRY_POINT = re.compile(r'`(\S+ = "\w+\.\w+:\w+")`')


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def _section(heading: str) -> str:
    return README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


MANIFEST, STATUS = (yaml.safe_load(block) for block in _blocks("yaml"))


def _fast_storage() -> Lifecycle:
    [code] = _blocks("python")
    scope: dict[str, Any] = {}
    exec(code, scope)
    lifecycle: Lifecycle = scope["FastStorage"]()
    return lifecycle


def test_the_manifest_is_valid() -> None:
    assert (MANIFEST["apiVersion"], MANIFEST["kind"]) == (API_VERSION, KIND)
    spec = ManagedChartSpec.model_validate(MANIFEST["spec"])
    assert spec.values["server"]["persistentVolume"]["storageClass"] == STORAGE_CLASS.name


async def test_the_actions_can_be_read() -> None:
    actions = await read_actions(MANIFEST["spec"]["lifecycle"]["actions"])

    assert [each.name for each in actions] == ["storage", "snapshot", "answers"]
    assert f"has all {len(VERBS)} verbs" in README


async def test_the_lifecycle_can_be_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file that its first line names, with the entry point below it, in the package of docs/plugins.md."""
    [code] = _blocks("python")
    [entry_point] = ENTRY_POINT.findall(README)
    [pyproject] = re.findall(
        r"^```toml\n(.*?)^```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL | re.MULTILINE
    )
    project = tomllib.loads(pyproject + entry_point)["project"]
    [points] = project["entry-points"].values()

    module = tmp_path / code.partition("\n")[0].removeprefix("# ")
    module.parent.mkdir()
    (module.parent / "__init__.py").touch()
    module.write_text(code)
    info = tmp_path / f"{module.parent.name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {where}" for name, where in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINT_GROUP}]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with discovered(None) as plugins:
        [name] = re.findall(r"`lifecycle: {name: (\S+)}`", README)
        assert plugins.found[name].kind == "FastStorage"


async def test_the_lifecycle_stops_before_helm() -> None:
    made = bench()
    with pytest.raises(LifecycleError, match="StorageClass fast does not exist"):
        await _fast_storage().run(made.context)
    assert "upgrade" not in made.release.calls


async def test_the_lifecycle_deploys_and_removes() -> None:
    made = bench(cluster=FakeCluster({STORAGE_CLASS: {}}))
    await _fast_storage().run(made.context)
    assert "upgrade" in made.release.calls

    removal = bench(action=Action.DESTROY)
    await _fast_storage().run(removal.context)
    assert "uninstall" in removal.release.calls


def test_the_lifecycle_has_six_lines() -> None:
    [code] = _blocks("python")
    assert len(code.partition("class ")[2].strip().splitlines()) == 6


def _is_part_of(shown: Any, whole: Any) -> bool:
    if isinstance(shown, dict):
        return all(key in whole and _is_part_of(value, whole[key]) for key, value in shown.items())
    if isinstance(shown, list):
        return all(any(_is_part_of(item, other) for other in whole) for item in shown)
    return bool(shown == whole)


def test_the_failure_is_a_recorded_one() -> None:
    """If the excerpt was recorded again, copy its fields into README.md."""
    shown = STATUS["lastFailure"]
    recorded = yaml.safe_load((ROOT / "docs" / "failures" / f"{shown['reason']}.yaml").read_text())

    assert list(shown)[:4] == FIRST
    for field in FIRST:
        assert shown[field] == recorded["status"]["lastFailure"][field], f"README.md: lastFailure.{field}"
    assert _is_part_of(shown, recorded["status"]["lastFailure"])
    assert recorded["metadata"]["name"] in README.partition("kubectl get managedcharts\n")[2][:200]


def test_the_table_has_the_columns_of_the_crd() -> None:
    [crd] = [yaml.safe_load((ROOT / "crds" / "managedchart.yaml").read_text())]
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    heading = README.partition("$ kubectl get managedcharts\n")[2].splitlines()[0]

    assert heading.split() == ["NAME", *(each["name"].upper() for each in columns if not each.get("priority"))]


def test_versions_are_those_that_are_tested_and_checked() -> None:
    table = _section("Compatibility")
    modules = (ROOT / "hack" / "devcluster" / "go.mod").read_text()
    helm, kubernetes = (re.search(rf"{name} v([\d.]+)", modules) for name in ("helm.sh/helm/v4", "k8s.io/kubernetes"))
    assert helm
    assert kubernetes

    rows = {cells[0]: cells[1:] for cells in (row.strip("| ").split(" | ") for row in table.splitlines() if "|" in row)}
    assert rows["Kubernetes"][0].startswith(kubernetes[1].rpartition(".")[0])
    assert rows["Helm"][0].startswith(helm[1])
    assert rows["Helm"][1].startswith(f"{'.'.join(map(str, OLDEST_VERSION[:2]))} and newer, below {NEXT_MAJOR}")
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()
    assert rows["Python"][1].startswith("3.11 or newer")
    image = re.search(r"library/python:(3\.\d+)", (ROOT / "Dockerfile").read_text())
    assert image
    assert f"the image has {image[1]}" in rows["Python"][0]
    assert f"Version {__version__}" in _section("Maturity")


def test_the_picture_is_readable_in_light_and_dark() -> None:
    picture = ROOT / "docs" / "overview.svg"
    assert f"]({picture.relative_to(ROOT)})" in README
    svg = ET.parse(picture).getroot()

    style = "".join(element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}style"))
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    for name in (".page", ".own", ".helm", ".fail", "text", ".small"):
        assert f"{name} {{ fill: #" in light
        assert f"{name} {{ fill: #" in dark


def test_troubleshooting_has_a_command_for_each_question() -> None:
    section = _section("Troubleshooting")
    assert section.count("\n**Why ") == len(re.findall(r"^```sh", section, re.MULTILINE)) == 5


def test_the_first_chart_is_valid() -> None:
    """Without a lifecycle of its own, so that nothing but the operator has to be installed."""
    [applied] = re.findall(r"<<'EOF'\n(apiVersion.*?)^EOF$", _section("Deploy a chart"), re.DOTALL | re.MULTILINE)
    manifest = yaml.safe_load(applied)

    assert (manifest["apiVersion"], manifest["kind"]) == (API_VERSION, KIND)
    assert ManagedChartSpec.model_validate(manifest["spec"]).lifecycle.name == "default"
