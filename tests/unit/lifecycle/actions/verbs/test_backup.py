"""`backup` saves objects around an upgrade, and `restore` creates them again."""

import base64
import gzip
import json
import resource
from dataclasses import replace
from typing import Any

import pytest

from managedchart_operator.api.status import Phase
from managedchart_operator.errors import KubeError, LifecycleError, SpecError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.actions import backups
from managedchart_operator.lifecycle.actions.reading import read_actions
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.actions.verbs import restore
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once, stored
from unit.lifecycle.fakes import CHART, Bench, FakeCluster, bench

SECRET = ObjectRef("v1", "Secret", "managedchart-backup-it", "apps")
BACKUP = {"backup": {"objects": [{"kind": "ConfigMap", "selector": {"matchLabels": {"app": "a"}}}]}}
RESTORE = {"restore": {"from": "it"}}


def config(name: str, text: str = "x", **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": "5", "labels": {"app": "a"}, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": text}, "status": {"b": 1}}


def ref(name: str) -> ObjectRef:
    return ObjectRef("v1", "ConfigMap", name, "apps")


def again(cluster: FakeCluster, stamp: str) -> Bench:
    return bench(cluster=cluster, stamp=stamp)


async def test_what_an_upgrade_deletes_is_restored() -> None:
    on = bench(cluster=stored(config("a"), config("b", "y")))
    saved = await once(BACKUP, on=on)
    del on.cluster.objects[ref("a")]

    done = await once(RESTORE, on=on)

    assert saved.message == f"Saved 2 objects in {SECRET}"
    assert done.message == f"Restored 1 of 2 objects from {SECRET}"
    assert on.cluster.objects[ref("a")] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "apps", "labels": {"app": "a"}, "resourceVersion": "1"},
        "data": {"a": "x"},
    }
    assert SECRET not in on.cluster.objects, "it has done its work"


async def test_a_profile_saves_for_several_releases_of_a_namespace() -> None:
    """Their authors cannot give its action another name."""
    actions = await read_actions([{"name": "it", "phase": "PreExec", **BACKUP}])
    cluster = stored(config("a"))
    for uid in ("u1", "u2"):
        on = bench(cluster=cluster)
        context = replace(on.context, chart=replace(CHART, uid=uid))
        await run_actions([BoundAction(actions[0], "profile/p")], Phase.PRE_EXEC, context, {})

    assert len([each for each in cluster.objects if each.kind == "Secret"]) == 2


async def test_the_secret_belongs_to_the_managedchart() -> None:
    on = bench(cluster=stored(config("a")))

    await once(BACKUP, on=on)

    metadata = on.cluster.objects[SECRET]["metadata"]
    assert metadata["labels"] == {"managedchart.dev/owner": "u1"}
    assert metadata["ownerReferences"][0]["uid"] == "u1"


async def test_a_repeated_run_keeps_the_backup() -> None:
    """The upgrade may have destroyed the objects before the operator was killed."""
    on = bench(cluster=stored(config("a")))
    await once(BACKUP, on=on)
    del on.cluster.objects[ref("a")]

    done = await once(BACKUP, on=on)
    await once(RESTORE, on=on)

    assert done.message == f"1 objects were saved in {SECRET} for this change already"
    assert ref("a") in on.cluster.objects


async def test_a_backup_of_a_profile_is_not_that_of_the_spec() -> None:
    """A tenant could save less under its name before it, and the profile's would be done for this change already."""
    on = bench(cluster=stored(config("a")))
    actions = await read_actions([{"name": "it", "phase": "PreExec", **BACKUP}])
    for origin in ("spec", "profile/p", "profile/q"):
        await run_actions([BoundAction(actions[0], origin)], Phase.PRE_EXEC, on.context, {})

    saved = [each for each in on.cluster.objects if each.kind == "Secret"]
    assert len(saved) == 3
    assert SECRET in saved
    assert all(each.name.startswith(SECRET.name) for each in saved)


async def test_the_retry_of_a_failed_upgrade_forgets_nothing() -> None:
    """It follows another revision, so it is another change; what was deleted meanwhile stays saved."""
    on = bench(cluster=stored(config("a"), config("b", "old")))
    await once(BACKUP, on=on)
    del on.cluster.objects[ref("a")]
    on.cluster.objects[ref("b")]["data"]["a"] = "new"

    await once(BACKUP, on=again(on.cluster, "a2"))
    await once({"restore": {"from": "it", "missingOnly": False}}, on=on)

    assert on.cluster.objects[ref("a")]["data"] == {"a": "x"}
    assert on.cluster.objects[ref("b")]["data"] == {"a": "new"}


async def test_what_a_controller_makes_is_not_saved() -> None:
    owned = config("a", ownerReferences=[{"controller": True}])

    done = await once(BACKUP, on=bench(cluster=stored(owned, config("b", deletionTimestamp="now"))))

    assert done.message == f"Saved 0 objects in {SECRET}"


async def test_a_secret_of_others_is_not_touched() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET.name}, "data": {}}
    on = bench(cluster=stored(config("a"), secret))

    for verb in (BACKUP, RESTORE):
        with pytest.raises(LifecycleError, match="is not a backup of this ManagedChart"):
            await once(verb, on=on)

    assert on.cluster.applied == []


async def test_a_secret_that_others_create_meanwhile_is_not_touched() -> None:
    """Neither one that is there when the first backup is saved, nor one that has replaced an earlier one."""

    class Late(FakeCluster):
        async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
            return None if ref == SECRET else await super().get(ref)

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET.name}, "data": {}}
    late = bench(cluster=Late(stored(config("a"), secret).objects))
    with pytest.raises(LifecycleError, match="was created by somebody else in the meantime"):
        await once(BACKUP, on=late)
    assert late.cluster.applied == []

    on = bench(cluster=stored(config("a")))
    await once(BACKUP, on=on)
    uid = on.cluster.objects[SECRET]["metadata"]["uid"]
    await once(BACKUP, on=again(on.cluster, "a2"))
    assert on.cluster.applied[-1][1]["metadata"]["uid"] == uid, "the API server refuses it for another Secret"


async def test_what_is_saved_is_in_no_message() -> None:
    """The API server repeats a part of what it cannot read."""

    class Repeating(FakeCluster):
        def _created(self, ref: ObjectRef, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any] | None:
            assert ref == SECRET
            assert query
            answer = f"Secret in version v1 cannot be handled: {body['data']['objects.json.gz']}"
            raise KubeError("no", reason=Reason.OBJECT_INVALID, transient=False, status=400, answer=answer)

    with pytest.raises(LifecycleError) as caught:
        await once(BACKUP, on=bench(cluster=Repeating(stored(config("a")).objects)))

    assert caught.value.message.endswith("cannot be handled: ***")


async def test_a_damaged_backup_is_reported() -> None:
    on = bench(cluster=stored(config("a")))
    await once(BACKUP, on=on)
    on.cluster.objects[SECRET]["data"] = {"objects.json.gz": "AAAA"}

    with pytest.raises(LifecycleError, match="cannot be read as a backup"):
        await once(RESTORE, on=on)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"{}," * 5_000_000 + b"{}]",
        b"[" * 1_000_000,
        json.dumps([config("a", many=[[]] * 300_000)]).encode(),
        json.dumps([config("a")] * 201).encode(),
    ],
    ids=["empty objects", "deep", "many lists in one object", "many objects"],
)
async def test_a_forged_backup_does_not_fill_the_memory(text: bytes) -> None:
    """Some KiB that whoever may write the Secret can make of it took 700 MiB of the operator's memory."""
    on = bench(cluster=stored(config("a")))
    await once(BACKUP, on=on)
    on.cluster.objects[SECRET]["data"] = {"objects.json.gz": base64.b64encode(gzip.compress(text)).decode()}
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(LifecycleError, match="cannot be read as a backup"):
        await once(RESTORE, on=on)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own < 64 * 1024


async def test_what_could_not_be_read_again_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compresses to little, so the Secret has room for it; the upgrade would delete the objects afterwards."""
    monkeypatch.setattr(backups, "MAX_UNPACKED", 1024)
    on = bench(cluster=stored(config("a", "x" * 2000)))

    with pytest.raises(LifecycleError, match="The objects to save have"):
        await once(BACKUP, on=on)

    assert on.cluster.applied == []


async def test_too_much_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "MAX_OBJECTS", 1)
    on = bench(cluster=stored(config("a"), config("b")))

    with pytest.raises(LifecycleError, match="There are 2 objects to save, more than 1"):
        await once(BACKUP, on=on)

    assert on.cluster.applied == []


async def test_restore_waits_for_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after an upgrade nobody answers for the new pods."""
    monkeypatch.setattr(restore, "_POLL_SECONDS", 0.0)
    on = bench(cluster=stored(config("a")))
    await once(BACKUP, on=on)
    del on.cluster.objects[ref("a")]
    refusals = [KubeError("no answer", reason=Reason.WEBHOOK_UNAVAILABLE, transient=True, status=500)] * 2

    class Unready(dict[ObjectRef, KubeError]):
        def __contains__(self, key: object) -> bool:
            return key == ref("a") and bool(refusals)

        def __getitem__(self, key: ObjectRef) -> KubeError:
            return refusals.pop()

    on.cluster.refuses = Unready()

    await once(RESTORE, on=on)

    assert refusals == []
    assert ref("a") in on.cluster.objects


async def test_a_large_backup_is_restored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than one part is held while an object waits for a webhook."""
    monkeypatch.setattr(restore, "PART_BYTES", 1)
    on = bench(cluster=stored(*(config(name) for name in "abc")))
    await once(BACKUP, on=on)
    for name in "abc":
        del on.cluster.objects[ref(name)]

    done = await once(RESTORE, on=on)

    assert done.message == f"Restored 3 of 3 objects from {SECRET}"
    assert all(ref(name) in on.cluster.objects for name in "abc")


async def test_a_backup_that_is_changed_meanwhile_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "PART_BYTES", 1)

    class Vanishing(FakeCluster):
        """The Secret is deleted as soon as something was restored."""

        async def request(self, method: str, path: str, **options: Any) -> Any:
            if "apply" in options.get("content_type", "") and self.paths[path] == ref("a"):
                self.objects.pop(SECRET)
            return await super().request(method, path, **options)

    cluster = Vanishing(stored(config("a"), config("b")).objects)
    on = bench(cluster=cluster)
    await once(BACKUP, on=on)
    del on.cluster.objects[ref("a")]

    with pytest.raises(LifecycleError, match="was changed while its objects were restored"):
        await once(RESTORE, on=on)


async def test_a_refused_object_keeps_the_backup() -> None:
    on = bench(cluster=stored(config("a")))
    await once(BACKUP, on=on)
    del on.cluster.objects[ref("a")]
    on.cluster.refuses = {ref("a"): KubeError("invalid", reason=Reason.OBJECT_INVALID, transient=False, status=422)}

    with pytest.raises(KubeError, match="invalid"):
        await once(RESTORE, on=on)

    assert SECRET in on.cluster.objects


async def test_without_a_backup_nothing_is_restored() -> None:
    assert (await once(RESTORE, on=bench())).message == f"Nothing is saved in {SECRET}"


async def test_a_dry_run_changes_nothing() -> None:
    on = bench(cluster=stored(config("a")))

    assert (await once(BACKUP, on=on, preview=True)).message == f"Would save 1 objects in {SECRET}"
    assert on.cluster.applied == []


async def test_the_objects_of_all_namespaces_are_saved() -> None:
    """Each is restored where it was."""
    on = bench(cluster=stored(config("a"), config("b", namespace="team")))
    everywhere = {"kind": "ConfigMap", "namespace": "*", "selector": {"matchLabels": {"app": "a"}}}

    saved = await once({"backup": {"objects": [everywhere]}}, on=on)
    del on.cluster.objects[ObjectRef("v1", "ConfigMap", "b", "team")]
    done = await once(RESTORE, on=on)

    assert saved.message == f"Saved 2 objects in {SECRET}"
    assert done.message == f"Restored 1 of 2 objects from {SECRET}"
    assert ObjectRef("v1", "ConfigMap", "b", "team") in on.cluster.objects


async def test_one_name_is_in_one_namespace() -> None:
    with pytest.raises(SpecError, match='namespace "\\*" goes with selector'):
        await once({"backup": {"objects": [{"kind": "ConfigMap", "name": "a", "namespace": "*"}]}}, on=bench())
