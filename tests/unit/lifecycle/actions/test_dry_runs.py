"""A dry run knows which kinds an earlier part of the run would bring."""

from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.discovery import not_served
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.context import Operation
from unit.lifecycle.actions.stage import run
from unit.lifecycle.fakes import Bench, FakeCluster, bench

API_VERSION = "example.com/v1"


class WithoutWidgets(FakeCluster):
    """A cluster that serves no kind Widget."""

    async def namespaced(self, api_version: str, kind: str) -> bool:
        if kind == "Widget":
            raise not_served(api_version, kind)
        return await super().namespaced(api_version, kind)

    async def served_version(self, api_version: str, kind: str) -> str | None:
        assert (api_version, kind) == (API_VERSION, "Widget")

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        await self.namespaced(ref.api_version, ref.kind)
        return await super().get(ref)


def crd(scope: str = "Namespaced") -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": scope,
            "names": {"kind": "Widget"},
            "versions": [{"name": "v1", "served": True}],
        },
    }


def dry() -> Bench:
    return bench(cluster=WithoutWidgets(), operation=Operation.DRY_RUN)


APPLY: dict[str, Any] = {
    "apply": {"manifest": {"apiVersion": API_VERSION, "kind": "Widget", "metadata": {"name": "w"}}}
}
EXISTS = {"exists": {"apiVersion": API_VERSION, "kind": "Widget", "name": "w"}}
PATCH = {"patch": {"apiVersion": API_VERSION, "kind": "Widget", "name": "w", "merge": {"spec": {}}}}


def messages(on: Bench) -> dict[str, str | None]:
    return {name: each.message for name, each in on.recorder.actions.items()}


@pytest.mark.parametrize(("scope", "name"), [("Namespaced", "apps/w"), ("Cluster", "w")])
async def test_objects_of_a_kind_that_an_action_brings_pass(scope: str, name: str) -> None:
    on = dry()
    await run({"applyCRDs": {"manifests": [crd(scope)]}}, APPLY, EXISTS, PATCH, phase=Phase.PRE_EXEC, on=on)

    assert messages(on) == {
        "a0": "Would apply CRD widgets.example.com",
        "a1": f"Would apply Widget {name} (action a0 applies its CRD first)",
        "a2": "Cannot check objects of kind Widget in a dry run: action a0 applies its CRD first",
        "a3": "Cannot tell what it would do with objects of kind Widget in a dry run: action a0 applies its CRD first",
    }
    assert on.cluster.objects == {}


async def test_many_objects_of_such_a_kind_are_counted() -> None:
    on = dry()
    on.extras.coming.add([crd()], reason="the chart brings its CRD")
    widgets = [{**APPLY["apply"]["manifest"], "metadata": {"name": f"w{number}"}} for number in range(7)]
    on.context.facts.files["files/*.yaml"] = widgets  # type: ignore[attr-defined]
    await run({"apply": {"fromChart": "files/*.yaml"}}, on=on)

    names = ", ".join(f"Widget apps/w{number}" for number in range(5))
    assert messages(on) == {"a0": f"Would apply {names} and 2 more (the chart brings its CRD)"}


async def test_it_is_known_in_later_phases() -> None:
    on = dry()
    await run({"applyCRDs": {"manifests": [crd()]}}, phase=Phase.PRE_EXEC, on=on)
    await run(APPLY, on=on)

    assert messages(on)["a0"] == "Would apply Widget apps/w (action a0 applies its CRD first)"


async def test_the_kinds_of_the_chart_are_known_after_exec() -> None:
    on = dry()
    on.extras.coming.add([crd()], reason="the chart brings its CRD")
    await run(APPLY, on=on)

    assert messages(on) == {"a0": "Would apply Widget apps/w (the chart brings its CRD)"}


async def test_a_kind_that_nobody_brings_is_missing() -> None:
    """As in the real run."""
    with pytest.raises(LifecycleError, match=r"does not serve kind Widget of example\.com/v1"):
        await run(EXISTS, {"applyCRDs": {"manifests": [crd()]}}, phase=Phase.PRE_EXEC, on=dry())
