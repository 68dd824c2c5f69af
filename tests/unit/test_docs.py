"""The pages in docs/ describe everything that exists, and nothing else.

docs/fields.md and README.md have tests of their own, and docs/lifecycles.md has test_lifecycles_page.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined

from managedchart_operator.api.resource import GROUP, KIND, VERSION
from managedchart_operator.api.schema import structural
from managedchart_operator.api.status import ManagedChartStatus
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.settings import Settings
from managedchart_operator.helm.errors.classify import TABLE
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.conditions import (
    CLAMPED,
    LIFECYCLE_MISSING,
    READY,
    RECONCILING,
    RELEASED,
    STALLED,
    VALIDATED,
)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
APP = ROOT / "operator" / "managedchart_operator" / "app"
_CONDITIONS = {READY, RECONCILING, STALLED, RELEASED, VALIDATED, CLAMPED, LIFECYCLE_MISSING}
FOLDERS = ("operator", "tests", "hack", "bench")
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]


def _rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables that begin with a word of code, by that word."""
    rows: dict[str, list[str]] = {}
    for line in (DOCS / page).read_text().splitlines():
        if found := re.match(r"\| `([^`]+)` \|", line):
            assert found[1] not in rows, f"{page} lists {found[1]} twice"
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return rows


# ---- settings


def test_every_setting_is_listed_and_no_other() -> None:
    variables = {f"MANAGEDCHART_{name.upper()}" for name in Settings.model_fields}

    assert _rows("settings.md").keys() == variables


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if field.default is not PydanticUndefined]
)
def test_the_default_of_a_setting_is_listed(name: str) -> None:
    default = Settings.model_fields[name].default
    text = str([str(item) for item in default]).replace("'", '"') if isinstance(default, list) else str(default)

    assert _rows("settings.md")[f"MANAGEDCHART_{name.upper()}"][2] == f"`{text}`"


# ---- metrics


def _metrics_in_the_code() -> set[str]:
    source = "".join(path.read_text() for path in APP.glob("*.py"))
    return set(re.findall(r'"(managedchart_[a-z_]+)"', source))


def test_every_metric_is_listed_and_no_other() -> None:
    assert _rows("metrics.md").keys() == _metrics_in_the_code()


def test_types_and_labels_of_metrics_are_listed() -> None:
    """Those that are declared in one place; what is read at a scrape has no labels."""
    metrics = Metrics()
    metrics.observe("managedchart_helm_processes_started_total", "", lambda: 1.0)
    metrics.observe("managedchart_resources", "", lambda: 1.0)
    rows = _rows("metrics.md")

    listed = {name: row[1] for name, row in rows.items()}
    for metric in metrics.registry.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        if name.startswith("managedchart_"):
            assert listed[name] == metric.type
    for name, labels in (("ready", ["namespace", "name"]), ("failures_total", ["reason", "phase"])):
        assert rows[f"managedchart_{name}"][2].split(", ") == labels


# ---- failures


def test_every_reason_is_listed_and_no_other() -> None:
    assert _rows("failures.md").keys() == {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", sorted({row.reason for row in TABLE}))
def test_retried_agrees_with_the_error_table(reason: Reason) -> None:
    """A reason that other places raise too may be neither a flat yes nor a flat no."""
    listed = _rows("failures.md")[reason.value][2]
    transient = {row.transient for row in TABLE if row.reason is reason}

    if listed == "yes":
        assert transient == {True}
    elif listed == "no":
        assert transient == {False}


# ---- status


def _fields(schema: dict[str, Any], where: str = "") -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        yield f"{where}{name}"
        yield from _fields(part, f"{where}{name}.")
        yield from _fields(part.get("items", {}), f"{where}{name}[].")


def test_every_status_field_has_a_row_and_no_other() -> None:
    assert _rows("status.md").keys() - _CONDITIONS == set(_fields(structural(ManagedChartStatus)))


def test_every_condition_has_a_row() -> None:
    assert _rows("status.md").keys() >= _CONDITIONS


# ---- GitOps


def test_the_health_check_reads_conditions_that_exist() -> None:
    page = (DOCS / "gitops.md").read_text()
    health_check = page.partition("health.managedchart.dev_ManagedChart: |")[2].partition("```")[0]

    assert set(re.findall(r'conditions\["(\w+)"\]', health_check)) == {READY, RECONCILING, STALLED}
    assert set(re.findall(r"obj\.status.*?\.(\w+)|ready\.(\w+) ==", health_check)) <= {
        ("conditions", ""),
        ("", "status"),
        ("", "observedGeneration"),
    }


def _gitops_manifests() -> list[dict[str, Any]]:
    page = (DOCS / "gitops.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [each for block in blocks for each in yaml.safe_load_all(block)]


def test_the_manifests_of_the_gitops_page_name_the_resource() -> None:
    found = _gitops_manifests()

    [checks] = [each["healthChecks"] for each in found if "healthChecks" in each]
    assert [(check["apiVersion"], check["kind"]) for check in checks] == [(f"{GROUP}/{VERSION}", KIND)]
    [argo] = [each["data"] for each in found if "data" in each]
    assert argo.keys() == {f"resource.customizations.health.{GROUP}_{KIND}"}


def test_the_release_of_the_gitops_page_installs_the_chart() -> None:
    [release] = [each for each in _gitops_manifests() if each.get("kind") == "HelmRelease"]
    chart = ROOT / release["spec"]["chart"]["spec"]["chart"]

    assert yaml.safe_load((chart / "Chart.yaml").read_text())["name"] == release["metadata"]["name"]
    known = yaml.safe_load((chart / "values.yaml").read_text())
    assert release["spec"]["values"]["image"].keys() <= known["image"].keys()
    [system] = yaml.safe_load_all((ROOT / "deploy" / "namespace.yaml").read_text())
    assert release["metadata"]["namespace"] == system["metadata"]["name"]


def test_the_annotations_against_pruning_are_those_of_the_crd() -> None:
    annotations = yaml.safe_load((ROOT / "crds" / "managedchart.yaml").read_text())["metadata"]["annotations"]
    page = (DOCS / "gitops.md").read_text()

    for tool in ("kustomize.toolkit.fluxcd.io/prune", "argocd.argoproj.io/sync-options"):
        assert f"`{tool}: {annotations[tool]}`" in page


# ---- all pages


def test_the_index_lists_every_page() -> None:
    links = set(re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "index.md").read_text()))

    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= links
    assert "../SECURITY.md" in links


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings_that_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text())

    assert [link for link in links if link[1] not in _anchors((page.parent / link[0]) if link[0] else page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_pages_name_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))

    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_pages_name_exist(page: Path) -> None:
    """Except those of the package of lifecycles that a reader writes."""
    known = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    named = {name for name in re.findall(r"`([\w/]+\.py)`", page.read_text()) if not name.startswith("my_lifecycles/")}

    assert {name for name in named if not any(path.endswith(f"/{name}") or path == name for path in known)} == set()
