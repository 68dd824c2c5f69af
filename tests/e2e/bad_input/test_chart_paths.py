"""Chart paths that lead to nothing, to no chart, or where nobody may read."""

import shutil
from pathlib import Path

import pytest

from e2e.bad_input.reading import RETRY, read_failure, told
from harness.chart_files import contents, package_chart, write_chart
from harness.cluster import Cluster, condition_of, managedchart
from harness.operator_process import OperatorProcess

pytestmark = pytest.mark.usefixtures("operator")


def test_a_missing_chart_is_named_and_deployed_later(cluster: Cluster, chart_root: Path, ns: str) -> None:
    """Charts come from volumes, which may be late: it is retried, reported once, and heals automatically."""
    path = chart_root / ns
    cluster.apply(managedchart("late", {"path": str(path)}, retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "late", "ChartNotFound", transient=True, failures=3)
    assert f"spec.chart.path: there is no chart at {path}" in told(chart)
    assert "volume" in chart["status"]["lastFailure"]["hint"]
    assert chart["status"]["lastFailure"]["phase"] == "CheckPrerequisites"
    assert len(cluster.wait_event(ns, "late", "ChartNotFound")) == 1, "the same failure was told more than once"
    # Moved there as a whole, since half a chart would be another failure.
    write_chart(chart_root / f".{ns}").rename(path)
    ready = cluster.wait_ready(ns, "late")
    assert "lastFailure" not in ready["status"]
    assert ready["status"]["attempt"]["failures"] == 0


def test_a_folder_without_chart_yaml_is_refused(cluster: Cluster, chart_root: Path, ns: str) -> None:
    folder = write_chart(chart_root / ns, {"README.md": "a folder of somebody"})
    cluster.apply(managedchart("folder", {"path": str(folder)}), namespace=ns)
    chart = read_failure(cluster, ns, "folder", "ChartInvalid", transient=False)
    assert f"spec.chart.path {folder}: the folder contains no chart: Chart.yaml is missing" in told(chart)


def test_a_file_that_is_not_a_package_is_refused(cluster: Cluster, chart_root: Path, ns: str) -> None:
    file = chart_root / f"{ns}.tgz"
    file.write_text("not a package")
    cluster.apply(managedchart("file", {"path": str(file)}), namespace=ns)
    chart = read_failure(cluster, ns, "file", "ChartInvalid", transient=False)
    assert f"spec.chart.path {file}: it is not a packaged chart (a .tgz as helm package makes it)" in told(chart)


def test_truncated_contents_are_refused(cluster: Cluster, ns: str) -> None:
    """They pass the API server, which sees the first bytes only."""
    cluster.apply(managedchart("cut", contents(package_chart()[:100])), namespace=ns)
    chart = read_failure(cluster, ns, "cut", "ChartInvalid", transient=False)
    assert "spec.chart.contents: the archive is damaged or cut off" in told(chart)
    cluster.apply(managedchart("cut", contents(package_chart())), namespace=ns)
    cluster.wait_ready(ns, "cut")


def test_a_chart_without_a_version_is_refused(cluster: Cluster, chart_root: Path, ns: str) -> None:
    folder = write_chart(chart_root / ns, {"Chart.yaml": "apiVersion: v2\nname: small\n"})
    cluster.apply(managedchart("versionless", {"path": str(folder)}), namespace=ns)
    chart = read_failure(cluster, ns, "versionless", "ChartInvalid", transient=False)
    assert f"spec.chart.path {folder}: version is missing in Chart.yaml" in told(chart)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/etc", id="a-folder-of-the-pod"),
        pytest.param("/var/run/secrets/kubernetes.io/serviceaccount/token", id="the-operators-token"),
        pytest.param("/does/not/exist", id="nothing"),
    ],
)
def test_a_path_outside_the_roots_is_refused(cluster: Cluster, chart_root: Path, ns: str, path: str) -> None:
    cluster.apply(managedchart("outside", {"path": path}), namespace=ns)
    chart = read_failure(cluster, ns, "outside", "PathNotAllowed", transient=False)
    failure = chart["status"]["lastFailure"]
    assert f"spec.chart.path: '{path}' is not below one of the operator's chart roots" in failure["message"]
    assert str(chart_root) in failure["hint"], "the roots that there are belong into the advice"


def test_a_refused_link_does_not_reveal_its_target(cluster: Cluster, chart_root: Path, ns: str, tmp_path: Path) -> None:
    """Once as the chart itself, once inside a chart; replaced by what it points to, the chart is deployed."""
    elsewhere = write_chart(tmp_path / "elsewhere")
    whole = chart_root / ns
    whole.symlink_to(elsewhere)
    inside = write_chart(chart_root / f"{ns}-inside")
    (inside / "token.txt").symlink_to("/var/run/secrets/kubernetes.io/serviceaccount/token")
    cluster.apply(
        managedchart("whole", {"path": str(whole)}), managedchart("inside", {"path": str(inside)}), namespace=ns
    )
    chart = read_failure(cluster, ns, "whole", "PathNotAllowed", transient=False)
    assert f"spec.chart.path: '{whole}' is not below" in told(chart)
    assert str(elsewhere) not in told(chart)
    chart = read_failure(cluster, ns, "inside", "PathNotAllowed", transient=False)
    assert "the link token.txt leads out of the operator's chart roots" in told(chart)
    assert "serviceaccount" not in told(chart)
    assert "Replace the link" in chart["status"]["lastFailure"]["hint"]

    (inside / "token.txt").unlink()
    cluster.kubectl("annotate", "managedchart", "inside", "managedchart.dev/retry=1", f"--namespace={ns}")
    cluster.wait_ready(ns, "inside")


def test_a_deleted_chart_is_reported_and_its_release_stays(
    cluster: Cluster, operator: OperatorProcess, chart_root: Path, ns: str
) -> None:
    """Only the next change needs the chart."""
    path = write_chart(chart_root / ns)
    cluster.apply(managedchart("gone", {"path": str(path)}, retry=RETRY), namespace=ns)
    cluster.wait_ready(ns, "gone")
    shutil.rmtree(path)
    cluster.apply(managedchart("gone", {"path": str(path)}, retry=RETRY, values={"message": "new"}), namespace=ns)
    chart = read_failure(cluster, ns, "gone", "ChartNotFound", transient=True)
    assert condition_of(chart, "Released")["status"] == "False"
    assert chart["status"]["release"]["revision"] == 1
    assert cluster.revisions(ns, "gone") == [(1, "deployed")], operator.log
