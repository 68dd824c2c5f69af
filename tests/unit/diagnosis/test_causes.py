"""The order of the causes, and their messages."""

from dataclasses import replace
from typing import Any

import pytest

from managedchart_operator.diagnosis.causes import cause_of_failed_create, find_cause
from managedchart_operator.diagnosis.events import RunEvent
from managedchart_operator.diagnosis.evidence import Evidence
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import Container, read_pod
from managedchart_operator.reasons import Reason
from unit.diagnosis.pod_bodies import REPLICA_SET, RUNNING, WAITING_CRASH, WAITING_IMAGE, event, pod

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
def test_the_cause_that_explains_most_is_found(
    reason: Reason | None, pods: list[dict[str, Any]], events: list[RunEvent]
) -> None:
    refused = frozenset({REPLICA_SET})
    cause = find_cause(Evidence([read_pod(body) for body in pods], events, refused=refused))
    assert (cause and cause.reason) == reason
    if cause:
        assert cause.hint
        assert cause.hint.endswith(".") is not (": kubectl " in cause.hint)
        assert f"{cause.subject.kind} apps/{cause.subject.name}" in cause.message


@pytest.mark.parametrize("reason", [case[0] for case in CASES if case[0]])
def test_a_cause_names_the_namespace_of_its_object(reason: Reason) -> None:
    """In the message, and in a command that can be pasted."""
    pods, events = next((pods, events) for known, pods, events in CASES if known is reason)
    elsewhere = [read_pod({**body, "metadata": {**body["metadata"], "namespace": "other"}}) for body in pods]
    moved = [replace(item, subject=item.subject._replace(namespace="other")) for item in events]
    refused = frozenset({REPLICA_SET._replace(namespace="other")})
    cause = find_cause(Evidence(elsewhere, moved, refused=refused))
    assert cause is not None
    assert cause.reason is reason
    assert cause.subject.namespace == "other"
    assert f"{cause.subject.kind} other/{cause.subject.name}" in cause.message
    assert "kubectl" not in (cause.hint or "") or "kubectl -n other " in (cause.hint or "")


def test_events_of_another_namespace_do_not_count() -> None:
    """The probe that fails is a stranger's."""
    body = read_pod(pod(RUNNING, phase="Running"))
    stranger = event("Unhealthy", "Readiness probe failed: 503", about=body.identity._replace(namespace="other"))
    assert find_cause(Evidence([body], [stranger])) is None


def test_a_refusal_that_healed_is_not_the_cause() -> None:
    """The pods were created after it, and are merely slow."""
    events = [event("FailedCreate", "exceeded quota: none", about=REPLICA_SET)]
    assert find_cause(Evidence([read_pod(pod(RUNNING, phase="Running"))], events)) is None


def test_a_failed_pod_of_a_hook_fails_the_hook() -> None:
    body = read_pod(pod({"terminated": {"exitCode": 3}}, owner="Job", phase="Failed"))
    cause = find_cause(Evidence([body], [], frozenset({body.uid})))
    assert cause is not None
    assert cause.reason is Reason.HOOK_FAILED
    assert "exit code 3" in cause.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pods is forbidden: exceeded quota: q", Reason.QUOTA_EXCEEDED),
        ("pods is forbidden: maximum cpu usage per Container is 100m, but limit is 1", Reason.ADMISSION_REFUSED),
        ('failed calling webhook "a": no endpoints available', Reason.WEBHOOK_UNAVAILABLE),
        ('admission webhook "a" denied the request', Reason.ADMISSION_REFUSED),
        ('violates PodSecurity "restricted:latest": privileged', Reason.ADMISSION_REFUSED),
        ('error looking up service account a/b: serviceaccount "b" not found', Reason.ADMISSION_REFUSED),
        ("pods is forbidden: no", Reason.ADMISSION_REFUSED),
        ('pods is forbidden: User "u" cannot create resource "pods"', Reason.FORBIDDEN),
        ("unable to create new content in namespace apps because it is being terminated", Reason.NAMESPACE_TERMINATING),
        ("something new", Reason.OBJECT_INVALID),
    ],
)
def test_refused_pods_have_a_cause(text: str, reason: Reason) -> None:
    cause = cause_of_failed_create(event("FailedCreate", text, about=REPLICA_SET))
    assert cause.reason is reason
    assert text in cause.message


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exited with an error"),
        (126, "cannot be executed"),
        (127, "not found"),
        (137, "SIGKILL"),
        (159, "signal 31"),
    ],
)
def test_exit_codes_are_explained(code: int, words: str) -> None:
    container = Container("main", init=False, state="terminated", ready=False, restarts=0, exit_code=code)
    assert words in (container.meaning or "")


CREATING = {"waiting": {"reason": "ContainerCreating"}}
PASSWORD = Identity("", "Secret", "apps", "password")


@pytest.mark.parametrize(
    ("state", "events"),
    [
        ({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "password" not found'}}, []),
        (CREATING, [event("FailedMount", 'MountVolume.SetUp failed for volume "p" : secret "password" not found')]),
    ],
    ids=["environment", "volume"],
)
@pytest.mark.parametrize(
    "late", [{}, {PASSWORD: "post-install"}, {PASSWORD._replace(namespace="other"): "post-install"}]
)
def test_a_secret_of_a_late_hook_needs_no_wait(
    state: dict[str, Any], events: list[RunEvent], late: dict[Identity, str]
) -> None:
    """The hook runs when the pod is ready, and the pod starts when the hook has run."""
    cause = find_cause(Evidence([read_pod(pod(state))], events, late_hooks=late))
    assert cause is not None
    assert cause.reason is Reason.CONTAINER_CONFIG
    assert 'secret "password" not found' in cause.message
    waits = "Set spec.wait: false" in (cause.hint or "") and "post-install hook of this chart" in (cause.hint or "")
    assert waits is (PASSWORD in late)


def test_a_mount_that_has_succeeded_since_is_no_cause() -> None:
    """Its event stays."""
    mount = event("FailedMount", 'MountVolume.SetUp failed for volume "p" : secret "password" not found')
    assert find_cause(Evidence([read_pod(pod(RUNNING, phase="Running"))], [mount])) is None


def test_a_pod_of_an_earlier_revision_is_to_be_deleted() -> None:
    """Why it is not ready is said too; the events are about it alone."""
    body = pod(WAITING_CRASH, restarts=5, exit_code=1, phase="Running")
    db = Identity("apps", "StatefulSet", "apps", "db")
    cause = find_cause(Evidence(not_replaced=[(read_pod(body), db)]))
    assert cause is not None
    assert (cause.reason, cause.subject.name, cause.container) == (Reason.TIMEOUT, "web-1", "main")
    assert cause.message == (
        "Pod apps/web-1 is of an earlier revision and not ready, so StatefulSet apps/db does not replace it: Container main in "
        "Pod apps/web-1 keeps crashing (5 restarts): exit code 1, the application exited with an error"
    )
    assert (cause.hint or "").endswith("kubectl -n apps delete pod web-1")


def test_a_pod_of_the_present_revision_is_blamed_first() -> None:
    db = Identity("apps", "StatefulSet", "apps", "db")
    evidence = Evidence([read_pod(pod(WAITING_IMAGE))], not_replaced=[(read_pod(pod(CREATING, name="old")), db)])
    cause = find_cause(evidence)
    assert cause is not None
    assert cause.reason is Reason.IMAGE_PULL
