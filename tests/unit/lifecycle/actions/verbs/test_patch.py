"""`patch` changes one object, and does nothing where there is nothing to change: a repeated run must not do it twice."""

from typing import Any

import pytest

from managedchart_operator.errors import KubeError, LifecycleError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions.patching import merged, patched
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import Bench, FakeCluster, bench

CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "resourceVersion": "1", "finalizers": ["x"]},
    "data": {"old": "1", "kept": "2"},
}
REF = ObjectRef("v1", "ConfigMap", "a", "apps")
MERGE = {"merge": {"data": {"old": None, "new": "3"}}}
APPEND = {
    "json": [
        {"op": "test", "path": "/metadata/finalizers", "value": ["x"]},
        {"op": "add", "path": "/metadata/finalizers/-", "value": "y"},
    ]
}


def there() -> Bench:
    return bench(cluster=stored(CONFIG))


def patch(**how: Any) -> dict[str, Any]:
    return {"patch": {"kind": "ConfigMap", "name": "a", **how}}


async def test_a_merge_is_sent_once() -> None:
    on = there()

    first = (await once(patch(**MERGE), on=on)).message
    second = (await once(patch(**MERGE), on=on)).message

    assert (first, second) == ("Patched ConfigMap apps/a", "ConfigMap apps/a is as the patch makes it already")
    assert on.cluster.objects[REF]["data"] == {"kept": "2", "new": "3"}
    assert len(on.cluster.written) == 1
    assert on.cluster.written[0][2] == {"fieldManager": "managedchart-action", "fieldValidation": "Strict"}


async def test_a_guarded_append_happens_once() -> None:
    on = there()

    await once(patch(**APPEND), on=on)
    again = await once(patch(**APPEND), on=on)

    assert on.cluster.objects[REF]["metadata"]["finalizers"] == ["x", "y"]
    assert again.message == "Left ConfigMap apps/a as it is: the test of /metadata/finalizers does not hold"


async def test_what_is_removed_already_is_no_error() -> None:
    on = there()
    operations = {"json": [{"op": "remove", "path": "/data/old"}]}

    await once(patch(**operations), on=on)
    again = await once(patch(**operations), on=on)

    assert on.cluster.objects[REF]["data"] == {"kept": "2"}
    assert again.message == "ConfigMap apps/a is as the patch makes it already"


async def test_null_is_a_value_of_a_json_patch() -> None:
    on = there()

    await once(patch(json=[{"op": "add", "path": "/data/a~1b", "value": None}]), on=on)

    assert on.cluster.objects[REF]["data"]["a/b"] is None


class Busy(FakeCluster):
    """Somebody else changes the object once, between the read and the patch."""

    busy = True

    async def request(self, method: str, path: str, **options: Any) -> Any:
        if self.busy:
            self.busy = False
            meta = {**self.objects[REF]["metadata"], "resourceVersion": "5", "finalizers": ["x", "z"]}
            self.objects[REF] = {**CONFIG, "metadata": meta}
        return await super().request(method, path, **options)


async def test_a_change_meanwhile_is_taken_into_account() -> None:
    """The test of the patch was evaluated for another state of the object."""
    on = bench(cluster=Busy(there().cluster.objects))

    done = await once(patch(**APPEND), on=on)

    assert done.message.startswith("Left ConfigMap apps/a as it is")
    assert on.cluster.objects[REF]["metadata"]["finalizers"] == ["x", "z"]


async def test_a_refusal_names_the_object_and_no_secret() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {}}
    on = bench(cluster=stored(secret))
    on.cluster.refuses[ObjectRef("v1", "Secret", "a", "apps")] = KubeError(
        "", reason=Reason.OBJECT_INVALID, transient=False, status=422, answer="no room for c2VjcmV0LXZhbHVl"
    )

    with pytest.raises(LifecycleError, match="The API server refuses Secret apps/a: no room") as raised:
        await once({"patch": {"kind": "Secret", "name": "a", "merge": {"data": {"t": "c2VjcmV0LXZhbHVl"}}}}, on=on)

    assert "c2VjcmV0" not in raised.value.message


async def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(LifecycleError, match="replace of /data/absent: the object has no such place"):
        await once(patch(json=[{"op": "replace", "path": "/data/absent", "value": "1"}]), on=there())


async def test_a_missing_object_is_named() -> None:
    with pytest.raises(LifecycleError, match="ConfigMap apps/a does not exist"):
        await once(patch(**MERGE), on=bench())


async def test_a_dry_run_changes_nothing() -> None:
    on = there()

    assert (await once(patch(**MERGE), on=on, preview=True)).message == "Would patch ConfigMap apps/a"
    assert on.cluster.objects[REF]["data"] == CONFIG["data"]
    assert (await once(patch(**MERGE), on=bench(), preview=True)).message == "ConfigMap apps/a does not exist yet"


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({}, "set exactly one of merge and json"),
        ({**MERGE, **APPEND}, "set exactly one of merge and json"),
        ({"merge": {}}, "the patch is empty"),
        ({"json": [{"op": "add", "path": "/a/-", "value": 1}]}, r"json\[0\]: add of /a/- changes the list each time"),
        ({"json": [{"op": "remove", "path": "/a/0"}]}, r"json\[0\]: remove of /a/0 changes the list each time"),
        ({"json": [{"op": "add", "path": "/a"}]}, "add needs a value"),
        ({"json": [{"op": "remove", "path": "/a", "value": 1}]}, "a remove has no value"),
        ({"json": [{"op": "move", "path": "/a"}]}, r"patch.json\[0\].op: "),
        ({"json": [{"op": "remove", "path": "spec"}]}, r"patch.json\[0\].path: "),
        ({"json": [{"op": "remove", "path": "/a", "from": "/b"}]}, "from: there is no such field"),
        ({"kind": "CustomResourceDefinition", **MERGE}, "changed by the verb applyCRDs"),
    ],
)
async def test_refuses_before_anything_runs(how: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        await once(patch(**how), on=bench())


def test_merges_as_the_rfc_says() -> None:
    """The cases of RFC 7386, appendix A, that concern objects."""
    assert merged({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merged({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merged({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merged({"a": "foo"}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}
    assert merged({"e": None}, {"a": 1}) == {"e": None, "a": 1}


def test_patches_lists_as_the_rfc_says() -> None:
    """RFC 6902, appendix A.2, A.4 and A.16, and a value that the patch does not share with the object."""
    value = {"deep": [1]}
    operations = [
        {"op": "add", "path": "/a/1", "value": "new"},
        {"op": "remove", "path": "/a/0"},
        {"op": "add", "path": "/a/-", "value": value},
        {"op": "add", "path": "/a/2/deep/-", "value": 2},
    ]

    result, kept = patched({"a": ["x", "y"]}, operations)

    assert result == {"a": ["new", "y", {"deep": [1, 2]}]}
    assert kept == operations
    assert value == {"deep": [1]}
