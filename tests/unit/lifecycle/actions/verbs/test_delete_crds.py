"""`deleteCRDs` deletes the CRDs that the release brought, and no others."""

from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.verbs.delete_crds import DeleteCrds
from managedchart_operator.lifecycle.context import ChartCrds, Operation
from unit.lifecycle.actions.stage import once
from unit.lifecycle.fakes import Bench, FakeCluster, bench

MARKS = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "apps"},
}
FOREIGN = {"annotations": {"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": "apps"}}


def on_cluster(**crds: dict[str, Any]) -> Bench:
    """Return a context with CRDs of example.com, by their plural names."""
    kind = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    objects = {
        ObjectRef(*kind, f"{plural}.example.com"): {"metadata": {"name": f"{plural}.example.com", **metadata}}
        for plural, metadata in crds.items()
    }
    on = bench(cluster=FakeCluster(objects))
    on.extras.installed = ChartCrds(frozenset({"widgets.example.com"}))
    return on


async def delete(on: Bench, *, preview: bool = False, **verb: Any) -> str:
    verb = {"deleteCRDs": {"confirmDataLoss": True, **(verb or {"group": "example.com"})}}
    return (await once(verb, on=on, phase=Phase.POST_DELETE, preview=preview)).message


async def test_deletes_what_the_release_brought() -> None:
    """From crds/ of the chart, from its templates, or by an action."""
    on = on_cluster(widgets={}, marked=MARKS, applied={"labels": {"managedchart.dev/owner": "u1"}}, others={})

    message = await delete(on)

    assert [ref.name.partition(".")[0] for ref in on.cluster.deleted] == ["applied", "marked", "widgets"]
    assert message.endswith("Kept CRD others.example.com, because the release did not bring them")


async def test_keeps_what_names_another_release() -> None:
    on = on_cluster(widgets=FOREIGN)

    assert "names the release apps/other" in await delete(on)
    assert on.cluster.deleted == []


async def test_a_release_of_others_loses_nothing() -> None:
    on = on_cluster(widgets={})
    on.extras.installed = None

    assert "this ManagedChart has not deployed the release" in await delete(on)
    assert on.cluster.deleted == []


async def test_in_doubt_a_crd_stays() -> None:
    on = on_cluster(others={})
    on.extras.installed = ChartCrds(incomplete="no such chart")

    assert "unknown whether the installed chart has them: no such chart" in await delete(on)
    assert on.cluster.deleted == []


async def test_anyone_deletes_exactly_the_named() -> None:
    on = on_cluster(widgets=FOREIGN, others={}, leaving={"deletionTimestamp": "2026-01-01T00:00:00Z"})

    message = await delete(on, names=["widgets.example.com", "leaving.example.com"], onlyOf="Anyone")

    assert message == "Deleted CRD widgets.example.com"


async def test_a_dry_run_deletes_nothing() -> None:
    on = on_cluster(widgets={})

    assert await delete(on, preview=True) == "Would delete CRD widgets.example.com"
    assert on.cluster.deleted == []


async def test_nothing_to_delete_is_no_error() -> None:
    assert await delete(on_cluster()) == "There are no such CRDs"


async def test_the_crds_are_noted_before_the_uninstall() -> None:
    """Afterwards the release Secret, which says what the chart had, does not exist."""
    asked = []
    on = bench(operation=Operation.UNINSTALL)
    on.extras.installed_crds = lambda: _noted(asked)  # type: ignore[method-assign]
    verb = DeleteCrds.model_validate({"group": "example.com", "confirmDataLoss": True})

    await verb.before_exec(on.context)

    assert asked == [True]


async def _noted(asked: list[bool]) -> None:
    asked.append(True)


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ({"group": "example.com"}, "confirmDataLoss: this field is required"),
        ({"group": "example.com", "confirmDataLoss": False}, "set confirmDataLoss: true"),
        ({"confirmDataLoss": True}, "set exactly one of names and group"),
        (
            {"confirmDataLoss": True, "names": ["a.example.com"], "group": "example.com"},
            "set exactly one of names and group",
        ),
    ],
)
async def test_wrong_input_is_named(verb: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        await once({"deleteCRDs": verb}, on=bench(), phase=Phase.POST_DELETE)


async def test_only_while_the_release_is_removed() -> None:
    with pytest.raises(SpecError, match="deleteCRDs cannot be in phase PreExec"):
        await once({"deleteCRDs": {"group": "example.com", "confirmDataLoss": True}}, on=bench(), phase=Phase.PRE_EXEC)
