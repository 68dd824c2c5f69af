"""An error and the evidence make one sentence; what is kept is bounded."""

import json

import pytest

from managedchart_operator.api.status import FailedContainer, FailureEvent, LastFailure
from managedchart_operator.diagnosis.causes import Cause
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.objects import Identity
from managedchart_operator.errors import ChartError, HelmError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.explain import MAX_BYTES, bound, explain

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
