"""`job` runs an image once for one change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from managedchart_operator.errors import LifecycleError, SpecError
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.kube.watch import Change
from managedchart_operator.lifecycle.actions.verbs import job
from managedchart_operator.reasons import Reason
from unit.lifecycle.actions.stage import once
from unit.lifecycle.fakes import Bench, FakeCluster, bench

VERB = {"job": {"image": "registry.example/migrate:1"}}
POD = {
    "metadata": {"uid": "p1", "name": "it-x", "namespace": "apps", "labels": {}},
    "status": {
        "phase": "Failed",
        "containerStatuses": [
            {"name": "main", "restartCount": 0, "state": {"terminated": {"exitCode": 3, "reason": "Error"}}},
        ],
    },
}

RUNNING = {
    "phase": "Running",
    "containerStatuses": [{"name": "main", "restartCount": 0, "state": {"running": {}}}],
}


def ended(kind: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", "message": "Job has reached the specified backoff limit"}]}


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A cluster whose Jobs end as soon as they are watched: the next status of `ends`."""
    on = bench(cluster=FakeCluster())

    async def states(cluster: FakeCluster, path: str, *, fields: str, **_: Any) -> AsyncIterator[Change]:
        name = fields.removeprefix("metadata.name=")
        ref = replace(cluster.paths[path], name=name)
        if found := cluster.objects.get(ref):
            yield Change("Listed", {"items": [{**found, "status": {"active": 1}}]})
            if not ends:
                meta = {**POD["metadata"], "labels": {"batch.kubernetes.io/job-name": name}}  # type: ignore[dict-item]
                cluster.objects[ObjectRef("v1", "Pod", "it-x", "apps")] = {"metadata": meta, "status": RUNNING}
                await asyncio.Event().wait()
            found["status"] = ends.pop(0)
            if found["status"].get("conditions") and found["status"]["conditions"][0]["type"] == "Failed":
                labels = {"batch.kubernetes.io/job-name": name}
                pod = {**POD, "metadata": {**POD["metadata"], "labels": labels}}  # type: ignore[dict-item]
                cluster.objects[ObjectRef("v1", "Pod", "it-x", "apps")] = pod
            yield Change("MODIFIED", found)
        else:
            yield Change("Listed", {"items": []})

    ends = [ended("Complete"), ended("Complete")]
    on.context.logger.extra = {"ends": ends}  # type: ignore[assignment]
    monkeypatch.setattr(job, "changes", states)
    return on


def end(on: Bench, *kinds: str) -> None:
    ends: Any = on.context.logger.extra
    ends["ends"][:] = [ended(kind) for kind in kinds]


def jobs(on: Bench) -> list[ObjectRef]:
    return [ref for ref in on.cluster.objects if ref.kind == "Job"]


async def test_a_repeated_run_finds_the_job(on: Bench) -> None:
    first = await once(VERB, on=on)
    second = await once(VERB, on=on)

    (ref,) = jobs(on)
    assert ref.name.startswith("it-")
    assert first.message == f"{ref} succeeded"
    assert second.message == f"{ref} has run already"
    assert len(on.cluster.created) == 1


async def test_the_next_revision_has_a_job_of_its_own(on: Bench) -> None:
    await once(VERB, on=on)
    await once(VERB, on=bench(cluster=on.cluster, stamp="a2"))

    assert len(jobs(on)) == 2


async def test_another_image_has_a_job_of_its_own(on: Bench) -> None:
    await once(VERB, on=on)
    await once({"job": {"image": "registry.example/migrate:2"}}, on=on)

    assert len(jobs(on)) == 2


async def test_the_pod_is_restricted(on: Bench) -> None:
    """As the Pod Security Standard of that name demands, and without a token."""
    await once({"job": {**VERB["job"], "command": ["run"], "env": [{"name": "A", "value": "b"}]}}, on=on)

    (ref,) = jobs(on)
    spec = on.cluster.objects[ref]["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 3600)
    assert spec["activeDeadlineSeconds"] == 60, "the timeout of the action"
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert (container["command"], container["env"]) == (["run"], [{"name": "A", "value": "b"}])


async def test_a_secret_is_only_referred_to(on: Bench) -> None:
    source = {"secretKeyRef": {"name": "db", "key": "password"}}

    await once({"job": {**VERB["job"], "env": [{"name": "A", "valueFrom": source}]}}, on=on)

    (ref,) = jobs(on)
    assert on.cluster.objects[ref]["spec"]["template"]["spec"]["containers"][0]["env"] == [
        {"name": "A", "valueFrom": source}
    ]


async def test_a_failed_job_shows_what_it_logged(on: Bench) -> None:
    end(on, "Failed")
    on.cluster.logs["it-x"] = "connecting\nno such table: users\n"

    with pytest.raises(LifecycleError) as caught:
        await once(VERB, on=on)

    (ref,) = jobs(on)
    assert caught.value.message == (
        f"{ref} failed: container main of Pod it-x ended with exit code 3 (the application exited with an"
        " error); it logged: connecting | no such table: users"
    )


async def test_a_failed_job_is_made_again(on: Bench) -> None:
    """The next attempt, or the retry of the run; what has succeeded is not run again."""
    end(on, "Failed", "Complete")
    with pytest.raises(LifecycleError):
        await once(VERB, on=on)

    done = await once(VERB, on=on)

    assert done.message.endswith("succeeded")
    assert len(on.cluster.deleted) == 1


async def test_a_job_that_does_not_end_is_deleted(on: Bench) -> None:
    """After its log has been read: the pods are deleted with it. The next attempt makes another one."""
    end(on)
    on.cluster.logs["it-x"] = "waiting for a lock"

    with pytest.raises(LifecycleError) as caught:
        await once(VERB, on=on, seconds=0.5)

    (ref,) = on.cluster.deleted
    assert jobs(on) == []
    assert caught.value.reason is Reason.PHASE_TIMEOUT
    assert caught.value.message == (
        f"{ref} did not end in time and is deleted: container main of Pod it-x is running; it logged: waiting for a lock"
    )
    end(on, "Complete")
    assert (await once(VERB, on=on)).message == f"{ref} succeeded"


async def test_a_job_whose_end_the_watch_does_not_show_has_ended(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing ends a connection that has died silently before an action's deadline."""

    async def states(_: FakeCluster, path: str, **__: Any) -> AsyncIterator[Change]:
        assert path
        (ref,) = jobs(on)
        found = on.cluster.objects[ref]
        yield Change("Listed", {"items": [found]})
        on.cluster.objects[ref] = {**found, "status": ended("Complete")}
        await asyncio.Event().wait()

    end(on)
    monkeypatch.setattr(job, "changes", states)
    assert (await once(VERB, on=on, seconds=0.5)).message.endswith("succeeded")
    assert on.cluster.deleted == []


def labelled(on: Bench, ref: ObjectRef, uid: str = "u1", **status: Any) -> None:
    """Somebody makes a Job of this name, which has succeeded."""
    meta = {"uid": "x", "labels": {OWNER_LABEL: uid}}
    on.cluster.objects[ref] = {"metadata": meta, "spec": {}, "status": status or ended("Complete")}


async def test_the_job_of_somebody_else_is_refused(on: Bench) -> None:
    await once(VERB, on=on)
    (ref,) = jobs(on)
    labelled(on, ref, "u2")

    with pytest.raises(LifecycleError) as caught:
        await once(VERB, on=on)

    assert caught.value.message == f"{ref} was not created by this action, which needs its name"
    assert ref in on.cluster.objects


async def test_a_job_of_a_profile_has_a_name_that_nobody_can_compute(on: Bench) -> None:
    await once(VERB, on=on, foreign=True, account="a1")
    await once(VERB, on=on, foreign=True, account="a2")

    assert len(jobs(on)) == 2


async def test_a_job_of_a_profile_counts_only_if_its_account_made_it(on: Bench) -> None:
    """Not one that the tenant makes under its name, once it knows that: not even with all of its content."""
    await once(VERB, on=on, foreign=True, account="a1")
    (ref,) = jobs(on)
    own = on.cluster.objects[ref]
    assert own["spec"]["suspend"] is False
    assert (await once(VERB, on=on, foreign=True, account="a1")).message == f"{ref} has run already"

    labelled(on, ref)
    forged = {**own, "metadata": {**own["metadata"], "uid": "of the tenant"}}
    for found in (on.cluster.objects[ref], forged, {**forged, "spec": {**own["spec"], "suspend": True}}):
        on.cluster.objects[ref] = found
        with pytest.raises(LifecycleError, match="was not created by this action"):
            await once(VERB, on=on, foreign=True, account="a1")
        assert on.cluster.objects[ref] is found
    assert on.cluster.deleted == []


async def test_a_job_of_a_profile_that_was_not_started_is_made_again(on: Bench) -> None:
    """The operator was killed after it had created the Job, which is suspended and so has not run."""
    await once(VERB, on=on, foreign=True, account="a1")
    (ref,) = jobs(on)
    own = on.cluster.objects[ref]
    meta = {key: value for key, value in own["metadata"].items() if key != "annotations"}
    on.cluster.objects[ref] = {**own, "metadata": meta, "spec": {**own["spec"], "suspend": True}, "status": {}}

    assert (await once(VERB, on=on, foreign=True, account="a1")).message == f"{ref} succeeded"
    assert on.cluster.deleted == [ref]


async def test_a_job_that_is_replaced_does_not_count(on: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def states(_: FakeCluster, path: str, **__: Any) -> AsyncIterator[Change]:
        assert path
        yield Change("Listed", {"items": [{"metadata": {"uid": "other"}, "status": ended("Complete")}]})

    monkeypatch.setattr(job, "changes", states)
    with pytest.raises(LifecycleError, match="was deleted before it ended"):
        await once(VERB, on=on)


async def test_a_dry_run_makes_no_job(on: Bench) -> None:
    done = await once(VERB, on=on, preview=True)

    assert done.message.startswith("Would run Job apps/it-")
    assert jobs(on) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"env": [{"name": "A"}]}, "set exactly one of value and valueFrom"),
        ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "env: A is given twice"),
        ({"privileged": True}, "privileged: there is no such field"),
    ],
)
async def test_wrong_input_is_named(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        await once({"job": {**VERB["job"], **fields}}, on=bench())
