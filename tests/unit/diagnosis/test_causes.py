"""The order in which causes explain others, and what is hopeless."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from managedchart_operator.diagnosis import fail_fast
from managedchart_operator.diagnosis.causes import Evidence, cause_of_failed_create, find_cause
from managedchart_operator.diagnosis.events import RunEvent
from managedchart_operator.diagnosis.exit_codes import explain_exit_code
from managedchart_operator.diagnosis.fail_fast import FailFast, Rendered
from managedchart_operator.diagnosis.namespace_watch import NamespaceView
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.reasons import Reason

WAITING_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
WAITING_CRASH = {"waiting": {"reason": "CrashLoopBackOff"}}
RUNNING: dict[str, Any] = {"running": {}}
TERMINATED = {"terminated": {"exitCode": 1}}
POD = Identity("", "Pod", "apps", "web-1")
WEB = Identity("apps", "Deployment", "apps", "web")
REPLICA_SET = Identity("apps", "ReplicaSet", "apps", "web-1")
GROUPS = {"Job": "batch/v1", "ReplicaSet": "apps/v1"}


def pod(
    state: dict[str, Any],
    *,
    name: str = "web-1",
    namespace: str = "apps",
    owner: str = "ReplicaSet",
    restarts: int = 0,
    exit_code: int | None = None,
    last: str = "Error",
    phase: str = "Pending",
    unschedulable: str = "",
    **meta: str,
) -> dict[str, Any]:
    """Build a pod of one container."""
    status: dict[str, Any] = {"name": "main", "state": state, "restartCount": restarts, "ready": False}
    if exit_code is not None:
        status["lastState"] = {"terminated": {"exitCode": exit_code, "reason": last}}
    conditions = [{"type": "Ready", "status": "False"}]
    if unschedulable:
        conditions.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        )
    return {
        "metadata": {
            "uid": f"uid-{name}",
            "name": name,
            "namespace": namespace,
            "creationTimestamp": datetime.now(UTC).isoformat(),
            "ownerReferences": [{"apiVersion": GROUPS[owner], "kind": owner, "name": "web", "uid": "uid-owner"}],
            **meta,
        },
        "status": {"phase": phase, "containerStatuses": [status], "conditions": conditions},
    }


def event(reason: str, message: str, *, about: Identity = POD) -> RunEvent:
    """Build a Warning event."""
    return RunEvent(about, "Warning", reason, message, 1, datetime.now(UTC))


CASES: list[tuple[Reason | None, list[dict[str, Any]], list[RunEvent]]] = [
    (Reason.IMAGE_PULL, [pod(WAITING_IMAGE)], []),
    (Reason.IMAGE_PULL, [pod(RUNNING, name="a", phase="Running"), pod(WAITING_IMAGE)], [event("Unhealthy", "503")]),
    (Reason.CRASH_LOOP, [pod(WAITING_CRASH, restarts=3, exit_code=1)], []),
    (Reason.OOM_KILLED, [pod(WAITING_CRASH, restarts=3, exit_code=137, last="OOMKilled")], []),
    (Reason.UNSCHEDULABLE, [pod({"waiting": {}}, unschedulable="0/1 nodes are available: Insufficient cpu")], []),
    (
        Reason.VOLUME_UNBOUND,
        [pod({"waiting": {}}, unschedulable="pod has unbound immediate PersistentVolumeClaims")],
        [],
    ),
    (Reason.READINESS_PROBE, [pod(RUNNING, phase="Running")], [event("Unhealthy", "Readiness probe failed: 503")]),
    (Reason.CONTAINER_CONFIG, [pod({"waiting": {"reason": "CreateContainerConfigError", "message": "no Secret"}})], []),
    (Reason.JOB_BACKOFF_LIMIT, [pod({"terminated": {"exitCode": 1}}, owner="Job", phase="Failed")], []),
    (Reason.QUOTA_EXCEEDED, [], [event("FailedCreate", "exceeded quota: none", about=REPLICA_SET)]),
    (None, [pod(RUNNING, phase="Running")], []),
    (None, [pod({"waiting": {"reason": "ContainerCreating"}})], []),
]


@pytest.mark.parametrize(("reason", "pods", "events"), CASES)
def test_the_cause_that_explains_most_is_told(
    reason: Reason | None, pods: list[dict[str, Any]], events: list[RunEvent]
) -> None:
    refused = frozenset({REPLICA_SET})
    cause = find_cause(Evidence("apps", [read_pod(body) for body in pods], events, refused=refused))
    assert (cause and cause.reason) == reason
    if cause:
        assert cause.hint
        assert cause.subject.shown_from("apps") in cause.message


@pytest.mark.parametrize("reason", [case[0] for case in CASES if case[0]])
def test_an_object_elsewhere_is_named_with_its_namespace(reason: Reason) -> None:
    """In the message, and in a command that can be pasted: kubectl looks into the namespace of the release."""
    pods, events = next((pods, events) for known, pods, events in CASES if known is reason)
    elsewhere = [read_pod({**body, "metadata": {**body["metadata"], "namespace": "other"}}) for body in pods]
    moved = [replace(item, subject=item.subject._replace(namespace="other")) for item in events]
    refused = frozenset({REPLICA_SET._replace(namespace="other")})
    cause = find_cause(Evidence("apps", elsewhere, moved, refused=refused))
    assert cause is not None
    assert cause.reason is reason
    assert cause.subject.namespace == "other"
    assert f"{cause.subject.kind} other/{cause.subject.name}" in cause.message
    assert "kubectl" not in (cause.hint or "") or "kubectl -n other " in (cause.hint or "")


def test_an_event_of_a_pod_of_the_same_name_elsewhere_says_nothing() -> None:
    """The probe that fails is a stranger's."""
    body = read_pod(pod(RUNNING, phase="Running"))
    stranger = event("Unhealthy", "Readiness probe failed: 503", about=body.identity._replace(namespace="other"))
    assert find_cause(Evidence("apps", [body], [stranger])) is None


def test_a_refusal_that_healed_is_not_the_cause() -> None:
    """The pods were created after it, and are merely slow."""
    events = [event("FailedCreate", "exceeded quota: none", about=REPLICA_SET)]
    assert find_cause(Evidence("apps", [read_pod(pod(RUNNING, phase="Running"))], events)) is None


def test_a_failed_pod_of_a_hook_is_the_hooks_failure() -> None:
    body = read_pod(pod({"terminated": {"exitCode": 3}}, owner="Job", phase="Failed"))
    cause = find_cause(Evidence("apps", [body], [], frozenset({body.uid})))
    assert cause is not None
    assert cause.reason is Reason.HOOK_FAILED
    assert "exit code 3" in cause.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pods is forbidden: exceeded quota: q", Reason.QUOTA_EXCEEDED),
        ("maximum cpu usage per Container is 100m", Reason.QUOTA_EXCEEDED),
        ('failed calling webhook "a": no endpoints available', Reason.WEBHOOK_UNAVAILABLE),
        ('admission webhook "a" denied the request', Reason.ADMISSION_REFUSED),
        ("violates PodSecurity restricted", Reason.ADMISSION_REFUSED),
        ('error looking up service account a/b: serviceaccount "b" not found', Reason.OBJECT_INVALID),
        ("pods is forbidden: no", Reason.FORBIDDEN),
        ("something new", Reason.OBJECT_INVALID),
    ],
)
def test_why_pods_cannot_be_created(text: str, reason: Reason) -> None:
    cause = cause_of_failed_create(Evidence("apps"), event("FailedCreate", text, about=REPLICA_SET))
    assert cause.reason is reason
    assert text in cause.message


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "error of its own"), (126, "cannot be executed"), (127, "not found"), (137, "SIGKILL"), (159, "signal 31")],
)
def test_exit_codes_are_explained(code: int, words: str) -> None:
    assert words in explain_exit_code(code)


class FakeLineage:
    """Says of every pod that it comes from one object."""

    def __init__(self, root: Identity | None) -> None:
        self.root = root
        self.asked = 0

    async def root_of(self, _: Any) -> Identity | None:
        return self.root

    async def is_foreign(self, _: Any) -> bool:
        self.asked += 1
        return self.root is None


def watcher(view: NamespaceView, *, root: Identity | None, applied: bool, hooks: bool = False) -> FailFast:
    """Build a FailFast with a grace that has passed at once."""
    rendered = Rendered(frozenset({WEB}), frozenset({WEB} if hooks else ()))

    async def known() -> Rendered:
        return rendered

    return FailFast(
        views={"apps": view},
        namespace="apps",
        since=datetime.now(UTC) - timedelta(seconds=5),
        grace=0.0,
        applied=lambda: applied,
        rendered=known,
        lineage_of=lambda _: FakeLineage(root),  # type: ignore[arg-type, return-value]
    )


def view_of(body: dict[str, Any]) -> NamespaceView:
    """Build a view that shows one pod."""
    view = NamespaceView()
    view.see_pod(read_pod(body))
    return view


HOPELESS = [pod(WAITING_IMAGE), pod(WAITING_CRASH, restarts=3, exit_code=1), pod(TERMINATED, restarts=3)]
HOPEFUL = [
    pod(WAITING_CRASH, restarts=2, exit_code=1),
    pod(RUNNING, restarts=3, exit_code=1, phase="Running"),
    pod(WAITING_IMAGE, deletionTimestamp="2026-01-01T00:00:00Z"),
    pod(RUNNING, phase="Running"),
    pod({"waiting": {}}, unschedulable="no node"),
]


@pytest.mark.parametrize("body", HOPELESS)
async def test_what_is_hopeless_ends_the_wait(body: dict[str, Any]) -> None:
    cause = await asyncio.wait_for(watcher(view_of(body), root=WEB, applied=True).hopeless(), 5)
    assert cause.subject.name == "web-1"


@pytest.mark.parametrize("body", HOPEFUL)
async def test_what_may_still_come_up_is_waited_for(body: dict[str, Any]) -> None:
    """Also a container that was restarted and runs now: it may become ready this time; and a pod that is being deleted."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watcher(view_of(body), root=WEB, applied=True).hopeless(), 0.1)


@pytest.mark.parametrize(("root", "applied"), [(None, True), (WEB, False)])
async def test_pods_of_others_and_of_what_was_there_before_never_count(root: Identity | None, applied: bool) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watcher(view_of(HOPELESS[0]), root=root, applied=applied).hopeless(), 0.1)


async def test_the_trouble_of_others_is_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of another release may crash for hours, and hundreds of releases may wait beside it."""
    monkeypatch.setattr(fail_fast, "_LOOK_AGAIN_SECONDS", 0.01)
    lineage = FakeLineage(None)
    judge = watcher(view_of(HOPELESS[0]), root=None, applied=True)
    judge.lineage_of = lambda _: lineage  # type: ignore[assignment, return-value]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(judge.hopeless(), 0.1)
    assert lineage.asked == 1


async def test_a_hooks_own_pod_counts_before_anything_is_applied() -> None:
    judge = watcher(view_of(HOPELESS[0]), root=WEB, applied=False, hooks=True)
    assert (await asyncio.wait_for(judge.hopeless(), 5)).reason is Reason.IMAGE_PULL
