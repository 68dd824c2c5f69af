"""`label` sets and removes labels and annotations, of bounded many objects."""

from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import bench

KEEP = {"annotations": {"helm.sh/resource-policy": "keep"}, "labels": {"team": "a", "old": None}}
ONE: dict[str, Any] = {"label": {"kind": "ConfigMap", "name": "c0", **KEEP}}
ALL: dict[str, Any] = {"label": {"kind": "ConfigMap", "selector": {"matchLabels": {"app": "x"}}, **KEEP}}


def config(number: int, **labels: str) -> dict[str, Any]:
    meta = {"name": f"c{number}", "resourceVersion": "1", "labels": {"app": "x", **labels}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


async def test_changes_each_object_once() -> None:
    on = bench(cluster=stored(config(0, old="1"), config(1), config(2, app="y")))

    first = (await once(ALL, on=on)).message
    second = (await once(ALL, on=on)).message

    assert first == "Labelled ConfigMap apps/c0, ConfigMap apps/c1"
    assert second == "2 ConfigMap checked: nothing to change"
    found = on.cluster.objects[ObjectRef("v1", "ConfigMap", "c0", "apps")]["metadata"]
    assert found["labels"] == {"app": "x", "team": "a"}
    assert found["annotations"] == KEEP["annotations"]
    assert len(on.cluster.written) == 2


async def test_a_missing_object_is_named() -> None:
    with pytest.raises(LifecycleError, match="ConfigMap apps/c0 does not exist"):
        await once(ONE, on=bench())


async def test_none_of_too_many_is_changed() -> None:
    on = bench(cluster=stored(*map(config, range(101))))

    with pytest.raises(LifecycleError, match="101 ConfigMap match, more than the 100 that one action labels"):
        await once(ALL, on=on)

    assert on.cluster.written == []


async def test_a_dry_run_changes_nothing() -> None:
    on = bench(cluster=stored(config(0)))

    assert (await once(ONE, on=on, preview=True)).message == "Would label ConfigMap apps/c0"
    assert "annotations" not in on.cluster.objects[ObjectRef("v1", "ConfigMap", "c0", "apps")]["metadata"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "a"}, "name at least one label or annotation"),
        ({**KEEP}, "set exactly one of name and selector"),
        ({"selector": {}, **KEEP}, "the selector matches everything"),
        ({"name": "a", "labels": {"no key": "x"}}, "no key is not a key of Kubernetes"),
        ({"name": "a", "labels": {"team": "no value"}}, "label.labels.team"),
        ({"name": "a", "kind": "Certificate", **KEEP}, "add its apiVersion"),
    ],
)
async def test_refuses_before_anything_runs(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        await once({"label": {"kind": "ConfigMap", **fields}}, on=bench())
