"""spec.crds: what happens to the CRDs in crds/ folders, on installs, upgrades and dry runs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.fields.steps import SOON, deploy, ready_reason, refused, warnings
from harness.chart_files import chart_files, write_chart
from harness.cluster import CRDS, Cluster, condition_of

pytestmark = pytest.mark.usefixtures("operator")

OBJECT = """apiVersion: {group}/{version}
kind: {kind}
metadata: {{name: {{{{ .Release.Name }}}}}}
spec: {spec}
"""


@dataclass
class Widgets:
    """Kinds in an API group of the test's own, and charts that bring them."""

    cluster: Cluster
    group: str
    folder: Path

    def crd(self, *fields: str, plural: str = "widgets", versions: str = "v1") -> dict[str, Any]:
        """A CRD whose spec has these text fields; of the versions, separated by spaces, the first is stored."""
        spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{self.group}"},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"kind": plural.title().removesuffix("s"), "plural": plural},
                "versions": [
                    {"name": each, "served": True, "storage": each == versions.split(maxsplit=1)[0], "schema": schema}
                    for each in versions.split()
                ],
            },
        }

    def chart(
        self, version: str, *crds: dict[str, Any], subchart: dict[str, Any] | None = None, **objects: Any
    ) -> dict[str, str]:
        """A chart with CRDs, and with one object a kind: `widget={"size": "1"}`."""
        templates = {
            kind: OBJECT.format(group=self.group, version="v1", kind=kind.title(), spec=json.dumps(spec))
            for kind, spec in objects.items()
        }
        files = chart_files("widgets", version, **templates)
        files |= {f"crds/{number}.yaml": json.dumps(crd) for number, crd in enumerate(crds)}
        if subchart:
            files["Chart.yaml"] += "dependencies: [{name: sub, version: 1.0.0, condition: sub.enabled}]\n"
            files |= {f"charts/sub/{name}": text for name, text in chart_files("sub").items()}
            files["charts/sub/crds/sub.yaml"] = json.dumps(subchart)
        return {"path": str(write_chart(self.folder / f"{self.group}-{version}", files))}

    def found(self, plural: str = "widgets") -> dict[str, Any] | None:
        """The CRD in the cluster."""
        return self.cluster.get(f"{CRDS}/{plural}.{self.group}")

    def spec(self, ns: str, name: str, plural: str = "widgets") -> dict[str, Any]:
        """The spec of an object."""
        there = self.cluster.get(f"/apis/{self.group}/v1/namespaces/{ns}/{plural}/{name}")
        assert there is not None
        spec: dict[str, Any] = there["spec"]
        return spec


@pytest.fixture
def widgets(cluster: Cluster, ns: str, chart_root: Path) -> Iterator[Widgets]:
    """The cluster knows no kind of the group.

    The CRDs go first: the garbage collector takes half a minute to notice kinds that came a moment ago.
    """
    made = Widgets(cluster, f"{ns}.example.com", chart_root)
    yield made
    for crd in cluster.items(CRDS):
        if crd["spec"]["group"] == made.group:
            cluster.delete(f"{CRDS}/{crd['metadata']['name']}")


def test_missing_crds_are_created_before_installs_and_upgrades(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    """A dry run on a cluster without them succeeds and changes nothing; an upgrade creates only what is missing."""
    first = widgets.chart("1.0.0", widgets.crd("size"), widget={"size": "1"})
    dry = deploy(cluster, ns, "a", first, dryRun=True)
    assert condition_of(dry, "Ready")["message"] == (
        "Dry run of widgets 1.0.0: 1 objects rendered, 1 not validated because their CRDs are not applied yet"
    )
    assert widgets.found() is None
    deploy(cluster, ns, "a", first)
    before = widgets.found()
    assert before is not None
    assert {entry["manager"] for entry in before["metadata"]["managedFields"] if "subresource" not in entry} == {"helm"}

    changed = widgets.crd("size", "colour")
    second = widgets.chart(
        "2.0.0", changed, widgets.crd("x", plural="gadgets"), widget={"size": "2"}, gadget={"x": "1"}
    )
    deploy(cluster, ns, "a", second)
    assert cluster.revisions(ns, "a") == [(1, "superseded"), (2, "deployed")]
    assert widgets.spec(ns, "a", "gadgets") == {"x": "1"}
    after = widgets.found()
    assert after is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "Create leaves what exists"


def test_crds_of_enabled_subcharts_are_created(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    """With a dry run, in which another object is still validated."""
    sub = widgets.crd("x", plural="gadgets")
    chart = widgets.chart("1.0.0", widgets.crd("size"), subchart=sub, widget={"size": "1"})
    deploy(cluster, ns, "a", chart, values={"sub": {"enabled": False}})
    assert widgets.found()
    assert widgets.found("gadgets") is None
    deploy(cluster, ns, "a", chart)
    assert widgets.found("gadgets")


def test_an_older_crd_is_named_and_replaced(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    """Create explains why the new field is refused, CreateReplace updates the CRD; neither touches what is as wanted."""
    deploy(cluster, ns, "a", widgets.chart("1.0.0", widgets.crd("size", "old"), widget={"size": "1"}))
    newer = widgets.chart("2.0.0", widgets.crd("size", "colour"), widget={"size": "1", "colour": "red"})
    for dry_run in (False, True):
        failure = refused(cluster, ns, "a", newer, dryRun=dry_run)
        assert (failure["reason"], failure["message"]) == ("ObjectInvalid", f"Widget {ns}/a has no field .spec.colour")
        assert failure["hint"].startswith("Set spec.crds: CreateReplace, which updates it: the CRD widgets.")
    assert ready_reason(deploy(cluster, ns, "a", newer, crds="CreateReplace", dryRun=True)) == "DryRunSucceeded"
    assert widgets.spec(ns, "a") == {"size": "1"}

    # Without a retry: the API server refuses to list objects for a moment after each change of their CRD.
    deploy(cluster, ns, "a", newer, crds="CreateReplace", retry={"limit": 0})
    assert widgets.spec(ns, "a") == {"size": "1", "colour": "red"}
    replaced = widgets.found()
    assert replaced is not None
    [lost] = {text for text in warnings(cluster, ns, "a") if ".spec.old (v1)" in text}
    assert lost.startswith(f"CRD widgets.{widgets.group} of the chart lacks what the one in the cluster has")

    deploy(cluster, ns, "a", newer, crds="CreateReplace", values={"any": "thing"})
    after = widgets.found()
    assert after is not None
    assert after["metadata"]["resourceVersion"] == replaced["metadata"]["resourceVersion"]


def test_a_version_that_may_be_stored_is_not_dropped(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    """The hint's commands are the way out."""
    cluster.apply(widgets.crd("size", versions="v1alpha1"))
    cluster.wait(
        CRDS, f"widgets.{widgets.group}", lambda crd: crd and crd.get("status", {}).get("storedVersions"), what=""
    )
    both = widgets.crd("size", versions="v1 v1alpha1")
    deploy(cluster, ns, "a", widgets.chart("1.0.0", both, widget={"size": "1"}), crds="CreateReplace")
    last = widgets.chart("2.0.0", widgets.crd("size", "colour"), widget={"size": "1"})
    failure = refused(cluster, ns, "a", last, crds="CreateReplace", retry=SOON)
    assert failure["reason"] == "ObjectInvalid"
    assert failure["message"].startswith(
        f"CRD widgets.{widgets.group} cannot be replaced: objects may be stored as v1alpha1,"
    )
    assert cluster.revisions(ns, "a") == [(1, "deployed")]
    _, _, patch = failure["hint"].partition("&& kubectl ")
    command, _, document = patch.partition(" -p ")
    cluster.kubectl(*command.split(), "-p", document.strip("'"))
    deploy(cluster, ns, "a", last, crds="CreateReplace", retry=SOON)
    found = widgets.found()
    assert found is not None
    assert [version["name"] for version in found["spec"]["versions"]] == ["v1"]


def test_skip_creates_none_and_says_so(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    chart = widgets.chart("1.0.0", widgets.crd("size"), widget={"size": "1"})
    for dry_run in (True, False):
        failure = refused(cluster, ns, "a", chart, crds="Skip", retry={"limit": 0}, dryRun=dry_run)
        assert failure["reason"] == "KindMissing"
        assert failure["hint"].startswith("Set spec.crds: Create, or apply the CRD first: the chart has widgets.")
    assert widgets.found() is None


def test_the_lifecycle_aws_vpc_cni_installs_a_chart_with_its_crds(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    """Its pre_exec renders before anything is applied, as for the ENIConfigs of that chart."""
    chart = widgets.chart("1.0.0", widgets.crd("size"), widget={"size": "1"})
    lifecycle = {"name": "aws-vpc-cni"}
    assert ready_reason(deploy(cluster, ns, "a", chart, lifecycle=lifecycle, dryRun=True)) == "DryRunSucceeded"
    assert widgets.found() is None
    deploy(cluster, ns, "a", chart, lifecycle=lifecycle)
    assert widgets.spec(ns, "a") == {"size": "1"}


def test_a_dry_run_finds_other_faults_beside_new_kinds(cluster: Cluster, ns: str, widgets: Widgets) -> None:
    """An object of others, and one that the API server refuses: helm's own dry run gets no further than the kind."""
    files = chart_files(
        "beside",
        widget=OBJECT.format(group=widgets.group, version="v1", kind="Widget", spec="{size: a}"),
        beside='apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\ndata: {a: {{ .Values.wrong | default "x" }}}\n',
    )
    files["crds/widgets.yaml"] = json.dumps(widgets.crd("size"))
    chart = {"path": str(write_chart(widgets.folder / f"beside-{widgets.group}", files))}
    failure = refused(cluster, ns, "a", chart, dryRun=True, values={"wrong": "[1]"})
    assert failure["reason"] == "ObjectInvalid"
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}
    cluster.apply(theirs, namespace=ns)
    failure = refused(cluster, ns, "a", chart, dryRun=True)
    assert (failure["reason"], failure["message"]) == (
        "ObjectOwned",
        f"ConfigMap {ns}/theirs already exists and belongs to no release",
    )
