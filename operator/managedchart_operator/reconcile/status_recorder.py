"""Writes into the status what a pass comes to: the only writer of `status.attempt` and of the conditions.

Each method is one state that a resource gets into. `conditions` derives the conditions, `last_run` reads the attempt back.
Whatever ends a run ends it in exactly one of `succeeded`, `failed` or nothing (the operator was stopped, or a newer spec came).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.status import (
    AttemptStatus,
    LastFailure,
    ManagedChartStatus,
    ObjectReference,
    Outlook,
    Phase,
    ReleaseStatus,
    RootCause,
)
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import HelmError, OperatorError, UninstallBlockedError
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.conditions import Conditions
from managedchart_operator.reconcile.explain import bound
from managedchart_operator.reconcile.plan import Run, Wait
from managedchart_operator.reconcile.retries import RetryPlan, outlook_message
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.telemetry import Telemetry
from managedchart_operator.shortening import cut
from managedchart_operator.times import write_time

# A condition's message may have 32 KiB in Kubernetes; a person reads the first lines, and it stands in three conditions.
MESSAGE_LENGTH = 2048


@dataclass(frozen=True, slots=True)
class Success:
    """How a run has ended well. `message` is for a person."""

    phase: Phase
    reason: Reason
    message: str
    release: ReleaseStatus | None
    deployed: bool = False
    """Whether the release is deployed as the spec wants it, and its objects were seen ready where the spec waits for that."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run has failed. `digest` is that of its input, None where that could not be determined."""

    error: OperatorError
    digest: str | None
    release: ReleaseStatus | None
    revision: int | None = None
    """The revision that failed, and is still to be remedied."""
    phase: Phase | None = None
    """The phase that failed, None before the first."""
    released: bool | None = False
    """Whether the release itself is as the spec wants it; None where the run was not about that."""
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True, slots=True)
class StatusRecorder:
    """Records the passes over one resource."""

    chart: ManagedChart
    writer: StatusWriter
    telemetry: Telemetry

    @property
    def status(self) -> ManagedChartStatus:
        """The status that is being changed."""
        return self.writer.status

    def begin(self, attempt: str, plan: Run, *, digest: str, failures: int) -> None:
        """A run begins.

        `attempt` is the random word that a revision made by this run carries, `digest` that of its input, `failures` how often
        the same input has failed before.
        """
        status, last = self.status, self.status.attempt
        status.observed_generation = self.chart.generation
        status.attempt = AttemptStatus(
            id=attempt,
            digest=digest,
            generation=self.chart.generation,
            operation=plan.operation.value,
            started_at=write_time(),
            revision=last.revision,
            proven=last.proven and not plan.gone,
            failed_revision=last.failed_revision,
            failures=failures,
            reason=last.reason if failures else None,
            handled_requests=last.handled_requests,
        )
        if self.chart.deleting:
            status.phase = Phase.DELETING
        status.phases = []
        conditions = self._conditions()
        conditions.working(f"{plan.operation.value}: {plan.because}", gone=plan.gone)
        self._apply(conditions)

    async def remedy_begins(self, operation: str) -> None:
        """What a failed run has left is rolled back or uninstalled now: a successor must know whose work it finds.

        Raises KubeError.
        """
        attempt = self.status.attempt
        if (attempt.operation, attempt.ended_at) != (operation, None):
            attempt.operation, attempt.ended_at = operation, None
            await self.writer.flush()

    async def remedied(self, outcome: str, *, limit: int, release: ReleaseStatus | None) -> None:
        """The remedy has ended: `outcome` is a sentence on it, `limit` the spec's of retries. Raises KubeError."""
        status, attempt = self.status, self.status.attempt
        status.release = release
        self._left(release, proven=False)
        attempt.ended_at = write_time()
        after = outlook_message(
            attempt.outlook or Outlook.CHANGE, failures=attempt.failures, limit=limit, at=attempt.next_retry_at
        )
        conditions = self._conditions()
        conditions.what_follows(cut(f"{outcome}. {after}", MESSAGE_LENGTH))
        status.conditions = conditions.result()
        self.writer.touch()
        await self.writer.flush()

    def in_sync(self) -> None:
        """A new generation, or a request, changes nothing of what runs: acknowledge it."""
        status = self.status
        status.observed_generation = status.attempt.generation = self.chart.generation
        status.attempt.handled_requests = dict(self.chart.requests)
        status.attempt.outlook = status.attempt.next_retry_at = None
        conditions = self._conditions()
        conditions.in_sync(deployed_message(status.release))
        self._apply(conditions)

    def still_stalled(self, plan: RetryPlan, *, limit: int) -> None:
        """A check of a resource whose retries are used up showed no change; `plan` says when the next one comes."""
        conditions = self._conditions()
        conditions.what_follows(self._plan(plan, limit))
        self.status.conditions = conditions.result()
        self.writer.touch()

    def waiting(self, wait: Wait, message: str) -> None:
        """Another Helm operation is in progress. What the last run came to stays as it is."""
        status = self.status
        status.observed_generation = self.chart.generation
        status.attempt.outlook = Outlook.WAIT
        status.attempt.next_retry_at = _time_of(wait.until)
        if self.chart.deleting:
            status.phase = Phase.DELETING
        conditions = self._conditions()
        conditions.working(message, gone=wait.gone)
        self._apply(conditions)

    def succeeded(self, success: Success, *, digest: str) -> None:
        """The run has ended well; `digest` is that of its input."""
        status, attempt = self.status, self.status.attempt
        status.observed_generation = attempt.generation = self.chart.generation
        status.phase = success.phase
        status.release = success.release
        status.last_failure = None
        status.blockers = []
        attempt.digest = digest
        attempt.failures = 0
        attempt.reason = attempt.outlook = attempt.next_retry_at = attempt.failed_revision = None
        attempt.handled_requests = dict(self.chart.requests)
        attempt.ended_at = write_time()
        self._left(success.release, proven=success.deployed)
        conditions = self._conditions()
        conditions.succeeded(
            success.reason,
            success.message,
            released=True if success.deployed else None,
            validated=any(phase.name == Phase.VALIDATE for phase in status.phases),
        )
        self._apply(conditions)

    def failed(self, failure: Failure, plan: RetryPlan, *, limit: int) -> bool:
        """The run has failed; `plan` says what comes next, `limit` is the spec's of retries.

        Returns whether this is news: the failure of the attempt before, with one more attempt to come, is not.
        """
        status, attempt, error = self.status, self.status.attempt, failure.error
        message = cut(error.message, MESSAGE_LENGTH)
        known = status.last_failure if attempt.failures else None
        repeated = known is not None and (known.reason, known.message) == (error.reason, message)
        status.observed_generation = attempt.generation = self.chart.generation
        status.phase = Phase.DELETING if self.chart.deleting else Phase.FAILED
        status.release = failure.release
        attempt.digest = failure.digest
        attempt.phase = (failure.phase or Phase.PENDING).value
        attempt.failed_revision = failure.revision
        attempt.reason = error.reason.value
        attempt.handled_requests = dict(self.chart.requests)
        attempt.ended_at = write_time()
        self._left(failure.release, proven=failure.released is True)
        status.blockers = _references(error.objects) if isinstance(error, UninstallBlockedError) else []
        status.last_failure = _last_failure(failure, message)
        after = self._plan(plan, limit)
        conditions = self._conditions()
        conditions.failed(
            error.reason,
            message,
            stalled=plan.stalled,
            after=after,
            released=failure.released,
            validating=failure.phase is Phase.VALIDATE,
        )
        self._apply(conditions)
        self.telemetry.failed(error.reason, attempt.phase)
        return not repeated or plan.gave_up

    def _left(self, release: ReleaseStatus | None, *, proven: bool) -> None:
        """Note which revision was left behind. One that was seen ready before is not unproven by a run that left it alone."""
        attempt, revision = self.status.attempt, release.revision if release else None
        attempt.proven = revision is not None and (proven or (attempt.proven and revision == attempt.revision))
        attempt.revision = revision

    def _plan(self, plan: RetryPlan, limit: int) -> str:
        """Note what follows, and return it as a sentence."""
        attempt = self.status.attempt
        attempt.failures, attempt.outlook = plan.failures, plan.outlook
        attempt.next_retry_at = write_time(plan.at) if plan.at else None
        message = outlook_message(plan.outlook, failures=plan.failures, limit=limit, at=attempt.next_retry_at)
        return cut(message, MESSAGE_LENGTH)

    def _conditions(self) -> Conditions:
        return Conditions(self.status.conditions, generation=self.chart.generation, now=write_time())

    def _apply(self, conditions: Conditions) -> None:
        self.status.conditions = conditions.result()
        self.telemetry.status_changed(self.chart.key, self.status)
        self.writer.touch()


def deployed_message(release: ReleaseStatus | None) -> str:
    """Say which chart is deployed."""
    if release is None:
        return "The release is as the spec wants it"
    return f"{release.chart} {release.chart_version} is deployed as revision {release.revision}"


def _last_failure(failure: Failure, message: str) -> LastFailure:
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


def _time_of(seconds: float) -> str:
    return write_time(datetime.fromtimestamp(seconds, UTC))
