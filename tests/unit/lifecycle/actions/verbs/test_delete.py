"""`delete` deletes what was looked at, never more than was allowed, and no data without consent."""

from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError, OperatorError, SpecError
from managedchart_operator.lifecycle.actions.verbs import delete as verb
from unit.lifecycle.actions.stage import once, run, stored
from unit.lifecycle.fakes import FakeCluster, bench

SELECTOR = {"selector": {"matchLabels": {"app": "x"}}}
CRASHING = {"delete": {"kind": "Pod", **SELECTOR, "max": 10, "when": {"crashLooping": True}}}
ALL = {"delete": {"kind": "Pod", **SELECTOR, "max": 3}}
STATEFUL = {"delete": {"kind": "StatefulSet", "name": "db"}}


def pod(number: int, *, restarts: int = 0, reason: str = "", uid: str = "", **meta: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason}} if reason else {"running": {}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"p{number}",
            "uid": uid or f"u{number}",
            "resourceVersion": "1",
            "labels": {"app": "x"},
            **meta,
        },
        "status": {"containerStatuses": [{"restartCount": restarts, "state": state}]},
    }


CRASHED = {"restarts": 5, "reason": "CrashLoopBackOff"}


async def test_deletes_only_pods_that_crash_again_and_again() -> None:
    on = bench(
        cluster=stored(
            pod(0, **CRASHED),
            pod(1),
            pod(2, restarts=4, reason="CrashLoopBackOff"),
            pod(3, restarts=9, reason="ImagePullBackOff"),
        )
    )

    done = await once(CRASHING, on=on)
    again = await once(CRASHING, on=on)

    assert done.message == "Deleted Pod apps/p0"
    assert done.output == {"count": 1}
    assert again.message == "No Pod to delete"


async def test_a_crashing_init_container_counts() -> None:
    status = pod(0, **CRASHED)["status"]["containerStatuses"]

    assert verb.crash_looping({"status": {"initContainerStatuses": status}})
    assert not verb.crash_looping({})


async def test_nothing_is_deleted_where_too_much_matches() -> None:
    on = bench(cluster=stored(*map(pod, range(4))))

    with pytest.raises(LifecycleError) as raised:
        await once(ALL, on=on)

    assert raised.value.message == "4 Pod match, more than max: 3; nothing was deleted"
    assert raised.value.hint == "Write a narrower selector, or set max to 4."
    assert on.cluster.deleted == []


async def test_an_expression_chooses() -> None:
    on = bench(cluster=stored(pod(0, **CRASHED), pod(1)))
    verb = {
        "delete": {**ALL["delete"], "when": {"expr": "object.status.containerStatuses.all(c, c.restartCount == 0)"}}
    }

    assert (await once(verb, on=on)).message == "Deleted Pod apps/p1"


class Replacing(FakeCluster):
    """The controller has replaced the pods when they are to be deleted; the new ones have the same names."""

    async def request(self, method: str, path: str, **options: Any) -> Any:
        ref = self.paths[path]
        if self.objects[ref]["metadata"]["uid"].startswith("u"):
            self.objects[ref]["metadata"] |= {"uid": f"new-{ref.name}", "resourceVersion": "2"}
        return await super().request(method, path, **options)


async def test_what_was_recreated_meanwhile_stays() -> None:
    on = bench(cluster=Replacing(stored(pod(0), pod(1)).objects))

    assert (await once(ALL, on=on)).message == "No Pod to delete"
    assert on.cluster.deleted == []


class Recovering(FakeCluster):
    """The pod has recovered when it is to be deleted."""

    async def request(self, method: str, path: str, **options: Any) -> Any:
        self.objects[self.paths[path]] |= {
            "status": {},
            "metadata": {**self.objects[self.paths[path]]["metadata"], "resourceVersion": "2"},
        }
        return await super().request(method, path, **options)


async def test_what_no_longer_fulfils_the_condition_stays() -> None:
    on = bench(cluster=Recovering(stored(pod(0, **CRASHED)).objects))

    assert (await once(CRASHING, on=on)).message == "No Pod to delete"
    assert len(on.cluster.objects) == 1


class Holding(FakeCluster):
    """Finalizers hold the pods until they were looked at twice; then a controller makes new ones of the same names."""

    looks = 0

    async def list(self, *kind: str, **options: Any) -> list[dict[str, Any]]:
        self.looks += 1
        if self.looks > 3:
            self.objects = {ref: pod(0, uid="new", namespace="apps") for ref in self.objects}
        return await super().list(*kind, **options)


async def test_waits_until_they_no_longer_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """One was being deleted when the operator was killed; a new one of its name is not waited for."""
    monkeypatch.setattr(verb, "LOOK_SECONDS", 0)
    held = {"finalizers": ["example.com/hold"]}
    cluster = Holding(stored(pod(0, **held), pod(1, **held, deletionTimestamp="2026-01-01T00:00:00Z")).objects)

    done = await once(ALL, on=bench(cluster=cluster))

    assert done.message == "Deleted Pod apps/p0"
    assert cluster.looks == 4
    assert [each["metadata"]["uid"] for each in cluster.objects.values()] == ["new", "new"]


async def test_what_holds_an_object_is_in_the_error() -> None:
    on = bench(cluster=stored(pod(0, finalizers=["example.com/hold"])))

    with pytest.raises(OperatorError) as raised:
        await run({**ALL, "timeout": "100ms"}, on=on)

    assert raised.value.message == (
        "Action a0 (delete) failed: It did not end within 100ms: 1 Pod still exist, like Pod apps/p0"
        " (held by the finalizer example.com/hold)"
    )


async def test_an_absent_object_is_deleted_already() -> None:
    assert (await once({"delete": {"kind": "Service", "name": "old"}}, on=bench())).message == "No Service to delete"


async def test_claims_of_a_statefulset_are_protected() -> None:
    """Deleting it would delete them, without their kind being named."""
    found = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "uid": "u", "resourceVersion": "1"},
        "spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}},
    }
    on = bench(cluster=stored(found))

    with pytest.raises(LifecycleError, match="StatefulSet apps/db deletes its PersistentVolumeClaims"):
        await once(STATEFUL, on=on)

    consent = {"delete": {**STATEFUL["delete"], "confirmDataLoss": True}}
    assert (await once(consent, on=on)).message == "Deleted StatefulSet apps/db"


async def test_releases_are_protected() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sh.helm.release.v1.web.v1", "labels": {"app": "x"}, "uid": "u"},
        "type": "helm.sh/release.v1",
    }
    on = bench(cluster=stored(secret))

    with pytest.raises(LifecycleError, match="is where Helm stores a release"):
        await once({"delete": {"kind": "Secret", **SELECTOR, "max": 1}}, on=on)


async def test_a_dry_run_deletes_nothing() -> None:
    on = bench(cluster=stored(pod(0)))

    assert (await once(ALL, on=on, preview=True)).message == "Would delete Pod apps/p0"
    assert len(on.cluster.objects) == 1


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "Pod"}, "set exactly one of name and selector"),
        ({"kind": "Pod", "selector": {}, "max": 1}, "the selector matches everything"),
        ({"kind": "Pod", **SELECTOR}, "a selector needs max"),
        ({"kind": "Pod", **SELECTOR, "max": 1001}, "delete.max"),
        ({"kind": "Namespace", "name": "a"}, "set confirmDataLoss: true"),
        ({"kind": "PersistentVolumeClaim", "name": "a"}, "set confirmDataLoss: true"),
        ({"kind": "PersistentVolume", "name": "a"}, "set confirmDataLoss: true"),
        ({"kind": "CustomResourceDefinition", "name": "a", "confirmDataLoss": True}, "use the verb deleteCRDs"),
        ({"kind": "ManagedChart", "apiVersion": "managedchart.dev/v1alpha1", "name": "a"}, "not deleted by actions"),
        (
            {"kind": "LifecycleProfile", "apiVersion": "managedchart.dev/v1alpha1", "name": "a"},
            "not deleted by actions",
        ),
        ({"kind": "Pod", "name": "a", "when": {}}, "set crashLooping, expr or both"),
        ({"kind": "Job", "name": "a", "when": {"crashLooping": True}}, "crashLooping is about pods"),
        ({"kind": "Pod", "name": "a", "when": {"expr": "objects.all(o, true)"}}, r"delete.when.expr: .*objects"),
    ],
)
async def test_refuses_before_anything_runs(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        await once({"delete": fields}, on=bench())
