"""Records the result of a pass in the status, including `status.attempt` and the conditions.

Each method is one state of a resource. `conditions` derives the conditions, `last_run` reads the attempt back, and
`phase_recorder` records the phases. A run ends with `succeeded`, with `failed`, or with neither if the operator is stopped or a
newer spec arrives.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from managedchart_operator.api.resource import FORCE_ANNOTATION, ManagedChart
from managedchart_operator.api.status import (
    AttemptStatus,
    Condition,
    LastFailure,
    ManagedChartStatus,
    ObjectReference,
    Outlook,
    PermissionStatus,
    Phase,
    PluginStatus,
    ProfileStatus,
    ReleaseStatus,
    RootCause,
)
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import HelmError, OperatorError, PluginVersion, ProfileVersion, UninstallBlockedError
from managedchart_operator.kube.permissions import MissingPermission
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.attempted_chart import note_asked
from managedchart_operator.reconcile.conditions import Conditions, summary_of
from managedchart_operator.reconcile.decide import Run, Wait
from managedchart_operator.reconcile.digest import Digest
from managedchart_operator.reconcile.explain import bound
from managedchart_operator.reconcile.retries import RetryPlan
from managedchart_operator.reconcile.services import Telemetry
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.shortening import cut
from managedchart_operator.times import read_time, write_time

# Kubernetes allows 32 KiB for a condition's message; a person reads the first lines, and up to three conditions have it.
MESSAGE_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run has failed; `status.release` has the release by then.

    `digest` is that of its input, None if it could not be determined.
    """

    error: OperatorError
    digest: str | None
    revision: int | None
    """The failed revision whose remedy is still to be done."""
    phase: Phase | None
    """The phase that failed, None before the first."""
    released: bool | None
    """Whether the release itself matches the spec; None if the run did not deploy."""
    findings: Findings
    missing_permission: MissingPermission | None = None
    """The permission that the run lacked, and still lacks."""
    profile: ProfileVersion | None = None
    """The LifecycleProfile whose action, or whose plug-in, has failed, or that cannot be carried out."""
    plugin: PluginVersion | None = None
    """The plug-in whose code has failed."""


@dataclass(frozen=True, slots=True)
class StatusRecorder:
    """Records the passes over one resource."""

    chart: ManagedChart
    writer: StatusWriter
    telemetry: Telemetry

    @property
    def status(self) -> ManagedChartStatus:
        """The status that is being written."""
        return self.writer.status

    def begin(self, attempt: str, plan: Run, *, digest: Digest, failures: int, uninstall_began: bool = False) -> None:
        """A run begins.

        `attempt` is the random word in the labels of a revision that it makes, `digest` that of its input, `failures` how often
        the same input has failed before. `uninstall_began` says that the last run has begun an uninstall, and has not ended it.
        """
        status, last = self.status, self.status.attempt
        # What an earlier release of this name has proven says nothing about a new one.
        installs = plan.operation is Operation.INSTALL
        status.observed_generation = self.chart.generation
        status.attempt = AttemptStatus(
            id=attempt,
            digest=digest.text,
            inputs=digest.parts(),
            generation=self.chart.generation,
            operation=plan.operation.value,
            uninstall_began=(uninstall_began and plan.operation is Operation.UNINSTALL) or None,
            started_at=write_time(),
            revision=None if installs else last.revision,
            proven=last.proven and not plan.deleted and not installs,
            failed_revision=last.failed_revision,
            failures=failures,
            reason=last.reason if failures else None,
            handled_requests=last.handled_requests,
        )
        if failures and last.chart is not None:  # the same input, whose chart may have been fetched
            status.attempt.chart, status.attempt.chart_version = last.chart, last.chart_version
        else:
            note_asked(status.attempt, self.chart.spec)
        if self.chart.deleting:
            status.phase = Phase.DELETING
        status.phases = []
        status.validation = None
        # What is being uninstalled is not ready any more, whatever the last run has left.
        deleted = plan.deleted or plan.operation is Operation.UNINSTALL
        self.apply(self.conditions.working(f"{plan.operation.value}: {plan.because}", deleted=deleted))

    def released(self) -> None:
        """Exec has succeeded, so the release matches the spec; what follows may take long or fail."""
        self.apply(self.conditions.released())

    async def remedy_begins(self, operation: str) -> None:
        """A rollback or uninstall after a failed run begins: a restarted operator must know whose operation it finds.

        Raises KubeError.
        """
        attempt = self.status.attempt
        if (attempt.operation, attempt.ended_at) != (operation, None):
            attempt.operation, attempt.ended_at = operation, None
            await self.writer.flush()

    async def remedied(self, outcome: str, *, limit: int, release: ReleaseStatus | None) -> None:
        """The remedy has ended: `outcome` is a sentence about it, `limit` is spec.retry.limit. Raises KubeError."""
        attempt = self.status.attempt
        self.status.release = release
        self._ended(proven=False)
        retry_at = read_time(attempt.next_retry_at)
        plan = RetryPlan(
            attempt.outlook or Outlook.CHANGE,
            attempt.failures,
            limit,
            retry_at,
            awaits=attempt.missing_permission.verb if attempt.missing_permission else "",
        ).awaiting_change(
            profile=attempt.failed_profile.name if attempt.failed_profile else "",
            plugin=attempt.failed_plugin.name if attempt.failed_plugin else "",
        )
        self.apply(self.conditions.what_follows(cut(f"{outcome}. {plan.message}", MESSAGE_LENGTH)))
        await self.writer.flush()

    def in_sync(self) -> None:
        """A new generation or a request changes nothing of what runs: acknowledge it."""
        status = self.status
        status.observed_generation = status.attempt.generation = self.chart.generation
        status.attempt.handled_requests = dict(self.chart.requests)
        status.attempt.outlook = status.attempt.next_retry_at = None
        status.attempt.missing_permission = status.attempt.failed_profile = status.attempt.failed_plugin = None
        validated = not is_invalid(status)
        self.apply(self.conditions.in_sync(deployed_message(status.release), validated=validated))

    def noticed(self, kind: str, message: str) -> bool:
        """CLAMPED or LIFECYCLE_MISSING is true, or ("") is so no longer; returns whether the message is new.

        An unchanged one is not written, since this is called in each pass.
        """
        known = next((each for each in self.status.conditions if each.type == kind), None)
        said = known.message if known else ""
        if message != said or (known is not None and known.observed_generation != self.chart.generation):
            self.apply(self.conditions.noticed(kind, message))
        return message not in ("", said)

    def still_stalled(self, plan: RetryPlan) -> None:
        """A check of a resource whose retries are exhausted found no change; `plan` has the time of the next one."""
        self._plan(plan)
        self.apply(self.conditions.what_follows(plan.message))

    def waiting(self, wait: Wait) -> None:
        """Another Helm operation is in progress; the result of the last run stays in the status."""
        key, status = self.chart.key, self.status
        until = write_time(datetime.fromtimestamp(wait.until, UTC))
        message = (
            f"{wait.because}. The operator takes over its lock at {until} unless that operation ends first; to take it over"
            f" now: kubectl -n {key.namespace} annotate managedchart {key.name} --overwrite"
            f' {FORCE_ANNOTATION}="$(date)"'
        )
        status.observed_generation = status.attempt.generation = self.chart.generation
        status.attempt.outlook, status.attempt.next_retry_at = Outlook.WAIT, until
        if self.chart.deleting:
            status.phase = Phase.DELETING
        self.apply(self.conditions.working(message, deleted=wait.deleted))

    def succeeded(self, phase: Phase, reason: Reason, message: str, *, digest: str, deployed: bool) -> None:
        """The run has succeeded; `digest` is that of its input, and `status.release` has the release by then.

        `deployed` says that the release matches the spec, and that its objects were seen ready if spec.wait is true.
        """
        status, attempt = self.status, self.status.attempt
        status.observed_generation = attempt.generation = self.chart.generation
        status.phase = phase
        if phase in (Phase.DESTROYED, Phase.SKIPPED):
            attempt.chart = attempt.chart_version = None  # nothing was to be deployed
        status.last_failure = None
        status.blockers = []
        attempt.digest = digest
        attempt.failures = 0
        attempt.reason = attempt.outlook = attempt.next_retry_at = attempt.failed_revision = None
        attempt.handled_requests = dict(self.chart.requests)
        self._ended(proven=deployed)
        validated = any(each.name == Phase.VALIDATE for each in status.phases)
        self.apply(self.conditions.succeeded(reason, message, released=deployed, validated=validated))

    def failed(self, failure: Failure, plan: RetryPlan) -> bool:
        """The run has failed; `plan` says what comes next.

        Returns whether to report it: not if the previous attempt failed in the same way and another one follows.
        """
        status, attempt, error = self.status, self.status.attempt, failure.error
        message = cut(error.message, MESSAGE_LENGTH)
        known = status.last_failure if attempt.failures else None
        repeated = known is not None and (known.reason, known.message) == (error.reason, message)
        if attempt.generation != self.chart.generation:  # the error came before a run could begin
            note_asked(attempt, self.chart.spec)
        status.observed_generation = attempt.generation = self.chart.generation
        status.phase = Phase.DELETING if self.chart.deleting else Phase.FAILED
        attempt.digest = failure.digest
        attempt.inputs = attempt.inputs if failure.digest else {}
        attempt.phase = (failure.phase or Phase.PENDING).value
        attempt.failed_revision = failure.revision
        attempt.reason = error.reason.value
        attempt.handled_requests = dict(self.chart.requests)
        self._ended(proven=failure.released is True)
        self._plan(plan)
        missing = failure.missing_permission if plan.awaits else None
        attempt.missing_permission = (
            None if missing is None else PermissionStatus(user=missing.user or None, **asdict(missing.permission))
        )
        attempt.failed_profile = None if failure.profile is None else ProfileStatus(**asdict(failure.profile))
        attempt.failed_plugin = None if failure.plugin is None else PluginStatus(**asdict(failure.plugin))
        status.blockers = _references(error.objects) if isinstance(error, UninstallBlockedError) else []
        status.last_failure = last_failure(failure, message)
        self.apply(
            self.conditions.failed(
                error.reason,
                message,
                stalled=plan.stalled,
                after=plan.message,
                released=failure.released,
                validating=failure.phase is Phase.VALIDATE,
            )
        )
        self.telemetry.failed(error.reason, attempt.phase)
        return not repeated or plan.gave_up

    def _ended(self, *, proven: bool) -> None:
        """Record the newest revision, and whether its objects were seen ready."""
        attempt, release = self.status.attempt, self.status.release
        attempt.revision = release.revision if release else None
        attempt.proven = release is not None and proven
        attempt.ended_at = write_time()

    def _plan(self, plan: RetryPlan) -> None:
        attempt = self.status.attempt
        attempt.failures, attempt.outlook = plan.failures, plan.outlook
        attempt.next_retry_at = write_time(plan.at) if plan.at else None

    @property
    def conditions(self) -> Conditions:
        """The conditions as they are, to be changed."""
        return Conditions(self.status.conditions, generation=self.chart.generation, now=write_time())

    def apply(self, conditions: list[Condition]) -> None:
        """Put conditions into the status, and write it soon."""
        self.status.conditions, self.status.summary = conditions, summary_of(conditions)
        self.telemetry.status_changed(self.chart.key, self.status)
        self.writer.touch()


def is_invalid(status: ManagedChartStatus) -> bool:
    """Whether the release matches the spec, and its checks have failed as often as they may."""
    return status.last_failure is not None and status.last_failure.reason == Reason.VALIDATION_FAILED


def deployed_message(release: ReleaseStatus | None) -> str:
    """Return a sentence about what is deployed."""
    if release is None:
        return "The release matches the spec"
    return f"{release.chart} {release.chart_version} is deployed as revision {release.revision}"


def last_failure(failure: Failure, message: str) -> LastFailure:
    """Return what the status says about a failure, with its evidence."""
    error, findings = failure.error, failure.findings
    cause = findings.cause if findings.cause and findings.cause.reason == error.reason else None
    return bound(
        LastFailure(
            phase=(failure.phase or Phase.PENDING).value,
            reason=error.reason.value,
            message=message,
            root_cause=RootCause(
                kind=cause.subject.kind,
                namespace=cause.subject.namespace,
                name=cause.subject.name,
                container=cause.container,
            )
            if cause
            else None,
            helm_error=cut(error.text, MESSAGE_LENGTH) if isinstance(error, HelmError) and error.text else None,
            events=list(findings.events),
            containers=list(findings.containers),
            hint=error.hint,
            incomplete=findings.incomplete,
            revision=failure.revision,
            time=write_time(),
        )
    )


def _references(objects: Sequence[tuple[str, str, str, str]]) -> list[ObjectReference]:
    return [
        ObjectReference(api_version=version, kind=kind, namespace=namespace, name=name)
        for version, kind, name, namespace in objects
    ]
