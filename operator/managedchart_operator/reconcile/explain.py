"""Joins the error that a run raised with the evidence of why.

An error that names its cause itself keeps it; only one that merely says "it took too long" or "it failed" gets its reason and
its sentence from the evidence, and helm's own text is kept beside it.
"""

from collections.abc import Callable

from managedchart_operator.api.status import LastFailure
from managedchart_operator.diagnosis.causes import CAUSES
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.diagnosis.pod_hints import kept_hint
from managedchart_operator.errors import HelmError, OperatorError, UninstallBlockedError, WaitError

# These say that something did not happen, not why.
_WITHOUT_CAUSE = frozenset(row.reason for row in CAUSES if row.is_symptom)
# etcd takes 1.5 MiB an object and a person reads a screen; the history of objects is kept by GitOps tools and backups.
MAX_BYTES = 16 * 1024
# The first ones are the latest warnings; a log says more than what is beyond these.
_EVENTS_BEFORE_LOG = 5


def explain(
    error: OperatorError, findings: Findings, *, redact: Callable[[str], str], chart: tuple[str, str] | None = None
) -> OperatorError:
    """Return the error with the cause that the evidence shows, all of its texts redacted.

    `chart` is the namespace and the name of the ManagedChart, None where no hint can lead to its status.
    """
    message, hint = redact(error.message), redact(error.hint) if error.hint else None
    if findings.detail:
        message = redact(f"{error.message}; {findings.detail}")
    reason, cause = error.reason, findings.cause
    if cause is not None and reason in _WITHOUT_CAUSE:
        reason, message = cause.reason, redact(cause.message)
    if cause is not None and message == redact(cause.message):
        hint = (found := _hint_of(cause, findings, chart)) and redact(found)
    if not isinstance(error, HelmError):
        return OperatorError(message, reason=reason, transient=error.transient, hint=hint)
    # The text of the operator's own wait says nothing that the message does not say, and is not helm's.
    text = "" if isinstance(error, WaitError) else redact(error.text)
    if isinstance(error, UninstallBlockedError):
        return UninstallBlockedError(message, objects=error.objects, text=text, hint=hint or "")
    code, transient = error.exit_code, error.transient
    return HelmError(message, reason=reason, transient=transient, text=text, exit_code=code, hint=hint)


def _hint_of(cause: Cause, findings: Findings, chart: tuple[str, str] | None) -> str | None:
    """Return the hint to a cause, with a command that still works when its pod is deleted, if the evidence has enough."""
    if cause.kept is None or chart is None:
        return cause.hint
    events, containers = findings.events, findings.containers
    kept = kept_hint(cause.kept, cause.subject, cause.container, events=events, containers=containers, chart=chart)
    return kept or cause.hint


def cause_of(error: OperatorError, findings: Findings) -> Cause | None:
    """Return the cause that an error is explained by: its object is the one that the error's message is about."""
    cause = findings.cause
    if cause is not None and (error.reason in _WITHOUT_CAUSE or error.message == cause.message):
        return cause
    return None


def bound(failure: LastFailure) -> LastFailure:
    """Make a failure fit into its 16 KiB: logs go first, from the least telling container on, then events.

    The most telling log, which a hint may lead to, goes after most of the events.
    """
    while len(failure.model_dump_json(by_alias=True, exclude_none=True).encode()) > MAX_BYTES:
        holders = [c for c in failure.containers if c.log or c.previous_log]
        is_last_log = len(holders) == 1 and not (holders[0].log and holders[0].previous_log)
        if holders and not (is_last_log and len(failure.events) > _EVENTS_BEFORE_LOG):
            last = holders[-1]
            if last.log and last.previous_log:
                last.log = None  # what it said before it died tells more
            else:
                last.log = last.previous_log = None
        elif failure.events:
            failure.events.pop()
        elif failure.helm_error:
            failure.helm_error = None
        else:
            break
    return failure
