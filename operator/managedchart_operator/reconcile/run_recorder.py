"""Takes down a run in the status, as it happens.

Purpose: the recorder that lifecycles see, and the states that the reconciler declares. Boundary: changes the status model and
touches the writer; conditions are derived in `conditions`. Invariant: whatever ends a run ends it in exactly one of
`succeeded`, `failed` or nothing (superseded).
"""

import logging
import time
from dataclasses import dataclass, field

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.api.status import (
    AttemptStatus,
    LastFailure,
    ManagedChartStatus,
    Phase,
    PhaseState,
    PhaseStatus,
    ReleaseStatus,
    RevisionRecord,
    RootCause,
)
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import HelmError, OperatorError, UninstallBlockedError
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLED, Revision
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.conditions import STALLED, Conditions
from managedchart_operator.reconcile.explain import bound
from managedchart_operator.reconcile.retries import Next
from managedchart_operator.reconcile.status_writer import StatusWriter
from managedchart_operator.reconcile.telemetry import Telemetry
from managedchart_operator.shortening import cut
from managedchart_operator.times import write_time

# A condition's message may have 32 KiB in Kubernetes; a person reads the first lines, and it stands in three conditions.
MESSAGE_LENGTH = 2048
# As many as a person compares; helm itself keeps ten.
HISTORY = 5


@dataclass(slots=True)
class RunRecorder:
    """Records one run of one resource."""

    chart: ManagedChart
    writer: StatusWriter
    telemetry: Telemetry
    logger: logging.LoggerAdapter[logging.Logger]
    warnings: list[tuple[str, str]] = field(default_factory=list)
    failed_phase: Phase | None = None
    released: bool = False
    findings: Findings = field(default_factory=Findings)
    _deploys: bool = False
    """Whether the run is to leave the release as the spec asks."""
    _began: float = 0.0

    @property
    def status(self) -> ManagedChartStatus:
        """The status that is being changed."""
        return self.writer.status

    def begin(
        self, message: str, *, operation: Operation, attempt: str, released: bool = False, gone: bool = False
    ) -> None:
        """A run begins.

        `message` says what it is going to do, `operation` what exec is to do with the release. `attempt` is the random word
        that a revision made by this run carries. `released` says that nothing is left to do for the release, `gone` that it is
        known to be gone.
        """
        self._deploys = operation.deploys
        self.released = released
        status = self.status
        status.observed_generation = self.chart.generation
        status.attempt = AttemptStatus(id=attempt, operation=operation.value, started_at=write_time())
        if self.chart.deleting:
            status.phase = Phase.DELETING
        status.phases = []
        status.next_retry_at = None
        conditions = self._conditions()
        conditions.working(message, gone=gone)
        self._apply(conditions)

    def attempt_ended(self) -> None:
        """The run has ended, or what it began after its failure."""
        if self.status.attempt is not None:
            self.status.attempt.ended_at = write_time()

    def phase_started(self, phase: Phase) -> None:
        """A phase begins."""
        self._began = time.monotonic()
        self.status.phase = Phase.DELETING if self.chart.deleting else phase
        self.status.phases = [
            *self.status.phases,
            PhaseStatus(name=phase.value, state=PhaseState.RUNNING, started_at=write_time()),
        ]
        self.writer.touch()

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, message: str | None = None) -> None:
        """A phase has ended, with an error or well."""
        seconds = time.monotonic() - self._began
        entry = self.status.phases[-1]
        entry.state = PhaseState.FAILED if error else PhaseState.SUCCEEDED
        entry.finished_at = write_time()
        entry.duration_seconds = round(seconds, 3)
        entry.message = cut(error.message, MESSAGE_LENGTH) if error else message
        if error and self.failed_phase is None:
            self.failed_phase = phase
        if phase is Phase.EXEC and error is None:
            self.released = True
            if self._deploys:
                # Now, and not at the run's end: what follows may take long, or fail, and the release stays.
                conditions = self._conditions()
                conditions.released()
                self.status.conditions = conditions.result()
        self.telemetry.phase_ended(phase.value, seconds=seconds, succeeded=error is None)
        self.writer.touch()

    def evidence(self, findings: Findings) -> None:
        """What was found out about a failure of exec."""
        self.findings = findings

    def warn(self, reason: str, message: str) -> None:
        """Tell of something that does not stop the run."""
        self.logger.warning("%s", message)
        self.warnings.append((reason, message))

    def still_stalled(self, plan: Next) -> None:
        """A look at a resource that was given up showed no change; `plan` says when the next one comes."""
        self.status.next_retry_at = write_time(plan.at) if plan.at else None
        for condition in self.status.conditions:
            if condition.type == STALLED:
                condition.message = cut(plan.message, MESSAGE_LENGTH)
        self.writer.touch()

    def remember(self, revision: Revision | None, *, action: str, chart_version: str | None) -> None:
        """Put what became of a revision at the head of the history, which holds the last few."""
        if revision is None:
            return
        known = {record.revision: record for record in self.status.history}
        if action == Operation.FINISH and revision.number in known:
            action = known[revision.number].action  # what made it, not what was left to do
        record = RevisionRecord(
            revision=revision.number,
            action=action,
            outcome=revision.status,
            chart_version=chart_version,
            digest=revision.digest,
            time=write_time(),
        )
        others = [known for known in self.status.history if known.revision != revision.number]
        self.status.history = [record, *others][:HISTORY]

    def turned_out_failed(self, revision: int) -> None:
        """A revision that was deployed when its run ended is marked failed since."""
        for record in self.status.history:
            if record.revision == revision:
                record.outcome = FAILED

    def uninstalled(self) -> None:
        """The release is gone: its revisions prove nothing about one that may be made again."""
        for record in self.status.history:
            if record.outcome == DEPLOYED:
                record.outcome = UNINSTALLED

    def waiting(self, message: str, *, until: str, gone: bool = False) -> None:
        """Nothing can be done before a time; say why and until when. What the last run came to stays as it is.

        `gone` says that the release is known to be going away.
        """
        status = self.status
        status.observed_generation = self.chart.generation
        status.next_retry_at = until
        if self.chart.deleting:
            status.phase = Phase.DELETING
        conditions = self._conditions()
        conditions.working(message, gone=gone)
        self._apply(conditions)

    def succeeded(
        self,
        *,
        phase: Phase,
        reason: Reason,
        message: str,
        digest: str,
        release: ReleaseStatus | None,
        released: bool | None,
    ) -> None:
        """The run has ended well."""
        status = self.status
        status.observed_generation = self.chart.generation
        status.phase = phase
        status.release = release
        status.last_failure = None
        status.blocked_by = []
        status.failures = 0
        status.attempted_digest = digest
        status.next_retry_at = None
        status.handled_requests = dict(self.chart.requests)
        self.attempt_ended()
        conditions = self._conditions()
        conditions.succeeded(
            reason, message, released=released, validated=any(p.name == Phase.VALIDATE for p in status.phases)
        )
        self._apply(conditions)

    def failed(
        self,
        error: OperatorError,
        *,
        digest: str | None,
        plan: Next,
        release: ReleaseStatus | None,
        revision: int | None,
        phase: Phase = Phase.FAILED,
        taken_back: bool = False,
    ) -> bool:
        """The run has failed; `plan` says what comes next, `taken_back` that the release does not stay as the run left it.

        Returns whether this is news: the failure of the attempt before, with one more attempt to come, is not.
        """
        status = self.status
        known = status.last_failure if status.failures else None
        repeated = known is not None and (known.reason, known.message) == (
            error.reason,
            cut(error.message, MESSAGE_LENGTH),
        )
        status.observed_generation = self.chart.generation
        status.phase = phase
        status.release = release
        status.failures += 1
        status.attempted_digest = digest
        status.next_retry_at = write_time(plan.at) if plan.at else None
        status.handled_requests = dict(self.chart.requests)
        failed_phase = self.failed_phase.value if self.failed_phase else Phase.PENDING.value
        self.attempt_ended()
        cause = self.findings.cause
        status.blocked_by = error.blocked_by if isinstance(error, UninstallBlockedError) else []
        status.last_failure = bound(
            LastFailure(
                phase=failed_phase,
                reason=error.reason.value,
                message=cut(error.message, MESSAGE_LENGTH),
                root_cause=RootCause(
                    kind=cause.subject.kind,
                    namespace=cause.subject.namespace,
                    name=cause.subject.name,
                    container=cause.container,
                )
                if cause and cause.reason == error.reason
                else None,
                helm_error=cut(error.text, MESSAGE_LENGTH) if isinstance(error, HelmError) and error.text else None,
                events=list(self.findings.events),
                containers=list(self.findings.containers),
                hint=error.hint,
                incomplete=self.findings.incomplete,
                revision=revision,
                time=write_time(),
            )
        )
        conditions = self._conditions()
        conditions.failed(
            error.reason,
            cut(error.message, MESSAGE_LENGTH),
            stalled=plan.stalled,
            after=cut(plan.message, MESSAGE_LENGTH),
            released=self._deploys or None if self.released and not taken_back else False,
            validating=self.failed_phase is Phase.VALIDATE,
        )
        self._apply(conditions)
        self.telemetry.failed(error.reason, failed_phase)
        return not repeated or plan.gave_up

    def _conditions(self) -> Conditions:
        return Conditions(self.status.conditions, generation=self.chart.generation, now=write_time())

    def _apply(self, conditions: Conditions) -> None:
        self.status.conditions = conditions.result()
        self.telemetry.status_changed(self.chart.key, self.status)
        self.writer.touch()
