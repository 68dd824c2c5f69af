"""A refusal ends the wait only while nothing can change it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from managedchart_operator.diagnosis import fail_fast
from managedchart_operator.diagnosis.causes import Cause
from managedchart_operator.diagnosis.fail_fast import FailFast
from managedchart_operator.diagnosis.lineage import Lineage
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import Identity, Rendered
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
# Nothing that is judged takes longer over fakes.
QUIET_SECONDS = 0.1
WEB, DB = Identity("apps", "Deployment", "apps", "web"), Identity("apps", "StatefulSet", "apps", "db")
MIGRATION = Identity("batch", "Job", "apps", "migrate")
FAR = Identity("apps", "Deployment", "far", "web")
RENDERED = Rendered(frozenset({WEB, DB, MIGRATION, FAR}), frozenset())
QUOTA = "pods is forbidden: exceeded quota: just-enough"
WEBHOOK = 'Internal error occurred: failed calling webhook "gone.example.com": no endpoints available'
ACCOUNT = 'error looking up service account apps/none: serviceaccount "none" not found'


def refusal(text: str = QUOTA, *, version: int = 1, namespace: str = "apps", name: str = "web-2") -> dict[str, Any]:
    """The event of a ReplicaSet that could not create a pod."""
    subject = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": namespace, "name": name}
    return {
        "metadata": {"uid": f"refusal-of-{namespace}-{name}", "resourceVersion": str(version)},
        "type": "Warning",
        "reason": "FailedCreate",
        "lastTimestamp": SINCE.isoformat(),
        "message": text,
        "involvedObject": {**subject, "uid": f"{namespace}-{name}"},
    }


def pod(
    name: str,
    kind: str = "ReplicaSet",
    owner: str = "web-2",
    *,
    namespace: str = "apps",
    ready: bool = False,
    age: float = 0,
    **meta: str,
) -> Any:
    """A pod that runs; `age` is for how many seconds it was there before the run."""
    version = "batch/v1" if kind == "Job" else "apps/v1"
    body = {
        "metadata": {
            "uid": f"{namespace}-{name}",
            "namespace": namespace,
            "name": name,
            "creationTimestamp": (SINCE - timedelta(seconds=age)).isoformat(),
            "ownerReferences": [{"apiVersion": version, "kind": kind, "name": owner, "uid": "any"}],
            **meta,
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    return read_pod(body)


def replica_set(owner: str, revision: str, *, wanted: int = 2, there: int = 1) -> dict[str, Any]:
    """A ReplicaSet of a Deployment."""
    meta = {
        "annotations": {"deployment.kubernetes.io/revision": revision},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "uid": "any"}],
    }
    return {"metadata": meta, "spec": {"replicas": wanted}, "status": {"replicas": there}}


class FakeObjects:
    """A Deployment in revision 2 and its ReplicaSets, and those of others; counts the reads."""

    def __init__(self) -> None:
        newest = {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}
        self.found = {
            ("apps", "web"): newest,
            ("far", "web"): newest,
            ("apps", "web-1"): replica_set("web", "1"),
            ("apps", "web-2"): replica_set("web", "2"),
            ("far", "web-2"): replica_set("web", "2"),
            ("apps", "other-1"): replica_set("other", "2"),
        }
        self.reads = 0
        self.forbidden = ""

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Read one."""
        self.reads += 1
        if ref.namespace == self.forbidden:
            raise KubeError("forbidden", reason=Reason.FORBIDDEN, transient=True, status=403)
        return self.found.get((ref.namespace, ref.name))


def watch(objects: FakeObjects, known: Rendered = RENDERED, /, **views: NamespaceView) -> FailFast:
    """A FailFast over one run, without a grace."""

    async def rendered() -> Rendered:
        return known

    return FailFast(
        views=views,
        since=SINCE,
        grace=0.0,
        applied=lambda: True,
        rendered=rendered,
        lineage_of=lambda known: Lineage(cast("Any", objects), known, SINCE),
    )


async def ended_by(judge: FailFast) -> Cause:
    """Return why the wait is ended."""
    return await asyncio.wait_for(judge.wait_for_fatal_cause(), 5)


async def goes_on(judge: FailFast) -> bool:
    """Whether nothing ends the wait."""
    try:
        await asyncio.wait_for(judge.wait_for_fatal_cause(), QUIET_SECONDS)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize(("age", "looks"), [(timedelta(seconds=-1), True), (timedelta(seconds=1), False)])
async def test_a_refusal_from_before_the_run_is_ignored(age: timedelta, *, looks: bool) -> None:
    """Events stay for an hour, and each look at one asks the API server."""
    objects, view = FakeObjects(), NamespaceView()
    view.see_event({**refusal(), "lastTimestamp": (SINCE - age).isoformat()})
    assert await goes_on(watch(objects, apps=view)) != looks
    assert bool(objects.reads) == looks


# ---- refused creations


@pytest.mark.parametrize("text", [QUOTA, WEBHOOK, ACCOUNT])
async def test_a_refusal_that_lasts_ends_the_wait(text: str) -> None:
    """On a first install nothing goes that could make room; pods that are ready, or of others, do not matter."""
    view = NamespaceView()
    view.see_pod(pod("web-2-a", ready=True))
    view.see_pod(pod("other-1-a", owner="other-1"))
    view.see_event(refusal(text))
    cause = await ended_by(watch(FakeObjects(), apps=view))
    assert cause.subject == Identity("apps", "ReplicaSet", "apps", "web-2")
    assert text in cause.message


async def test_a_refusal_of_what_is_left_out_is_ignored() -> None:
    view = NamespaceView()
    view.see_event(refusal())
    assert await goes_on(watch(FakeObjects(), replace(RENDERED, left_out=frozenset({WEB})), apps=view))


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        (QUOTA, [pod("old", owner="web-1", ready=True, age=60, deletionTimestamp="now")]),
        (QUOTA, [pod("other-1-a", owner="other-1", ready=True, deletionTimestamp="now")]),
        (QUOTA, [pod("old", owner="web-1", ready=True, age=60), pod("new")]),
        (QUOTA, [pod("old", owner="web-1", ready=True, age=60), pod("db-0", "StatefulSet", "db")]),
        (QUOTA, [pod("migrate-a", "Job", "migrate", ready=True)]),
        (WEBHOOK, [pod("db-0", "StatefulSet", "db")]),
        (WEBHOOK, [pod("far", namespace="far")]),
    ],
    ids=[
        "an old pod is being deleted",
        "somebody's pod is being deleted",
        "a new pod starts, an old one goes after it",
        "the same in another workload of the release",
        "a Job of the release runs",
        "the webhook may be a pod that starts",
        "or one in another namespace of the release",
    ],
)
async def test_a_refusal_that_may_end_is_waited_for(text: str, pods: list[Any]) -> None:
    """A rolling update under a quota that is just enough; a webhook that comes with the release."""
    objects, view, far = FakeObjects(), NamespaceView(), NamespaceView()
    for each in pods:
        (far if each.namespace == "far" else view).see_pod(each)
    view.see_event(refusal(text))
    judge = watch(objects, apps=view, far=far)
    assert await goes_on(judge)

    reads = objects.reads
    assert await goes_on(judge)
    assert objects.reads == reads, "it is looked into once"

    for each in pods:
        far.see_pod_deleted(each.uid) if each.namespace == "far" else view.see_pod_deleted(each.uid)
    assert await goes_on(judge), "the controller may not have tried again yet"
    view.see_event(refusal(text, version=2))
    assert await ended_by(judge), "it has, and nothing is under way any more"


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        (QUOTA, [pod("old", owner="web-1", ready=True, age=60)]),
        (QUOTA, [pod("new")]),
        (QUOTA, [pod("old", owner="web-1", ready=True, age=60), pod("other-1-a", owner="other-1")]),
        (QUOTA, [pod("old", owner="other-1", ready=True, age=60), pod("new")]),
        (QUOTA, [pod("far", namespace="far", deletionTimestamp="now")]),
        (WEBHOOK, [pod("other-1-a", owner="other-1")]),
        (ACCOUNT, [pod("old", owner="web-1", age=60, deletionTimestamp="now"), pod("new")]),
    ],
    ids=[
        "an old pod stays, since no new one can start",
        "a first pod starts, and none goes after it",
        "what starts is of others",
        "what is old is of others",
        "it is in another namespace",
        "no pod of the release can be the webhook",
        "no pod makes a ServiceAccount",
    ],
)
async def test_pods_that_cannot_end_the_refusal_do_not_matter(text: str, pods: list[Any]) -> None:
    """A rollout that is stuck for good is ended after the grace."""
    view, far = NamespaceView(), NamespaceView()
    for each in pods:
        (far if each.namespace == "far" else view).see_pod(each)
    view.see_event(refusal(text))
    assert await ended_by(watch(FakeObjects(), apps=view, far=far))


async def test_a_controller_with_all_pods_does_not_count() -> None:
    """The event of the successful creation may be lost: a controller may write only so many."""
    objects, view = FakeObjects(), NamespaceView()
    objects.found["apps", "web-2"] = replica_set("web", "2", wanted=2, there=2)
    view.see_event(refusal())
    judge = watch(objects, apps=view)
    assert await goes_on(judge)
    objects.found["apps", "web-2"] = replica_set("web", "2", wanted=3, there=2)
    view.see_event(refusal(version=2))
    assert await ended_by(judge)


async def test_a_pod_in_min_ready_seconds_may_make_room() -> None:
    """With minReadySeconds, an old pod goes some time after the new one is ready."""
    objects, view = FakeObjects(), NamespaceView()
    fresh = replica_set("web", "2", wanted=2, there=1)
    objects.found["apps", "web-2"] = {**fresh, "status": {"replicas": 1, "readyReplicas": 1}}
    view.see_event(refusal())
    judge = watch(objects, apps=view)
    assert await goes_on(judge)
    objects.found["apps", "web-2"] = {**fresh, "status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}}
    view.see_event(refusal(version=2))
    assert await ended_by(judge)


async def test_each_new_refusal_has_its_own_grace() -> None:
    """The one before it has healed."""
    objects, view = FakeObjects(), NamespaceView()
    objects.found["apps", "web-2"] = replica_set("web", "2", wanted=2, there=2)
    view.see_event(refusal())
    judge = watch(objects, apps=view)
    assert await goes_on(judge)
    objects.found["apps", "web-2"] = replica_set("web", "2", wanted=3, there=2)
    judge.grace = 60.0
    view.see_event(refusal(version=2))
    assert await goes_on(judge)


@pytest.mark.parametrize("text", [QUOTA, WEBHOOK])
@pytest.mark.parametrize("change", ["goes", "becomes ready", "ends"])
async def test_a_controller_must_be_refused_again_after_a_change(text: str, change: str) -> None:
    """It waits ever longer between its tries: the pod that went, or the webhook that is ready, may have ended the refusal."""
    view = NamespaceView()
    view.see_pod(pod("other-1-a", owner="other-1"))
    view.see_event(refusal(text))
    match change:
        case "goes":
            view.see_pod_deleted("apps-other-1-a")
        case "becomes ready":
            view.see_pod(pod("other-1-a", owner="other-1", ready=True))
        case "ends":
            view.see_pod(replace(pod("other-1-a", owner="other-1"), phase="Succeeded"))
    judge = watch(FakeObjects(), apps=view)
    assert await goes_on(judge)
    view.see_event(refusal(text, version=2))
    assert await ended_by(judge)


async def test_a_change_does_not_affect_a_policy() -> None:
    """No pod makes a ServiceAccount."""
    view = NamespaceView()
    view.see_pod(pod("other-1-a", owner="other-1"))
    view.see_event(refusal(ACCOUNT))
    view.see_pod_deleted("apps-other-1-a")
    assert await ended_by(watch(FakeObjects(), apps=view))


@pytest.mark.parametrize(("after", "counts"), [(0.5, False), (5.0, True)])
async def test_a_refusal_right_after_a_change_does_not_count(after: float, *, counts: bool) -> None:
    """A quota counts a pod for a moment after its deletion; `after` is that time in seconds, with a grace of one."""
    view = NamespaceView()
    view.see_event(refusal())
    [(uid, known)] = view.creations.refused.items()
    view.creations.refused[uid] = replace(known, seen=known.seen - 10)
    view.last_change = known.seen - 10 - after
    judge = watch(FakeObjects(), apps=view)
    judge.grace = 1.0
    assert await goes_on(judge)
    assert bool(judge._first_seen) is counts


# ---- namespaces


async def test_trouble_in_any_namespace_ends_the_wait() -> None:
    """The release's own namespace is fine."""
    far = NamespaceView()
    far.see_event(refusal(ACCOUNT, namespace="far"))
    cause = await ended_by(watch(FakeObjects(), apps=NamespaceView(), far=far))
    assert cause.subject == Identity("apps", "ReplicaSet", "far", "web-2")
    assert cause.message.startswith("ReplicaSet far/web-2 cannot create its pods")


async def test_a_forbidden_namespace_does_not_hide_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot end the wait, but the others can."""
    monkeypatch.setattr(fail_fast, "_RECHECK_SECONDS", 0.01)
    objects, view, far = FakeObjects(), NamespaceView(), NamespaceView()
    objects.forbidden = "apps"
    view.see_event(refusal(ACCOUNT))
    judge = watch(objects, apps=view, far=far)
    assert await goes_on(judge)
    far.see_event(refusal(ACCOUNT, namespace="far"))
    cause = await ended_by(judge)
    assert cause.subject.namespace == "far"


async def test_a_change_in_any_namespace_wakes() -> None:
    """Before that nothing is looked at."""
    view, far = NamespaceView(), NamespaceView()
    judge = asyncio.create_task(watch(FakeObjects(), apps=view, far=far).wait_for_fatal_cause())
    await asyncio.sleep(0)
    far.see_event(refusal(ACCOUNT, namespace="far"))
    assert (await asyncio.wait_for(judge, 5)).subject.namespace == "far"
