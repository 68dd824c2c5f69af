"""The pages in docs/ tell of everything that there is, and of nothing else. docs/fields.md has a test of its own."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from managedchart_operator.api.spec import Action
from managedchart_operator.app.metrics import Metrics
from managedchart_operator.app.settings import Settings
from managedchart_operator.errors import LifecycleError
from managedchart_operator.helm.errors.classify import TABLE
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.registry import BUILT_IN, ENTRY_POINT_GROUP
from managedchart_operator.reasons import Reason
from unit.lifecycle.fakes import FakeCluster, bench

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
APP = ROOT / "operator" / "managedchart_operator" / "app"
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]


def _rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables that begin with a word of code, by that word."""
    rows: dict[str, list[str]] = {}
    for line in (DOCS / page).read_text().splitlines():
        if found := re.match(r"\| `([^`]+)` \|", line):
            assert found[1] not in rows, f"{page} tells of {found[1]} twice"
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return rows


# ---- settings


def test_every_setting_is_told_and_no_other() -> None:
    variables = {f"MANAGEDCHART_{name.upper()}" for name in Settings.model_fields}

    assert _rows("settings.md").keys() == variables


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if field.default is not PydanticUndefined]
)
def test_a_settings_default_is_told(name: str) -> None:
    default = Settings.model_fields[name].default
    text = str([str(item) for item in default]).replace("'", '"') if isinstance(default, list) else str(default)

    assert _rows("settings.md")[f"MANAGEDCHART_{name.upper()}"][2] == f"`{text}`"


# ---- metrics


def _metrics_in_the_code() -> set[str]:
    source = "".join(path.read_text() for path in APP.glob("*.py"))
    return set(re.findall(r'"(managedchart_[a-z_]+)"', source))


def test_every_metric_is_told_and_no_other() -> None:
    assert _rows("metrics.md").keys() == _metrics_in_the_code()


def test_types_and_labels_of_metrics_are_told() -> None:
    """Those that are declared in one place; what is read at a scrape has no labels."""
    metrics = Metrics()
    metrics.observe("managedchart_helm_processes_started_total", "", lambda: 1.0)
    metrics.observe("managedchart_resources", "", lambda: 1.0)
    rows = _rows("metrics.md")

    told = {name: row[1] for name, row in rows.items()}
    for metric in metrics.registry.collect():
        name = metric.name + ("_total" if metric.type == "counter" else "")
        if name.startswith("managedchart_"):
            assert told[name] == metric.type
    for name, labels in (("ready", ["namespace", "name"]), ("failures_total", ["reason", "phase"])):
        assert rows[f"managedchart_{name}"][2].split(", ") == labels


# ---- failures


def test_every_reason_is_told_and_no_other() -> None:
    assert _rows("failures.md").keys() == {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", sorted({row.reason for row in TABLE}))
def test_whether_a_failure_is_retried_is_told_as_the_error_table_has_it(reason: Reason) -> None:
    """Of a reason that other places raise as well, the table only tells what cannot be said flatly."""
    told = _rows("failures.md")[reason.value][2]
    transient = {row.transient for row in TABLE if row.reason is reason}

    if told == "yes":
        assert transient == {True}
    elif told == "no":
        assert transient == {False}


# ---- lifecycles


def test_every_built_in_lifecycle_is_told() -> None:
    assert BUILT_IN.keys() <= _rows("lifecycles.md").keys()


class ClusterOfDeployments(FakeCluster):
    """Takes the patch of any object that is there."""

    async def merge_patch(self, ref: ObjectRef, patch: dict[str, Any]) -> dict[str, Any] | None:
        if ref not in self.objects:
            return None
        self.patched.append(ref)
        self.objects[ref] = {**self.objects[ref], **patch}
        return self.objects[ref]


def _code(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", (DOCS / "lifecycles.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def _coredns() -> Lifecycle:
    scope: dict[str, Any] = {}
    exec(_code("python"), scope)
    lifecycle: Lifecycle = scope["CoreDns"]()
    return lifecycle


CONFIG = ObjectRef("v1", "ConfigMap", "coredns", "apps")
DEPLOYMENT = ObjectRef("apps/v1", "Deployment", "coredns", "apps")


async def test_the_lifecycle_in_the_page_works() -> None:
    cluster = ClusterOfDeployments({CONFIG: {"data": {"Corefile": ".:53 {}"}}, DEPLOYMENT: {}})
    made = bench(cluster=cluster)

    await _coredns().run(made.context)
    first = cluster.objects[DEPLOYMENT]
    await _coredns().run(made.context)

    assert cluster.patched == [DEPLOYMENT, DEPLOYMENT]
    assert first["spec"]["template"]["metadata"]["annotations"].keys() == {"example.com/corefile"}
    assert cluster.objects[DEPLOYMENT] == first


async def test_the_lifecycle_in_the_page_says_what_is_missing_and_leaves_removals_alone() -> None:
    with pytest.raises(LifecycleError, match="no Deployment coredns"):
        await _coredns().run(bench(cluster=ClusterOfDeployments()).context)

    await _coredns().run(bench(cluster=ClusterOfDeployments(), action=Action.DESTROY).context)


def test_the_entry_point_in_the_page_is_of_the_group_that_is_looked_up() -> None:
    assert tomllib.loads(_code("toml"))["project"]["entry-points"].keys() == {ENTRY_POINT_GROUP}


# ---- all pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_are_there(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))

    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(), re.MULTILINE)) <= targets
