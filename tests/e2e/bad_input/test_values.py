"""Values that cannot be read, or that the chart does not take."""

from pathlib import Path
from typing import Any

import pytest

from conftest import CHARTS
from e2e.bad_input.reading import RETRY, read_failure, told
from harness.chart_files import contents, package_chart
from harness.cluster import Cluster, managedchart

pytestmark = pytest.mark.usefixtures("operator")

SMALL = contents(package_chart())
WEB = {"path": str(CHARTS / "web")}
SECRET = "hunter2-and-more"


def test_a_missing_values_file_is_named_and_heals(cluster: Cluster, chart_root: Path, ns: str) -> None:
    file = chart_root / f"{ns}.yaml"
    cluster.apply(managedchart("podinfo", SMALL, valuesFiles=[str(file)], retry=RETRY), namespace=ns)
    chart = read_failure(cluster, ns, "podinfo", "ValuesFileUnavailable", transient=True)
    assert f'Can\'t access helm chart override file "{file}" for chart "podinfo": No such file' in told(chart)
    assert chart["status"]["lastFailure"]["hint"], "what to do about it is not said"
    assert chart["status"]["lastFailure"]["phase"] == "CheckPrerequisites"
    assert cluster.revisions(ns, "podinfo") == [], "something was installed before the prerequisites were there"

    file.write_text("message: from the file\n")
    cluster.wait_ready(ns, "podinfo")
    config = cluster.get(f"/api/v1/namespaces/{ns}/configmaps/podinfo")
    assert config is not None
    assert config["data"] == {"message": "from the file"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(None, "it is not a regular file", id="a-folder"),
        pytest.param(b"a" * (1024 * 1024 + 1), "it is larger than 1 MiB", id="too-large"),
    ],
)
def test_an_unreadable_values_file_is_explained(
    cluster: Cluster, chart_root: Path, ns: str, content: bytes | None, says: str
) -> None:
    path = chart_root / f"{ns}.yaml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    cluster.apply(managedchart("podinfo", SMALL, valuesFiles=[str(path)]), namespace=ns)
    chart = read_failure(cluster, ns, "podinfo", "ValuesFileUnavailable", transient=True)
    assert f'Can\'t access helm chart override file "{path}" for chart "podinfo": {says}' in told(chart)


def test_a_values_file_outside_the_roots_is_refused(cluster: Cluster, chart_root: Path, ns: str) -> None:
    """Directly, and by a link. The message reveals neither its content nor whether it exists."""
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    link = chart_root / f"{ns}.yaml"
    link.symlink_to("/etc/passwd")
    cluster.apply(
        managedchart("direct", SMALL, valuesFiles=[str(chart_root / "unused.yaml"), token]),
        managedchart("linked", SMALL, valuesFiles=[str(link)]),
        namespace=ns,
    )
    (chart_root / "unused.yaml").write_text("")
    chart = read_failure(cluster, ns, "linked", "PathNotAllowed", transient=False)
    assert f"spec.valuesFiles[0]: '{link}' is not below one of the operator's chart roots" in told(chart)
    assert "/etc/passwd" not in told(chart)
    assert "root:" not in told(chart)
    chart = read_failure(cluster, ns, "direct", "PathNotAllowed", transient=False)
    assert f"spec.valuesFiles[1]: '{token}' is not below" in told(chart)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(f"password: {SECRET}\n  indented: wrongly\n", ", line ", id="not-yaml"),
        pytest.param(f"- {SECRET}\n", "this must be a mapping (key: value), but is a list", id="a-list"),
        pytest.param(f"password={SECRET}\n", "this must be a mapping (key: value), but is", id="a-text"),
    ],
)
def test_an_invalid_values_file_is_named_and_not_quoted(
    cluster: Cluster, chart_root: Path, ns: str, text: str, says: str
) -> None:
    file = chart_root / f"{ns}.yaml"
    file.write_text(text)
    cluster.apply(managedchart("podinfo", SMALL, valuesFiles=[str(file)]), namespace=ns)
    chart = read_failure(cluster, ns, "podinfo", "ValuesInvalid", transient=False)
    assert f"values file {file}" in told(chart)
    assert says in told(chart)
    assert SECRET not in str(chart["status"]), "a values file's content was told"
    assert SECRET not in str(cluster.wait_event(ns, "podinfo", "ValuesInvalid"))
    assert "managedchart.dev/retry" in chart["status"]["lastFailure"]["hint"], "a corrected file alone changes no spec"
    file.write_text("message: corrected\n")
    cluster.kubectl("annotate", "managedchart", "podinfo", "managedchart.dev/retry=1", f"--namespace={ns}")
    cluster.wait_ready(ns, "podinfo")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param(
            {"yamlFilesContent": [{"filename": "extra.yaml", "yamlContent": "a: 1\na: [\n"}]},
            "spec.yamlFilesContent[0] (extra.yaml), line ",
            id="inline-yaml",
        ),
        pytest.param(
            {"yamlFilesContent": [{"filename": "extra.yaml", "yamlContent": "- a\n"}]},
            "spec.yamlFilesContent[0] (extra.yaml), line 1: this must be a mapping (key: value), but is a list",
            id="inline-list",
        ),
        pytest.param({"set": [{"key": "a", "value": "1"}, {"key": "a[x", "value": "1"}]}, "spec.set[1]", id="set"),
    ],
)
def test_unreadable_inline_values_name_their_field(
    cluster: Cluster, ns: str, fields: dict[str, Any], says: str
) -> None:
    cluster.apply(managedchart("podinfo", SMALL, **fields), namespace=ns)
    chart = read_failure(cluster, ns, "podinfo", "ValuesInvalid", transient=False)
    assert says in told(chart)
    cluster.apply(managedchart("podinfo", SMALL), namespace=ns)
    cluster.wait_ready(ns, "podinfo")


def test_a_schema_violation_names_value_and_constraint(cluster: Cluster, ns: str) -> None:
    """All mistakes are listed; once corrected, the chart is deployed."""
    cluster.apply(
        managedchart("web", WEB, values={"replicas": "three", "port": 99999, "password": SECRET}), namespace=ns
    )
    chart = read_failure(cluster, ns, "web", "ValuesRefused", transient=False)
    message = chart["status"]["lastFailure"]["message"]
    assert "replicas" in message
    assert "integer" in message
    assert "port" in message
    assert "65" in message, "the limit that the schema sets is not told"
    assert chart["status"]["lastFailure"]["hint"]
    assert SECRET not in str(chart["status"])

    cluster.apply(managedchart("web", WEB, values={"replicas": 0}), namespace=ns)
    ready = cluster.wait_ready(ns, "web")
    assert "lastFailure" not in ready["status"]


def test_a_dry_run_checks_the_schema_too(cluster: Cluster, ns: str) -> None:
    cluster.apply(managedchart("web", WEB, dryRun=True, values={"replicas": 51}), namespace=ns)
    chart = read_failure(cluster, ns, "web", "ValuesRefused", transient=False)
    assert "replicas" in told(chart)
    assert cluster.revisions(ns, "web") == []
