"""`applyCRDs` applies CRDs, unless that would break their users."""

import copy
from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError, OperatorError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from unit.lifecycle.actions.stage import once
from unit.lifecycle.fakes import Bench, FakeCluster, bench

NAME = "widgets.example.com"
REF = ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", NAME)


def crd(*fields: str, versions: tuple[str, ...] = ("v1",), **metadata: Any) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in fields}
    schema = {
        "openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    }
    return {
        "apiVersion": REF.api_version,
        "kind": REF.kind,
        "metadata": {"name": NAME, **metadata},
        "spec": {
            "scope": "Namespaced",
            "versions": [{"name": name, "served": True, "storage": True, "schema": schema} for name in versions],
        },
    }


def on_cluster(existing: dict[str, Any] | None, *of_chart: dict[str, Any]) -> Bench:
    objects = {REF: {**copy.deepcopy(existing), "status": {"storedVersions": ["v1"]}}} if existing else {}
    on = bench(cluster=FakeCluster(objects))
    on.extras.of_chart = list(of_chart)
    return on


async def test_applies_what_is_in_the_chart_and_waits() -> None:
    """Helm would not find the new kind otherwise: it remembers for hours what the cluster serves."""
    on = on_cluster(None, crd("size"))

    done = await once({"applyCRDs": {}}, on=on)

    assert done.message == f"Applied CRD {NAME}"
    (ref, body, query) = on.cluster.applied[0]
    assert (ref, query["fieldManager"], query["force"]) == (REF, "managedchart-action", "true")
    assert body["metadata"]["labels"] == {"managedchart.dev/owner": "u1"}, "deleteCRDs knows by it who brought the CRD"
    assert on.cluster.crds.served == [NAME]
    assert on.extras.forgotten == 1


async def test_a_crd_of_others_stays_theirs() -> None:
    on = on_cluster(crd("size"), crd("size", "mode"))

    await once({"applyCRDs": {}}, on=on)

    assert on.cluster.applied[0][1]["metadata"]["labels"] == {}


async def test_strict_names_the_field() -> None:
    on = on_cluster(crd("size", "mode"), crd("size"))

    with pytest.raises(LifecycleError) as caught:
        await once({"applyCRDs": {}}, on=on)

    assert caught.value.message == f"safety: Strict refuses CRD {NAME}: .spec.mode (v1): the field is removed"
    assert on.cluster.applied == []


async def test_nothing_is_applied_if_one_is_refused() -> None:
    other = {**crd("a"), "metadata": {"name": "gadgets.example.com"}}
    on = on_cluster(crd("size", "mode"), other, crd("size"))

    with pytest.raises(LifecycleError):
        await once({"applyCRDs": {}}, on=on)

    assert on.cluster.applied == []


async def test_weaker_safety_warns_of_lost_fields() -> None:
    on = on_cluster(crd("size", "mode"), crd("size"))

    await once({"applyCRDs": {"safety": "StoredVersions"}}, on=on)

    assert on.recorder.warnings == [
        ("CRDFieldsLost", f"CRD {NAME} lacks what the one in the cluster has: .spec.mode (v1)")
    ]


@pytest.mark.parametrize("safety", ["Strict", "StoredVersions"])
async def test_a_stored_version_is_never_removed(safety: str) -> None:
    on = on_cluster(crd("size"), crd("size", versions=("v2",)))

    with pytest.raises(LifecycleError, match="version v1 is removed"):
        await once({"applyCRDs": {"safety": safety}}, on=on)


async def test_a_crd_of_another_release_is_refused() -> None:
    marks = {"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": "apps"}
    on = on_cluster(crd("size", annotations=marks), crd("size"))

    with pytest.raises(LifecycleError, match=f"CRD {NAME} names the release apps/other"):
        await once({"applyCRDs": {"safety": "None"}}, on=on)


async def test_a_dry_run_writes_nothing() -> None:
    on = on_cluster(None)

    done = await once({"applyCRDs": {"manifests": [crd("size")]}}, on=on, preview=True)

    assert done.message == f"Would apply CRD {NAME}"
    assert on.cluster.applied[0][2]["dryRun"] == "All"
    assert on.cluster.objects == {}


async def test_applies_other_files_of_the_chart() -> None:
    on = on_cluster(None)
    on.context.facts.files = {"files/*.yaml": [crd("size")], "all/*": [{"kind": "ConfigMap", "apiVersion": "v1"}]}  # type: ignore[attr-defined]

    assert (await once({"applyCRDs": {"fromChart": "files/*.yaml"}}, on=on)).message == f"Applied CRD {NAME}"
    with pytest.raises(LifecycleError, match=r"What is in all/\* of the chart is not a CRD"):
        await once({"applyCRDs": {"fromChart": "all/*"}}, on=on)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ({"manifests": [crd()], "fromChart": "crds/*"}, "set fromChart or manifests, not both"),
        ({"manifests": [{"kind": "Namespace", "apiVersion": "v1"}]}, "write a CustomResourceDefinition"),
        ({"manifests": [{**crd(), "metadata": {}}]}, "it has no metadata.name"),
        ({"manifests": [{**crd(), "spec": {}}]}, "it has no spec.versions"),
    ],
)
async def test_wrong_input_is_named(verb: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        await once({"applyCRDs": verb}, on=bench())


async def test_a_crd_without_the_form_of_one_is_no_defect() -> None:
    broken = crd("size")
    broken["spec"]["versions"] = [17]
    on = on_cluster(crd("size"), broken)

    with pytest.raises(OperatorError, match="does not have the form"):
        await once({"applyCRDs": {}}, on=on)
