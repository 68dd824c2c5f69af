"""Templates that cannot be rendered, or not into objects of this cluster."""

from typing import Any

import pytest

from conftest import CHARTS
from e2e.bad_input.reading import RETRY, read_failure, told
from harness.chart_files import chart_files, contents, package_chart
from harness.cluster import Cluster, condition_of, managedchart

pytestmark = pytest.mark.usefixtures("operator")

BROKEN = {"path": str(CHARTS / "broken-template")}
SECRET = "hunter2-and-more"


@pytest.mark.parametrize(
    ("values", "line", "says"),
    [
        pytest.param({"how": "required"}, 7, "host must be set, like db.example", id="required"),
        pytest.param({"how": "nil"}, 9, "nil pointer evaluating interface {}.host", id="nil"),
        pytest.param({"how": "fail"}, 11, "this chart cannot be used with Kubernetes 1.37", id="fail"),
    ],
)
def test_a_template_error_names_file_line_and_message(
    cluster: Cluster, ns: str, values: dict[str, Any], line: int, says: str
) -> None:
    cluster.apply(managedchart("broken", BROKEN, values={**values, "password": SECRET}), namespace=ns)
    chart = read_failure(cluster, ns, "broken", "TemplateError", transient=False)
    message = chart["status"]["lastFailure"]["message"]
    assert f"broken-template/templates/configmap.yaml:{line}" in message
    assert says in message
    assert chart["status"]["lastFailure"]["hint"]
    assert chart["status"]["lastFailure"]["phase"] == "Exec"
    assert SECRET not in str(chart["status"])


def test_a_template_that_renders_invalid_yaml_is_named(cluster: Cluster, ns: str) -> None:
    """helm counts the lines of what was rendered, not of the template."""
    cluster.apply(managedchart("broken", BROKEN, values={"how": "yaml"}), namespace=ns)
    chart = read_failure(cluster, ns, "broken", "TemplateError", transient=False)
    assert "broken-template/templates/configmap.yaml" in chart["status"]["lastFailure"]["message"]


def test_a_template_error_does_not_touch_the_release(cluster: Cluster, ns: str) -> None:
    cluster.apply(managedchart("broken", BROKEN, values={"how": "required", "host": "db.example"}), namespace=ns)
    cluster.wait_ready(ns, "broken")
    cluster.apply(managedchart("broken", BROKEN, values={"how": "required"}), namespace=ns)
    chart = read_failure(cluster, ns, "broken", "TemplateError", transient=False)
    assert chart["status"]["release"]["revision"] == 1
    assert cluster.revisions(ns, "broken") == [(1, "deployed")]
    cluster.apply(managedchart("broken", BROKEN, values={"how": "required", "host": "db.example"}), namespace=ns)
    ready = cluster.wait_ready(ns, "broken")
    assert condition_of(ready, "Ready")["reason"] == "Deployed"
    assert cluster.revisions(ns, "broken") == [(1, "deployed")], "the same input was deployed once more"


def test_an_unknown_field_names_object_and_field(cluster: Cluster, ns: str) -> None:
    misspelt = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {prots: [{port: 80}]}\n"
    cluster.apply(managedchart("misspelt", contents(package_chart(chart_files(service=misspelt)))), namespace=ns)
    chart = read_failure(cluster, ns, "misspelt", "ObjectInvalid", transient=False)
    assert "web" in told(chart)
    assert "prots" in told(chart)


@pytest.mark.parametrize("dry_run", [False, True], ids=["upgrade", "dry run"])
def test_an_object_of_a_wrong_form_names_its_template(cluster: Cluster, ns: str, *, dry_run: bool) -> None:
    """Helm names neither object nor template."""
    flag = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: flag, labels: {enabled: y}}\n"
    chart = contents(package_chart(chart_files(flag=flag)))
    cluster.apply(managedchart("flag", chart, dryRun=dry_run), namespace=ns)
    failure = read_failure(cluster, ns, "flag", "TemplateError", transient=False)["status"]["lastFailure"]
    assert failure["message"].startswith(
        "The chart renders an object with a boolean in metadata.labels, where a text is needed"
    )
    assert "metadata.labels.enabled of ConfigMap flag in template " in failure["message"]
    assert "templates/flag" in failure["message"]
    assert failure["hint"].startswith("Quote the value")


def test_an_object_of_a_missing_kind_is_retried(cluster: Cluster, ns: str) -> None:
    """The chart that brings the kind may be on its way."""
    path = CHARTS / "cluster-objects"
    cluster.apply(managedchart("widget", {"path": str(path)}, values={"unknownKind": True}, retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "widget", "KindMissing", transient=True)
    assert 'kind "Widget"' in told(chart) or "Widget" in chart["status"]["lastFailure"]["message"]
    assert "test.managedchart.dev/v1" in told(chart)
    assert "CRD" in chart["status"]["lastFailure"]["hint"]


def test_a_chart_that_needs_too_much_memory_is_named(cluster: Cluster, ns: str) -> None:
    """Not retried, since it would need as much again; the release of before stays."""
    cluster.apply(managedchart("large", contents(package_chart())), namespace=ns)
    cluster.wait_ready(ns, "large")
    bomb = chart_files(bomb='{{ $text := repeat 1000 (repeat 1000000 "a") }}a: {{ len $text }}\n')
    cluster.apply(managedchart("large", contents(package_chart(bomb))), namespace=ns)
    chart = read_failure(cluster, ns, "large", "ChartTooLarge", transient=False)
    assert "512 MiB of memory" in told(chart)
    assert cluster.revisions(ns, "large") == [(1, "deployed")]
