"""What a run does to the CRDs in the crds/ folders of its chart, over a cluster in memory."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.chart_files import chart_files, write_chart
from managedchart_operator.charts.crd_folders import CrdFolders
from managedchart_operator.charts.metadata import ChartMetadata
from managedchart_operator.charts.store import Chart
from managedchart_operator.errors import ChartError, KubeError, OperatorError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crds import Preview, RunCrds
from unit.reconcile.world import World

NAME = "widgets.example.com"


def crd(*fields: str, versions: tuple[str, ...] = ("v1",), name: str = NAME, **metadata: Any) -> dict[str, Any]:
    """A CRD as the API server stores it, whose spec has these fields."""
    spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    kind = name.partition(".")[0].removesuffix("s").capitalize()
    names = {"kind": kind, "plural": kind.lower() + "s", "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, **metadata},
        "spec": {
            "group": "example.com",
            "names": names,
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": [
                {"name": each, "served": True, "storage": each == versions[-1], "schema": schema} for each in versions
            ],
        },
    }


class FakeCrds:
    """The CRDs of a cluster; `wrote` has what was written, `refusal` is raised once by a write."""

    def __init__(self, *present: dict[str, Any]) -> None:
        self.there = {each["metadata"]["name"]: each for each in present}
        self.wrote: list[str] = []
        self.read: list[str] = []
        self.refusals: list[KubeError] = []
        self.served: list[str] = []

    async def metadata(self, name: str) -> dict[str, Any] | None:
        self.read.append(f"metadata {name}")
        return self.there[name]["metadata"] if name in self.there else None

    async def get(self, name: str) -> dict[str, Any] | None:
        self.read.append(f"get {name}")
        return copy.deepcopy(self.there.get(name))

    async def create(self, body: dict[str, Any], *, collection: str = "", dry_run: bool = False) -> dict[str, Any]:
        return self._write("create", body, collection=collection, dry_run=dry_run)

    async def replace(self, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        return self._write("replace", body, dry_run=dry_run)

    async def until_served(self, crds: list[dict[str, Any]]) -> None:
        self.served += [each["metadata"]["name"] for each in crds]

    def _write(self, verb: str, body: dict[str, Any], *, collection: str = "", dry_run: bool) -> dict[str, Any]:
        if self.refusals:
            raise self.refusals.pop(0)
        name = body["metadata"]["name"]
        self.wrote.append(f"{'dry ' if dry_run else ''}{verb} {collection}{name}")
        if not dry_run and not collection:
            self.there[name] = body
        return body


async def run_crds(folder: Path, cluster: FakeCrds, *files: dict[str, Any] | str, policy: str = "Create") -> RunCrds:
    """The CRDs of a run whose chart has these files in crds/."""
    texts = {f"crds/{n}.yaml": each if isinstance(each, str) else json.dumps(each) for n, each in enumerate(files)}
    chart = write_chart(folder / "chart", {**chart_files(), **texts})
    world = World()
    world.cluster.crds = cluster  # type: ignore[attr-defined]
    run = await world.release_run({"crds": policy})
    folders = CrdFolders.OWN if files else CrdFolders.NONE
    run.sources.chart = Chart(
        chart, ChartMetadata("web", "1.0.0", None), "digest", late_hooks=False, ttl_jobs=False, crds=folders
    )
    return RunCrds(run)


async def test_missing_crds_are_created_once(tmp_path: Path) -> None:
    cluster = FakeCrds()
    crds = await run_crds(tmp_path, cluster, crd("a"), crd("a", name="gadgets.example.com"))
    await crds.apply()
    await crds.apply()
    assert sorted(cluster.wrote) == ["create gadgets.example.com", f"create {NAME}"]
    assert sorted(cluster.served) == ["gadgets.example.com", NAME]


async def test_helm_forgets_what_the_cluster_served(tmp_path: Path) -> None:
    cleared = []
    for present in ((), (crd("a"),)):
        crds = await run_crds(tmp_path / str(len(present)), FakeCrds(*present), crd("a"))
        helm = cast("Any", crds.run.services.helm)
        helm.clear_discovery_cache = lambda present=present: cleared.append(present)
        await crds.apply()
    assert cleared == [()], "only where something was created"


async def test_existing_crds_are_left(tmp_path: Path) -> None:
    """Whoever made them, and however they differ; only their metadata is read."""
    cluster = FakeCrds(crd("other", annotations={"meta.helm.sh/release-name": "other"}))
    await (await run_crds(tmp_path, cluster, crd("a"))).apply()
    assert cluster.wrote == []
    assert cluster.read == [f"metadata {NAME}"]


@pytest.mark.parametrize("policy", ["Create", "CreateReplace"])
async def test_without_a_folder_the_cluster_is_not_asked(tmp_path: Path, policy: str) -> None:
    cluster = FakeCrds()
    await (await run_crds(tmp_path, cluster, policy=policy)).apply()
    assert (cluster.read, cluster.wrote) == ([], [])


async def test_skip_reads_and_writes_nothing(tmp_path: Path) -> None:
    cluster = FakeCrds()
    crds = await run_crds(tmp_path, cluster, crd("a"), policy="Skip")
    await crds.apply()
    assert await crds.preview() == Preview()
    assert (cluster.read, cluster.wrote) == ([], [])


async def test_an_older_crd_is_replaced(tmp_path: Path) -> None:
    cluster = FakeCrds(crd("a", labels={"theirs": "1"}))
    crds = await run_crds(tmp_path, cluster, crd("a", "b"), policy="CreateReplace")
    await crds.apply()
    assert cluster.wrote == [f"replace {NAME}"]
    assert cluster.there[NAME]["spec"] == crd("a", "b")["spec"]
    assert cluster.there[NAME]["metadata"]["labels"] == {"theirs": "1"}
    assert crds.run.journal.warnings == []


async def test_a_crd_that_is_current_is_not_written(tmp_path: Path) -> None:
    cluster = FakeCrds(crd("a"))
    await (await run_crds(tmp_path, cluster, crd("a"), policy="CreateReplace")).apply()
    assert cluster.wrote == []


async def test_a_lost_field_is_a_warning(tmp_path: Path) -> None:
    cluster = FakeCrds(crd("a", "b"))
    crds = await run_crds(tmp_path, cluster, crd("a"), policy="CreateReplace")
    await crds.apply()
    assert cluster.wrote == [f"replace {NAME}"]
    [(reason, message)] = crds.run.journal.warnings
    assert reason == "CRDFieldsLost"
    assert NAME in message
    assert message.endswith(": .spec.b (v1)")


@pytest.mark.parametrize(
    ("storage", "hint"),
    [
        (
            ("v1alpha1", "v1"),
            (
                "Store all objects as v1, then take v1alpha1 out of the CRD's status: kubectl get widgets.example.com -A -o"
                " yaml | kubectl replace -f - && kubectl patch crd widgets.example.com --subresource=status --type=merge -p "
                """'{"status": {"storedVersions": ["v1"]}}'"""
            ),
        ),
        (
            ("v1", "v1alpha1"),
            "First deploy a chart version whose CRD still has v1alpha1 and stores objects as v1.",
        ),
    ],
    ids=["stored once", "stored now"],
)
@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry"])
async def test_a_stored_version_is_not_dropped(
    tmp_path: Path, storage: tuple[str, ...], hint: str, *, dry_run: bool
) -> None:
    """And nothing else is written either: what would be refused is found before."""
    existing = {**crd("a", versions=storage), "status": {"storedVersions": ["v1alpha1", "v1"]}}
    cluster = FakeCrds(existing)
    crds = await run_crds(tmp_path, cluster, crd("a", name="gadgets.example.com"), crd("a"), policy="CreateReplace")
    with pytest.raises(KubeError) as raised:
        await (crds.preview() if dry_run else crds.apply())
    assert cluster.wrote == []
    assert raised.value.reason is Reason.OBJECT_INVALID
    assert raised.value.transient
    assert raised.value.message == (
        f"CRD {NAME} cannot be replaced: objects may be stored as v1alpha1, which the chart's CRD no longer has"
    )
    assert raised.value.hint == hint


async def test_a_crd_of_another_release_is_left(tmp_path: Path) -> None:
    marks = {"meta.helm.sh/release-name": "operators", "meta.helm.sh/release-namespace": "system"}
    cluster = FakeCrds(crd("a", annotations=marks))
    crds = await run_crds(tmp_path, cluster, crd("a", "b"), policy="CreateReplace")
    await crds.apply()
    assert cluster.wrote == []
    assert crds.owners == {NAME: "system/operators"}
    assert crds.run.journal.warnings == [
        (
            "CRDNotUpdated",
            f"CRD {NAME} was not updated because its ownership metadata names the release system/operators",
        )
    ]


async def test_a_crd_that_is_being_deleted_is_waited_for(tmp_path: Path) -> None:
    cluster = FakeCrds(crd("a", deletionTimestamp="2026-01-01T00:00:00Z"))
    for policy in ("Create", "CreateReplace"):
        with pytest.raises(KubeError, match="is being deleted") as raised:
            await (await run_crds(tmp_path / policy, cluster, crd("a"), policy=policy)).apply()
        assert raised.value.transient


async def test_a_change_in_the_meantime_is_read_again(tmp_path: Path) -> None:
    """The API server itself writes the status of a CRD some moments after each change."""
    cluster = FakeCrds(crd("a"))
    cluster.refusals = [KubeError("modified", reason=Reason.API_UNAVAILABLE, transient=True, status=409)] * 2
    await (await run_crds(tmp_path, cluster, crd("b"), policy="CreateReplace")).apply()
    assert cluster.wrote == [f"replace {NAME}"]


async def test_what_cannot_be_written_is_tried_again_by_the_next_phase(tmp_path: Path) -> None:
    cluster = FakeCrds()
    cluster.refusals = [KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)]
    crds = await run_crds(tmp_path, cluster, crd("a"))
    with pytest.raises(KubeError, match="no answer"):
        await crds.apply()
    await crds.apply()
    assert cluster.wrote == [f"create {NAME}"]


async def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    """It lets the API server validate the CRDs, and names what cannot be validated before they are written."""
    cluster = FakeCrds(crd("a"), crd("a", name="gadgets.example.com"))
    chart = (
        crd("a", "b", versions=("v1", "v2")),
        crd("a", name="gadgets.example.com"),
        crd("a", name="tools.example.com"),
    )
    crds = await run_crds(tmp_path, cluster, *chart, policy="CreateReplace")
    served = ("v1", "v2", "v1/Widget", "v2/Widget", "v1/Tool")
    assert await crds.preview() == Preview(
        frozenset({("example.com", "Widget"), ("example.com", "Tool")}),
        frozenset(f"example.com/{each}" for each in served),
    )
    assert sorted(cluster.wrote) == ["dry create tools.example.com", f"dry replace {NAME}"]
    assert cluster.served == []


async def test_other_objects_are_created_after_the_crds(tmp_path: Path) -> None:
    """As helm does on an install, in the release's namespace; what exists is left."""
    cluster = FakeCrds()
    others = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there}\n---\n"
    others += "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: new}\n"
    crds = await run_crds(tmp_path, cluster, others, crd("a"))
    objects = cast("Any", crds.run.objects)
    objects.objects["there"] = {"metadata": {"name": "there"}}

    async def collection_path(api_version: str, kind: str, *, namespace: str = "") -> str:
        return f"{api_version}/{namespace}/{kind}/"

    objects.collection_path = collection_path
    await crds.apply()
    assert cluster.wrote == [f"create {NAME}", "create example.com/v1/apps/Widget/new"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: {", "line 2"),
        ("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {}\n", "has no name"),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x}\nspec: 1\n",
            "form of a C",
        ),
    ],
)
async def test_what_is_no_crd_is_an_invalid_chart(tmp_path: Path, text: str, why: str) -> None:
    """Nothing that stands there is a defect of the operator. Of what has the form, the API server decides."""
    cluster = FakeCrds({**crd("a"), "metadata": {"name": "x"}})
    with pytest.raises(OperatorError, match=why) as raised:
        await (await run_crds(tmp_path, cluster, text, policy="CreateReplace")).apply()
    assert isinstance(raised.value, ChartError)
    assert "spec.crds: Skip" in (raised.value.hint or "")


async def test_the_number_of_objects_is_bounded(tmp_path: Path) -> None:
    """Each would cost a request."""
    cluster = FakeCrds()
    with pytest.raises(ChartError, match="more than 1000 objects"):
        await (await run_crds(tmp_path, cluster, "---\n".join([json.dumps(crd("a")) + "\n"] * 1001))).apply()
    assert cluster.read == []


async def test_a_crd_of_an_old_api_is_not_sent(tmp_path: Path) -> None:
    old = {**crd("a"), "apiVersion": "apiextensions.k8s.io/v1beta1"}
    with pytest.raises(KubeError, match="does not serve kind CustomResourceDefinition") as raised:
        await (await run_crds(tmp_path, FakeCrds(), old)).apply()
    assert raised.value.reason is Reason.KIND_MISSING


async def test_subcharts_are_left_to_helm(tmp_path: Path) -> None:
    """One process more, about a copy without templates."""
    cluster = cast("Any", FakeCrds())

    async def kube_version() -> str:
        return "v1.37.2"

    async def helm(arguments: list[str], **_: Any) -> Any:
        asked.append(arguments)
        return SimpleNamespace(exit_code=0, stdout=json.dumps(crd("a")).encode(), stderr="")

    asked: list[list[str]] = []
    cluster.kube_version = kube_version
    crds = await run_crds(tmp_path, cluster, crd("a"))
    chart = cast("Any", crds.run.sources).chart
    crds.run.sources.chart = Chart(
        chart.path,
        ChartMetadata("web", "1.0.0", None),
        "digest",
        late_hooks=False,
        ttl_jobs=False,
        crds=CrdFolders.SUBCHARTS,
    )
    services = cast("Any", crds.run.services)
    services.helm.run = helm

    class Copy:
        async def __aenter__(self) -> Path:
            return Path("copy")

        async def __aexit__(self, *_: object) -> None:
            return None

    services.charts.without_templates = lambda _: Copy()
    await crds.apply()
    assert [arguments[:3] for arguments in asked] == [["template", "web", "copy"]]
    assert cluster.wrote == [f"create {NAME}"]
