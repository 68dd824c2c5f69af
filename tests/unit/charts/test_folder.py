"""Charts in folders: identified by content, and confined to the chart roots."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import CHARTS
from managedchart_operator.charts.confinement import ChartRoots
from managedchart_operator.charts.local import list_folder, read_folder
from managedchart_operator.errors import ChartError
from managedchart_operator.reasons import Reason


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    shutil.copytree(CHARTS / "web", tmp_path / "charts" / "web")
    return tmp_path / "charts" / "web"


def digest(chart: Path) -> str:
    roots = ChartRoots([chart.parent])
    return read_folder(list_folder(chart, roots, origin="web"), roots, origin="web").digest


def refused(chart: Path, reason: Reason = Reason.CHART_INVALID) -> str:
    with pytest.raises(ChartError) as caught:
        digest(chart)
    assert caught.value.reason is reason
    assert caught.value.message.startswith("web: ")
    return caught.value.message.removeprefix("web: ")


def test_the_digest_depends_on_names_and_contents_only(chart: Path, tmp_path: Path) -> None:
    first = digest(chart)
    for file in chart.rglob("*"):
        os.utime(file, (1, 1))
    copy = tmp_path / "elsewhere" / "other"
    shutil.copytree(chart, copy)
    assert digest(chart) == digest(copy) == first
    (chart / "templates" / "service.yaml").rename(chart / "templates" / "svc.yaml")
    renamed = digest(chart)
    (chart / "values.yaml").write_text("replicas: 2\n")
    assert len({first, renamed, digest(chart)}) == 3


def test_moving_bytes_between_files_changes_the_digest(chart: Path) -> None:
    (chart / "a").write_text("xy")
    (chart / "b").write_text("z")
    first = digest(chart)
    (chart / "a").write_text("x")
    (chart / "b").write_text("yz")
    assert digest(chart) != first


def test_version_control_is_not_part_of_a_chart(chart: Path) -> None:
    first = digest(chart)
    (chart / ".git").mkdir()
    (chart / ".git" / "index").write_text("x")
    assert digest(chart) == first


def test_links_below_the_roots_are_followed(chart: Path) -> None:
    common = chart.parent / "common"
    common.mkdir()
    (common / "extra.yaml").write_text("# extra\n")
    (chart / "templates" / "common").symlink_to(common)
    (chart / "NOTES").symlink_to("values.yaml")
    roots = ChartRoots([chart.parent])
    entries = list_folder(chart, roots, origin="web")
    assert {"templates/common/extra.yaml", "NOTES"} <= {entry.name for entry in entries}
    copy = chart.parent.parent / "copy"
    copy.mkdir()
    found = read_folder(entries, roots, origin="web", copy_to=copy)
    assert digest(copy) == found.digest
    assert found.metadata.version == "1.2.3"
    assert not any(path.is_symlink() for path in copy.rglob("*"))


@pytest.mark.parametrize("target", ["{outside}/secret", "{outside}", "/etc/passwd", "/nowhere/at/all"])
def test_a_link_out_of_the_roots_is_refused(chart: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("hunter2")
    (chart / "templates" / "x.yaml").symlink_to(target.format(outside=tmp_path / "outside"))
    message = refused(chart, Reason.PATH_NOT_ALLOWED)
    assert message == "the link templates/x.yaml leads out of the operator's chart roots"


def test_a_loop_of_links_is_refused(chart: Path) -> None:
    (chart / "templates" / "loop").symlink_to(chart)
    assert refused(chart) == "templates/loop is a link to a folder that contains it"


def test_links_cannot_multiply_files_without_limit(chart: Path) -> None:
    """Forty folders, each with two links to the next, would be 2^40 folders."""
    for level in range(40):
        folder = chart.parent / "bomb" / str(level)
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / name).symlink_to(chart.parent / "bomb" / str(level + 1))
    (chart.parent / "bomb" / "40").mkdir()
    (chart / "bomb").symlink_to(chart.parent / "bomb" / "0")
    assert refused(chart).startswith("more than 10000 files or 100 MiB")


def test_a_chart_too_large_for_helm_is_not_read(chart: Path) -> None:
    with (chart / "big").open("wb") as file:
        file.truncate(101 * 1024 * 1024)
    assert refused(chart).startswith("more than 10000 files or 100 MiB")


def test_what_helm_could_not_load_is_named(chart: Path) -> None:
    (chart / "dangling").symlink_to("no-such-file")
    assert refused(chart) == "the link dangling is broken"
    (chart / "dangling").unlink()
    os.mkfifo(chart / "templates" / "pipe")
    assert refused(chart) == "templates/pipe is neither a file nor a folder"
    (chart / "templates" / "pipe").unlink()
    (chart / "Chart.yaml").unlink()
    assert refused(chart) == "the folder contains no chart: Chart.yaml is missing"


def test_a_file_deleted_meanwhile_is_a_transient_error(chart: Path) -> None:
    roots = ChartRoots([chart.parent])
    entries = list_folder(chart, roots, origin="web")
    (chart / "values.yaml").unlink()
    with pytest.raises(ChartError, match=r"web: values.yaml cannot be read: No such file") as caught:
        read_folder(entries, roots, origin="web")
    assert caught.value.transient


def test_folders_nested_too_deep_are_refused(chart: Path) -> None:
    """As deep as a path may be long."""
    below = os.open(chart, os.O_DIRECTORY)
    for _ in range(1000):
        os.mkdir("d", dir_fd=below)
        inner = os.open("d", os.O_DIRECTORY, dir_fd=below)
        os.close(below)
        below = inner
    os.close(below)
    try:
        assert "nested too deep" in refused(chart)
    finally:
        subprocess.run(["rm", "-r", str(chart / "d")], check=True)  # Python's own way to remove it is a recursion too
