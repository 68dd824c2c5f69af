"""What the status says about earlier runs, and which annotations ask for a new one.

`StatusRecorder` writes `status.attempt`, and only `last_run_of` reads it; conditions and messages are never parsed. The process
remembers nothing, so a restarted operator knows as much as the one before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from managedchart_operator.api.resource import ManagedChart, request_token
from managedchart_operator.api.status import AttemptStatus, ManagedChartStatus, Outlook, Phase
from managedchart_operator.errors import PluginVersion, ProfileVersion
from managedchart_operator.kube.permissions import MissingPermission, Permission
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.times import read_time

AFTER_EXEC = (Phase.POST_EXEC, Phase.VALIDATE)
"""The phases whose failure is the failure of a deployed revision."""
_BEFORE_EXEC = (Phase.CHECK_PREREQUISITES, Phase.PRE_EXEC)
# Those of an uninstall after PreDelete.
_FROM_EXEC = (Phase.EXEC, Phase.POST_DELETE, Phase.POST_EXEC, Phase.VALIDATE, Phase.ON_DEPLOY_FAILURE)


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run, according to the status. Times in seconds since the epoch.

    Fields without a description are those of `AttemptStatus`.
    """

    attempt: str | None = None
    """The random word in the labels of the revision that it made; None where the status does not say."""
    digest: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    chart_version: str | None = None
    current: bool = True
    """Whether it was for the present generation of the spec."""
    operation: str | None = None
    phase: Phase | None = None
    uninstall_began: bool = False
    interrupted: bool = False
    """Whether it neither succeeded nor failed: the operator was stopped, or a request interrupted the run."""
    stopped: bool = False
    """Whether it was interrupted by the end of the operator."""
    ended_at: float | None = None
    """When it ended; None also until the remedy of its failure has ended."""
    revision: int | None = None
    proven: bool = False
    failed_revision: int | None = None
    failures: int = 0
    reason: str | None = None
    retry_at: float | None = None
    """When to retry; None with failures means not without a change."""
    missing_permission: MissingPermission | None = None
    failed_profile: ProfileVersion | None = None
    failed_plugin: PluginVersion | None = None
    waited: bool = False
    """Whether the operator has waited for another Helm operation since."""

    @property
    def succeeded(self) -> bool:
        """Whether there was a run, and it succeeded."""
        return self.ended_at is not None and self.failures == 0

    @property
    def was_not_answered(self) -> bool:
        """Whether the API server did not answer its phases after exec, or the run that continued them."""
        within = self.phase in AFTER_EXEC or (self.operation == Operation.RESUME and self.phase in _BEFORE_EXEC)
        return self.failures > 0 and self.reason == Reason.API_UNAVAILABLE and within

    @property
    def began_uninstall(self) -> bool:
        """Whether it was an uninstall that reached exec, or repeated one that did, and has not succeeded."""
        began = self.uninstall_began or self.phase in _FROM_EXEC  # an earlier operator has noted the phase only
        return self.operation == Operation.UNINSTALL and not self.succeeded and began

    @property
    def stopped_in_exec(self) -> bool:
        """Whether it reached exec and was stopped there."""
        return self.interrupted and self.phase is Phase.EXEC


def last_run_of(chart: ManagedChart, status: ManagedChartStatus, *, started: datetime | None = None) -> LastRun:
    """Return what the status says about the last run.

    `started` is when this operator started: a defect that an earlier operator ran into may be fixed in this one.
    """
    attempt = status.attempt
    retry_at, ended_at = read_time(attempt.next_retry_at), read_time(attempt.ended_at)
    if started is not None and attempt.reason == Reason.INTERNAL_ERROR and ended_at is not None and ended_at < started:
        retry_at = started
    interrupted = attempt.started_at is not None and ended_at is None and attempt.outlook in (None, Outlook.WAIT)
    began_at = read_time(attempt.started_at)
    return LastRun(
        attempt=attempt.id,
        digest=attempt.digest,
        inputs=attempt.inputs,
        chart_version=attempt.chart_version,
        current=attempt.generation == chart.generation,
        operation=attempt.operation,
        phase=next((phase for phase in Phase if phase.value == attempt.phase), None),
        uninstall_began=attempt.uninstall_began is True,
        interrupted=interrupted,
        stopped=interrupted and started is not None and began_at is not None and began_at < started,
        ended_at=ended_at.timestamp() if ended_at else None,
        revision=attempt.revision,
        proven=attempt.proven,
        failed_revision=attempt.failed_revision,
        failures=attempt.failures,
        reason=attempt.reason,
        retry_at=retry_at.timestamp() if retry_at else None,
        missing_permission=permission_of(attempt),
        failed_profile=profile_of(attempt),
        failed_plugin=plugin_of(attempt),
        waited=attempt.outlook is Outlook.WAIT,
    )


def permission_of(attempt: AttemptStatus) -> MissingPermission | None:
    """Return the permission that the next attempt waits for; the user is empty for the operator."""
    found = attempt.missing_permission
    if found is None:
        return None
    return MissingPermission(found.user or "", Permission(found.verb, found.resource, found.group, found.namespace))


def profile_of(attempt: AttemptStatus) -> ProfileVersion | None:
    """Return the LifecycleProfile that made the attempt fail, as it was then."""
    found = attempt.failed_profile
    return None if found is None else ProfileVersion(found.name, found.uid, found.generation)


def plugin_of(attempt: AttemptStatus) -> PluginVersion | None:
    """Return the plug-in that made the attempt fail, as it was then."""
    found = attempt.failed_plugin
    return None if found is None else PluginVersion(found.name, found.digest)


def failed_profile(chart: ManagedChart) -> str | None:
    """Return the name of the LifecycleProfile that made the last attempt fail; None if none did. Any status can be read."""
    attempt = chart.status.get("attempt")
    failed = attempt.get("failedProfile") if isinstance(attempt, Mapping) else None
    return failed.get("name") if isinstance(failed, Mapping) else None


def requested(chart: ManagedChart, status: ManagedChartStatus, annotation: str) -> bool:
    """Whether the annotation has a token that was not handled yet."""
    token, handled = chart.requests.get(annotation), status.attempt.handled_requests.get(annotation)
    # An older operator stored the whole value of the annotation.
    return token is not None and (handled is None or request_token(handled) != token)


def attempt_requested(chart: ManagedChart, status: ManagedChartStatus) -> bool:
    """Whether an annotation asks for another attempt, which fetches the chart again too."""
    return any(requested(chart, status, name) for name in chart.requests)
