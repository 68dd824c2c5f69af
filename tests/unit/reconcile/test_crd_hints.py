"""Failures that the chart's own crds/ would prevent, in helm's and in the API server's words."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from managedchart_operator.api.spec import CrdPolicy
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crd_files import CrdObjects
from managedchart_operator.reconcile.crd_hints import Unknown, explain_crds, unknown_in
from managedchart_operator.reconcile.crds import RunCrds
from managedchart_operator.shortening import cut_middle

NAME = "widgets.example.com"
NO_KIND = (
    'unable to build kubernetes objects from release manifest: resource mapping not found for name: "a" namespace: "" from "": '
    'no matches for kind "Widget" in version "example.com/v1"\nensure CRDs are installed first'
)
NO_FIELD = (
    "server-side apply failed for object apps/a example.com/v1, Kind=Widget: failed to create typed patch object "
    "(apps/a; example.com/v1, Kind=Widget): .spec.colour: field not declared in schema"
)
NO_FIELDS = (
    "failed to create typed patch object (apps/a; example.com/v1, Kind=Widget): errors:\n"
    "  .spec.colour: field not declared in schema\n  .spec.ports[0].x: field not declared in schema\n"
    "failed to create typed patch object (apps/b; apps/v1, Kind=Deployment): .spec.z: field not declared in schema"
)
STRICT = (
    'cannot patch "a" with kind Widget: Widget in version "v1" cannot be handled as a Widget: strict decoding error: '
    'unknown field "spec.colour", unknown field "spec.b"'
)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        (NO_KIND, [Unknown("example.com", "v1", "Widget")]),
        (NO_FIELD, [Unknown("example.com", "v1", "Widget", ".spec.colour")]),
        (
            NO_FIELDS,
            [
                Unknown("example.com", "v1", "Widget", ".spec.colour"),
                Unknown("example.com", "v1", "Widget", ".spec.ports[0].x"),
                Unknown("apps", "v1", "Deployment", ".spec.z"),
            ],
        ),
        (STRICT, [Unknown(None, "v1", "Widget", ".spec.colour"), Unknown(None, "v1", "Widget", ".spec.b")]),
        ("anything else (apps/a; b)", []),
    ],
    ids=["kind", "field", "fields of two objects", "strict decoding", "none"],
)
def test_unknown_kinds_and_fields_are_read_from_the_error(text: str, unknown: list[Unknown]) -> None:
    assert list(unknown_in(text)) == unknown


def test_a_cut_in_the_text_makes_no_kind() -> None:
    """Otherwise a dry run takes what is left of two names for a kind that the chart does not bring."""
    names = ("Alertmanager", "PrometheusRule", "ServiceMonitor")
    text = "\n".join(f'no matches for kind "{name}" in version "monitoring.coreos.com/v1"' for name in names)
    for limit in range(60, len(text)):
        assert {each.kind for each in unknown_in(cut_middle(text, limit))} <= set(names)
        assert {each.api_version for each in unknown_in(cut_middle(text, limit))} <= {"monitoring.coreos.com/v1"}


def crd(*fields: str, version: str = "v1") -> dict[str, Any]:
    schema = {"properties": {"spec": {"properties": {field: {"type": "string"} for field in fields}}}}
    versions = [{"name": version, "schema": {"openAPIV3Schema": schema}}]
    return {"spec": {"group": "example.com", "names": {"kind": "Widget"}, "versions": versions}}


def crds_of(
    chart: dict[str, Any] | None, cluster: dict[str, Any] | None, policy: CrdPolicy, owner: str | None = None
) -> RunCrds:
    """The CRDs of a run, of which the chart's and the cluster's are given."""

    async def get(_: str) -> dict[str, Any] | None:
        return cluster

    async def whole() -> CrdObjects:
        return CrdObjects({NAME: chart} if chart else {})

    run = SimpleNamespace(spec=SimpleNamespace(crds=policy), objects=SimpleNamespace(crds=SimpleNamespace(get=get)))
    found = RunCrds(cast("Any", run), owners={NAME: owner} if owner else {})
    found.files = cast("Any", SimpleNamespace(whole=whole))
    return found


def error(text: str, reason: Reason) -> HelmError:
    return HelmError("message", reason=reason, transient=False, text=text, hint="the table's hint")


@pytest.mark.parametrize(
    ("text", "chart", "cluster", "policy", "begins"),
    [
        (NO_FIELD, crd("colour"), crd("size"), "Create", "Set spec.crds: CreateReplace"),
        (STRICT, crd("colour"), crd("size"), "Create", "Set spec.crds: CreateReplace"),
        (NO_FIELD, crd("colour"), crd("size"), "Skip", "Set spec.crds: CreateReplace"),
        (NO_FIELD, crd("size"), crd("size"), "Create", "the table's hint"),
        (NO_FIELD, crd("colour"), crd("colour"), "Create", "the table's hint"),
        (NO_FIELD, None, crd("size"), "Create", "the table's hint"),
        (NO_FIELD, crd("colour"), crd("size"), "CreateReplace", "the table's hint"),
        (NO_KIND, crd(), None, "Skip", "Set spec.crds: Create, or apply the CRD first"),
        (NO_KIND, crd(), None, "Create", "the table's hint"),
        (NO_KIND, crd(), crd(version="v1alpha1"), "Create", "Set spec.crds: CreateReplace"),
        (NO_KIND, crd(version="v2"), crd(version="v1alpha1"), "Create", "the table's hint"),
    ],
)
async def test_the_hint_names_the_way_out(
    text: str, chart: dict[str, Any] | None, cluster: dict[str, Any] | None, policy: str, begins: str
) -> None:
    failure = error(text, Reason.KIND_MISSING if text is NO_KIND else Reason.OBJECT_INVALID)
    await explain_crds(failure, crds_of(chart, cluster, CrdPolicy(policy)))
    assert failure.hint is not None
    assert failure.hint.startswith(begins)


async def test_a_crd_of_another_release_is_upgraded_there() -> None:
    failure = error(NO_FIELD, Reason.OBJECT_INVALID)
    await explain_crds(failure, crds_of(crd("colour"), crd("size"), CrdPolicy.CREATE_REPLACE, owner="apps/other"))
    assert failure.hint == (
        f"Upgrade the release apps/other, which owns the CRD: the CRD {NAME} in the cluster is older than the one in the"
        " chart's crds/ folder, which has the field .spec.colour."
    )


async def test_the_chart_is_not_read_for_other_failures() -> None:
    crds = cast("Any", SimpleNamespace())  # reading anything of it would fail
    for failure in (error(NO_FIELD, Reason.TIMEOUT), error("something else", Reason.OBJECT_INVALID)):
        await explain_crds(failure, crds)
        assert failure.hint == "the table's hint"


async def test_the_first_error_counts() -> None:
    crds = crds_of(crd("colour"), None, CrdPolicy.CREATE)

    async def whole() -> CrdObjects:
        raise KubeError("no answer", reason=Reason.API_UNAVAILABLE, transient=True, status=0)

    crds.files = cast("Any", SimpleNamespace(whole=whole))
    failure = error(NO_FIELD, Reason.OBJECT_INVALID)
    await explain_crds(failure, crds)
    assert failure.hint == "the table's hint"
