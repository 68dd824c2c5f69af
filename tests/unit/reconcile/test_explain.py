"""An error and the evidence make one sentence; what is kept is bounded."""

import json

import pytest

from managedchart_operator.api.status import FailedContainer, FailureEvent, LastFailure
from managedchart_operator.diagnosis.causes import find_cause
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.evidence import Cause, Evidence
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.diagnosis.pods import read_pod
from managedchart_operator.errors import ChartError, HelmError, WaitError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.explain import MAX_BYTES, bound, cause_of, explain
from unit.diagnosis.pod_bodies import RUNNING, WAITING_CRASH, WAITING_IMAGE, event, pod

POD = Identity("", "Pod", "apps", "web-1")
CAUSE = Cause(Reason.IMAGE_PULL, "the image of Pod web-1 cannot be pulled", POD, "main", "check the image")


def helm_error(reason: Reason) -> HelmError:
    return HelmError("it took too long", reason=reason, transient=True, text="Error: context deadline exceeded")


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.HOOK_FAILED, Reason.HELM_FAILED])
def test_an_error_without_a_cause_gets_it_from_the_evidence(reason: Reason) -> None:
    error = explain(helm_error(reason), Findings(cause=CAUSE), redact=str)
    assert (error.reason, error.message, error.hint) == (CAUSE.reason, CAUSE.message, CAUSE.hint)
    assert isinstance(error, HelmError)
    assert "deadline" in error.text


def test_an_error_that_names_its_cause_keeps_it() -> None:
    """A crash that was there before does not explain a field that is immutable."""
    error = explain(helm_error(Reason.IMMUTABLE_FIELD), Findings(cause=CAUSE), redact=str)
    assert (error.reason, error.message) == (Reason.IMMUTABLE_FIELD, "it took too long")


def test_only_helms_words_are_kept_beside_it() -> None:
    waited = WaitError(
        "it took too long", reason=Reason.TIMEOUT, transient=True, text="resource Deployment/a/b not ready"
    )
    silent = HelmError("the manifest cannot be read", reason=Reason.HELM_FAILED, transient=True)
    for error in (waited, silent):
        explained = explain(error, Findings(), redact=str)
        assert isinstance(explained, HelmError)
        assert explained.text == ""


def test_the_root_cause_is_what_the_message_is_about() -> None:
    """Not another object that failed for the same reason."""
    ended = WaitError(CAUSE.message, reason=CAUSE.reason, transient=True)
    refused = HelmError("another image", reason=CAUSE.reason, transient=True)
    assert cause_of(ended, Findings(cause=CAUSE)) is CAUSE
    assert cause_of(helm_error(Reason.TIMEOUT), Findings(cause=CAUSE)) is CAUSE
    assert cause_of(refused, Findings(cause=CAUSE)) is None
    assert cause_of(ended, Findings()) is None


def test_every_text_is_redacted() -> None:
    error = explain(
        ChartError("hunter2", reason=Reason.CHART_INVALID, hint="hunter2"),
        Findings(),
        redact=lambda text: text.replace("hunter2", "***"),
    )
    assert (error.message, error.hint) == ("***", "***")


def test_a_failure_fits_into_its_bound_and_keeps_what_tells_most() -> None:
    """Logs go before events, and the log of the run before goes last."""
    long = "x" * 2000
    containers = [
        FailedContainer(pod=f"p{n}", name="main", state="waiting", log=long, previous_log=long) for n in range(5)
    ]
    events = [FailureEvent(type="Warning", reason="R", object="Pod a", message="m" * 500) for _ in range(20)]
    failure = bound(
        LastFailure(phase="Exec", reason="CrashLoop", message="why", events=events, containers=containers, time="t")
    )
    assert len(json.dumps(failure.model_dump(mode="json", by_alias=True, exclude_none=True))) <= MAX_BYTES
    assert failure.message == "why"
    assert len(failure.events) == 20
    assert failure.containers[0].previous_log


def container(*, name: str = "web-1", log: str | None = None, previous: str | None = None) -> FailedContainer:
    return FailedContainer(pod=name, name="main", state="waiting", log=log, previous_log=previous)


CRASH = find_cause(Evidence([read_pod(pod(WAITING_CRASH, restarts=3, exit_code=1))]))
PULL = find_cause(Evidence([read_pod(pod(WAITING_IMAGE))]))
FULL = find_cause(
    Evidence([read_pod(pod({"waiting": {}}, unschedulable="0/1 nodes are available: 1 Insufficient cpu."))])
)
PROBE = find_cause(Evidence([read_pod(pod(RUNNING, phase="Running"))], [event("Unhealthy", "503")]))
HOOK = find_cause(
    Evidence(
        [body := read_pod(pod({"terminated": {"exitCode": 3}}, owner="Job", phase="Failed"))], (), frozenset({body.uid})
    )
)
SEEN = [FailureEvent(type="Warning", reason="Failed", object="Pod web-1", message="no")]
ASK = "kubectl -n home get managedchart mine -o jsonpath="
LOG = f"Read its log, which the status keeps: {ASK}"
EVENTS = ASK + """'{range .status.lastFailure.events[*]}{.object}: {.message}{"\\n"}{end}'"""


@pytest.mark.parametrize(
    ("cause", "containers", "hint"),
    [
        (CRASH, [container(log="a", previous="b")], LOG + "'{.status.lastFailure.containers[0].previousLog}'"),
        (CRASH, [container(log="a")], LOG + "'{.status.lastFailure.containers[0].log}'"),
        (
            CRASH,
            [container(name="other", previous="a"), container(previous="b")],
            LOG + "'{.status.lastFailure.containers[1].previousLog}'",
        ),
        (
            CRASH,
            [container(name="apps/web-1", previous="b")],
            LOG + "'{.status.lastFailure.containers[0].previousLog}'",
        ),
        (CRASH, [], "Read its log: kubectl -n apps logs web-1 -c main --previous"),
        (CRASH, [container()], "Read its log: kubectl -n apps logs web-1 -c main --previous"),
        (HOOK, [container(log="a")], LOG + "'{.status.lastFailure.containers[0].log}'"),
        (PROBE, [container(log="a")], LOG + "'{.status.lastFailure.containers[0].log}'"),
        (PULL, [], f"Check the image's name and tag, and the pull secrets. The status keeps the events: {EVENTS}"),
        (FULL, [], f"Lower the requests for cpu, or add nodes with room. The status keeps the events: {EVENTS}"),
    ],
)
def test_a_hint_leads_to_what_the_status_keeps(cause: Cause, containers: list[FailedContainer], hint: str) -> None:
    """The pod is deleted by the remedy, a hook's policy or the next try, mostly before somebody reads the hint."""
    for message in ("it took too long", cause.message):  # helm's, or that of the wait that was ended early
        reason = Reason.TIMEOUT if message != cause.message else cause.reason
        error = HelmError(message, reason=reason, transient=True, hint="another")
        findings = Findings(SEEN, containers, cause)
        assert explain(error, findings, redact=str, chart=("home", "mine")).hint == hint


def test_a_hint_without_evidence_leads_to_the_pod() -> None:
    assert PULL is not None
    error = explain(helm_error(Reason.TIMEOUT), Findings(cause=PULL), redact=str, chart=("home", "mine"))
    assert error.hint == "Check the image's name and tag, and the pull secrets: kubectl -n apps describe pod web-1"


def test_the_hint_of_another_error_stays() -> None:
    error = HelmError("immutable", reason=Reason.IMMUTABLE_FIELD, transient=False, hint="Undo the change.")
    assert explain(error, Findings(SEEN, [], PULL), redact=str, chart=("home", "mine")).hint == "Undo the change."


def test_the_log_that_a_hint_leads_to_outlives_most_events() -> None:
    events = [FailureEvent(type="Warning", reason="R", object="Pod a", message="m" * 900) for _ in range(20)]
    failure = LastFailure(
        phase="Exec",
        reason="CrashLoop",
        message="why",
        events=events,
        containers=[container(previous="l" * 2000)],
        time="t",
    )
    kept = bound(failure)
    assert kept.containers[0].previous_log
    assert 5 <= len(kept.events) < 20
