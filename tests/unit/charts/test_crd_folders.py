"""Which parts of a chart have crds/ folders, and which of them helm takes; compared with the real helm."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from harness.chart_files import chart_files, package_chart, write_chart
from managedchart_operator.charts import archive as archives
from managedchart_operator.charts.by_helm import crd_names, enabled_crds
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.crd_folders import CrdFolders, own_crds, without_templates
from managedchart_operator.charts.local import identify_archive, list_folder, read_folder
from managedchart_operator.errors import ChartError
from managedchart_operator.helm import command
from managedchart_operator.helm.memory_files import FileArgument
from managedchart_operator.helm.runner import HelmRunner
from managedchart_operator.helm.slots import HelmSlots

CRD = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %s}\n"
OWN = {
    **chart_files(),
    "crds/a.yaml": CRD % "a.example.com" + "---\n" + CRD % "b.example.com",
    "crds/deep/c.JSON": '{"kind": "CustomResourceDefinition", "metadata": {"name": "c.example.com"}}',
    "crds/README.md": CRD % "readme.example.com",
}
WANTS_CLUSTER = '{{ required "it needs the cluster" (lookup "v1" "Namespace" "" "default") }}\n'


def sub(name: str) -> dict[str, str]:
    """A subchart with a CRD; its templates cannot be rendered without a cluster."""
    return {**chart_files(name, fails=WANTS_CLUSTER), "crds/x.yaml": CRD % f"{name}.example.com"}


def parent(*, packed: bool = False) -> dict[str, bytes]:
    """A chart with a CRD and three subcharts: on, off by a condition, and one within the first."""
    files: dict[str, bytes] = {name: text.encode() for name, text in chart_files("parent", fails=WANTS_CLUSTER).items()}
    files["Chart.yaml"] += (
        b"dependencies:\n- {name: one, version: 1.0.0, condition: one.enabled}\n- {name: two, version: 1.0.0, tags: [two]}\n"
    )
    files["values.yaml"] = b"tags: {two: false}\n"
    files["values.schema.json"] = b'{"type": "object", "required": ["never"]}'
    files["crds/own.yaml"] = (CRD % "own.example.com").encode()
    one = sub("one")
    one["Chart.yaml"] += "dependencies: [{name: inner, version: 1.0.0}]\n"
    inner = {f"charts/inner/{name}": text for name, text in sub("inner").items()}
    for name, chart in (("one", {**one, **inner}), ("two", sub("two"))):
        if packed:
            files[f"charts/{name}-1.0.0.tgz"] = package_chart(chart, top=name)
        else:
            files |= {f"charts/{name}/{path}": text.encode() for path, text in chart.items()}
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(folder: Path, target: Path) -> Path:
    packed = shutil.make_archive(str(target), "gztar", folder.parent, folder.name)
    return Path(packed).rename(target)


def folders(chart: Path) -> CrdFolders:
    if not chart.is_dir():
        return identify_archive(chart.read_bytes(), "x").crds
    roots = ChartRoots([chart.parent])
    return read_folder(list_folder(chart, roots, origin="x"), roots, origin="x").crds


@pytest.fixture
def helm(helm_binary: str, tmp_path: Path) -> HelmRunner:
    slots = HelmSlots(processes=1, applies=0, free_memory=lambda: sys.maxsize)
    return HelmRunner(helm_binary, {"PATH": os.defpath, "HOME": str(tmp_path)}, slots, identity=str(tmp_path))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (chart_files(), CrdFolders.NONE),
        (
            {**chart_files(), "crds/README.md": "", "templates/crds/a.yaml": "", "charts/crds/Chart.yaml": ""},
            CrdFolders.NONE,
        ),
        (OWN, CrdFolders.OWN),
        ({**OWN, "charts/one/crds/x.yml": ""}, CrdFolders.SUBCHARTS),
        ({**chart_files(), "charts/one/charts/two/crds/x.yaml": ""}, CrdFolders.SUBCHARTS),
    ],
    ids=["none", "others", "own", "subchart", "nested"],
)
def test_crds_folders_are_found(tmp_path: Path, files: dict[str, str], expected: CrdFolders, *, packed: bool) -> None:
    chart = write_chart(tmp_path / "chart", files)
    assert folders(archive(chart, tmp_path / "x.tgz") if packed else chart) is expected


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_packaged_subcharts_are_looked_into(tmp_path: Path, *, packed: bool) -> None:
    chart = write(tmp_path / "chart", parent(packed=True))
    assert folders(archive(chart, tmp_path / "x.tgz") if packed else chart) is CrdFolders.SUBCHARTS
    plain = write(tmp_path / "plain", {**{n: t.encode() for n, t in OWN.items()}, "charts/p.tgz": package_chart()})
    assert folders(archive(plain, tmp_path / "y.tgz") if packed else plain) is CrdFolders.OWN


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_own_crds_are_read_without_helm(tmp_path: Path, *, packed: bool) -> None:
    chart = write_chart(tmp_path / "chart", OWN)
    found = own_crds(archive(chart, tmp_path / "x.tgz") if packed else chart)
    assert found is not None
    assert crd_names(*found) == {f"{letter}.example.com" for letter in "abc"}


@pytest.mark.parametrize(
    ("pattern", "certain"),
    [
        (".git/\n*.tmp\n# crds\n\n.*.swp\n", True),
        ("crds/", False),
        ("a.yaml", False),
        ("/crds/*.yaml", False),
        ("deep", False),
        ("[ab].txt", False),
        ("!b.txt", False),
    ],
)
def test_helm_decides_what_a_helmignore_leaves_out(tmp_path: Path, pattern: str, *, certain: bool) -> None:
    chart = write_chart(tmp_path / "chart", {**OWN, ".helmignore": pattern})
    assert (own_crds(chart) is not None) is certain


def test_a_text_that_is_not_utf_8_is_an_invalid_chart(tmp_path: Path) -> None:
    chart = write_chart(tmp_path / "chart", OWN)
    (chart / "crds" / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ChartError, match="crds/ cannot be read"):
        own_crds(chart)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive(write_chart(tmp_path / "chart", OWN), tmp_path / "x.tgz")
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 100)
    for read in (lambda: own_crds(packed), lambda: without_templates(packed, tmp_path / "w")):
        with pytest.raises(ChartError, match="has a file that is larger than"):
            read()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("{}", {"own", "one", "inner"}),
        ("{one: {enabled: false}}", {"own"}),
        ("{tags: {two: true}}", {"own", "one", "inner", "two"}),
    ],
)
@pytest.mark.parametrize("form", ["folder", "packed subcharts", "archive", "archive of archives"])
async def test_helm_says_which_subcharts_are_enabled(
    helm: HelmRunner, tmp_path: Path, form: str, values: str, expected: set[str]
) -> None:
    """Conditions, tags and the values decide; templates and the schema, which may need the cluster, are not touched."""
    chart = write(tmp_path / "parent", parent(packed=form in ("packed subcharts", "archive of archives")))
    if form.startswith("archive"):
        chart = archive(chart, tmp_path / "parent.tgz")
    (tmp_path / "work").mkdir()
    deciding = without_templates(chart, tmp_path / "work")
    options = command.TemplateOptions("web", "apps", "v1.30.0")
    text = await enabled_crds(helm, deciding, options, [FileArgument("--values", values.encode(), "spec.values")])
    assert crd_names(text) == {f"{name}.example.com" for name in expected}


async def test_a_helmignore_counts_for_the_copy(helm: HelmRunner, tmp_path: Path) -> None:
    chart = write_chart(tmp_path / "chart", {**OWN, ".helmignore": "a.yaml\n"})
    (tmp_path / "work").mkdir()
    deciding = without_templates(chart, tmp_path / "work")
    text = await enabled_crds(helm, deciding, command.TemplateOptions("web", "apps", "v1.30.0"), [])
    assert crd_names(text) == {"c.example.com"}
