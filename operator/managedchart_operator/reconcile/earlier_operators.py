"""What operators of 0.1 have stored: their statuses and their digests, so that an upgrade of the operator deploys nothing.

Before `status.attempt` they kept what decides the next run in top-level fields of the status and in conditions; the next write
of the status removes these. Their digests have no version; statuses and labels of releases have them until the next run. Do not
change how they are computed when the model of the spec changes: the fields, and their order, are those of that time.
"""

import hashlib
import json
from typing import Any

from managedchart_operator.api.earlier_status import EarlierStatus
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.api.status import (
    AttemptStatus,
    Condition,
    ManagedChartStatus,
    ObjectReference,
    Outlook,
)
from managedchart_operator.reasons import Reason

_HEX_DIGITS = 40
_FIELDS: dict[str, Any] = {
    "chart": {"path", "repository", "name", "version", "oci", "plain_http", "contents"},
    "release_name": True,
    "target_namespace": True,
    "create_namespace": True,
    "action": True,
    "deletion_policy": True,
    "atomic": True,
    "wait": True,
    "timeout": True,
    "fail_fast": True,
    "fail_fast_grace": True,
    "force_upgrade": True,
    "dry_run": True,
    "last_breaking_version_requiring_restart": True,
    "values_files": True,
    "yaml_files_content": {"__all__": {"filename", "yaml_content"}},
    "values": True,
    "set": {"__all__": {"key", "value"}},
    "lifecycle": {"name"},
    "retry": {"limit", "backoff", "max_backoff"},
}


def carry_over(status: ManagedChartStatus) -> ManagedChartStatus:
    """Return the status in the current form; the same object where it already has that."""
    if status.failures is None:  # every earlier operator wrote it
        return status
    conditions = {condition.type: condition for condition in status.conditions}
    reconciling = conditions.get("Reconciling")
    progressing = reconciling is not None and reconciling.reason == Reason.PROGRESSING
    known = status.attempt if status.attempt.id else AttemptStatus()
    # A wait for another Helm operation is shown as progress too, and follows a run that has ended.
    waiting = progressing and known.ended_at is not None
    interrupted = progressing and not waiting
    failure = status.last_failure
    attempt = AttemptStatus(
        id=known.id,
        operation=known.operation,
        digest=status.attempted_digest,
        generation=status.observed_generation,
        phase=status.phase.value if interrupted or failure is None else failure.phase,
        started_at=known.started_at or (reconciling.last_transition_time if interrupted and reconciling else None),
        ended_at=None if interrupted else known.ended_at or _ended_at(status, conditions),
        revision=status.release.revision if status.release else None,
        proven=_is_true(conditions.get("Released")),
        failed_revision=failure.revision if failure else None,
        failures=status.failures,
        reason=failure.reason if failure else None,
        outlook=None if interrupted else _outlook(status, waiting=waiting, stalled=_is_true(conditions.get("Stalled"))),
        next_retry_at=status.next_retry_at,
        handled_requests=status.handled_requests or {},
    )
    # Others may have written the status, so what has another form is left out.
    references = [text.split("|") for text in status.blocked_by or () if text.count("|") == 3]
    blockers = [
        ObjectReference(api_version=version, kind=kind, namespace=namespace, name=name)
        for version, kind, namespace, name in references
    ]
    earlier = dict.fromkeys(EarlierStatus.model_fields)
    return status.model_copy(update={**earlier, "attempt": attempt, "blockers": blockers})


def _ended_at(status: ManagedChartStatus, conditions: dict[str, Condition]) -> str | None:
    """Return the latest time in the status that belongs to the last run."""
    times = [phase.finished_at for phase in status.phases if phase.finished_at]
    times += [status.last_failure.time] if status.last_failure else []
    times += [conditions["Ready"].last_transition_time] if "Ready" in conditions else []
    return max(times, default=None)


def _outlook(status: ManagedChartStatus, *, waiting: bool, stalled: bool) -> Outlook | None:
    if waiting:
        return Outlook.WAIT
    if not status.failures:
        return None
    if status.next_retry_at is None:
        return Outlook.CHANGE
    return Outlook.CHECK if stalled else Outlook.RETRY


def _is_true(condition: Condition | None) -> bool:
    return condition is not None and condition.status == "True"


def has_newer_fields(spec: ManagedChartSpec) -> bool:
    """Whether the spec sets a field that operators of 0.1 did not have: what they stored is of another input then."""
    # What is waited for changes nothing of what runs.
    newer = spec.model_dump(exclude={*_FIELDS, "wait_for"}, exclude_defaults=True)
    return bool(newer) or bool(spec.lifecycle.of_a_run().actions)


def version_1_digest(spec: ManagedChartSpec, *, chart: str, values: dict[str, Any]) -> str:
    """Return the digest over the chart's fingerprint, the merged values, and the options that change what is applied."""
    document = {
        "chart": chart,
        "values": values,
        "action": spec.action,
        "dryRun": spec.dry_run,
        "wait": spec.wait,
        "forceUpgrade": spec.force_upgrade,
        "breaking": spec.last_breaking_version_requiring_restart,
        "lifecycle": spec.lifecycle.name,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]


def version_1_digest_without_inputs(spec: ManagedChartSpec) -> str:
    """Return the digest of the spec alone, where its inputs could not be read or were not needed."""
    text = spec.model_dump_json(by_alias=True, include=_FIELDS)
    return hashlib.sha256(f"unread {text}".encode()).hexdigest()[:_HEX_DIGITS]
