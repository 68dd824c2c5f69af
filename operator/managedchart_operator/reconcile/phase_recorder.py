"""Records the phases of one run in the status as they happen; lifecycles call it."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from managedchart_operator.api.phase_status import ActionState, ActionStatus, PhaseState, PhaseStatus
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import MAX_CONTAINERS, Findings
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.rendered import RenderedObjects
from managedchart_operator.reconcile.revision_history import remember
from managedchart_operator.reconcile.status_recorder import MESSAGE_LENGTH, Failure, StatusRecorder
from managedchart_operator.redaction import Redactor
from managedchart_operator.shortening import cut
from managedchart_operator.times import write_time

# An etcd object has 1.5 MiB; a run of 100 actions has their messages beside the evidence of a failure.
ACTION_MESSAGE = 512
MAX_KEYS = 64


@dataclass(slots=True)
class PhaseRecorder:
    """Implements `lifecycle.context.Recorder`; the run reads `failed_phase`, `released` and `findings` at its end."""

    recorder: StatusRecorder
    logger: logging.LoggerAdapter[logging.Logger]
    journal: Journal = field(default_factory=Journal)
    operation: Operation | None = None
    """What the run does with the release; None while there is no run."""
    released: bool = False
    """Whether exec has succeeded, or had nothing to do."""
    failed_phase: Phase | None = None
    """The first phase that failed."""
    findings: Findings = field(default_factory=Findings)
    rendered: RenderedObjects | None = None
    """What knows the secrets of the run; None while there is no run."""
    _unexplained: list[tuple[PhaseStatus, OperatorError]] = field(default_factory=list)
    """The phases whose errors the status does not have yet."""
    _began: float = 0.0

    @property
    def deploys(self) -> bool:
        """Whether the run is to leave the release as the spec wants it."""
        return self.operation is not None and self.operation.deploys

    def failure(
        self, error: OperatorError, *, digest: str | None = None, revision: int | None = None, taken_back: bool = False
    ) -> Failure:
        """Return how the run has failed; `taken_back` says that the remedy leaves nothing of what the run has released."""
        released: bool | None = self.released and not taken_back
        if released and not self.deploys:
            released = None  # there is nothing that the spec wants to be released
        return Failure(error, digest, revision, self.failed_phase, released, self.findings)

    def phase_started(self, phase: Phase) -> None:
        """A phase begins."""
        self._began = time.monotonic()
        status = self.recorder.status
        status.phase = Phase.DELETING if self.recorder.chart.deleting else phase
        status.attempt.phase = phase.value
        if phase is Phase.EXEC and self.operation is Operation.UNINSTALL:
            status.attempt.uninstall_began = True
        status.phases = [
            *status.phases,
            PhaseStatus(name=phase.value, state=PhaseState.RUNNING, started_at=write_time()),
        ]
        self.recorder.writer.touch()

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, payload: Sequence[str] = ()) -> None:
        """A phase has ended, with or without an error."""
        seconds = time.monotonic() - self._began
        status = self.recorder.status
        entry = status.phases[-1]
        entry.state = PhaseState.FAILED if error else PhaseState.SUCCEEDED
        entry.finished_at = write_time()
        entry.duration_seconds = round(seconds, 3)
        entry.payload = sorted(payload)[:MAX_KEYS] or None
        if error:
            self._unexplained.append((entry, error))
            if isinstance(error, HelmError):  # redacted when it was made; others may repeat what only the release has
                self._explain(entry, error, self.redact)
        if error and self.failed_phase is None:
            self.failed_phase = phase
        if phase is Phase.EXEC and error is None:
            self.released = True
            if self.deploys:
                # Now, not at the end of the run: the later phases may take long or fail, and the release stays deployed.
                made = self.journal
                remember(status, made.deployed, action=status.attempt.operation or "", chart_version=made.chart_version)
                self.recorder.released()
        self.recorder.telemetry.phase_ended(phase.value, seconds=seconds, succeeded=error is None)
        self.recorder.writer.touch()

    async def store(self) -> None:
        """Write the status now. The writer logs a failure; the end of the run writes it again."""
        with contextlib.suppress(KubeError):
            await self.recorder.writer.flush()

    def action(self, entry: ActionStatus) -> None:
        """An action of the running phase begins, or has changed."""
        entry = entry.model_copy(update={"message": cut(self.redact(entry.message or ""), ACTION_MESSAGE) or None})
        phase = self.recorder.status.phases[-1]
        phase.actions = actions = phase.actions or []
        if actions and (actions[-1].name, actions[-1].origin) == (entry.name, entry.origin):
            actions[-1] = entry
        else:
            actions.append(entry)
        if entry.state is not ActionState.RUNNING:
            seconds = entry.duration_seconds or 0.0
            self.recorder.telemetry.action_ended(entry.verb, outcome=entry.state.value.lower(), seconds=seconds)
        self.recorder.writer.touch()

    def redact(self, text: str) -> str:
        """Return a text without the secrets that are known by now."""
        return (self.rendered.redactor() if self.rendered else Redactor())(text)

    async def read_redactor(self) -> Callable[[str], str]:
        """Return what removes all secrets of the run and of the release, as far as that can be read. Raises nothing."""
        return await self.rendered.read_redactor() if self.rendered else Redactor()

    def explain(self, redact: Callable[[str], str]) -> None:
        """Put the errors of the phases into the status, and those that end there into the log; `redact` knows all secrets.

        Not as soon as a phase has failed: a plug-in's error may repeat what only the rendered Secrets have.
        """
        for entry, error in self._unexplained:
            self._explain(entry, error, redact)
            if error.reason is Reason.INTERNAL_ERROR and isinstance(error.__cause__, Exception | SystemExit):
                self.logger.error("unhandled error in phase %s", entry.name, exc_info=error.__cause__)
            if entry.name == Phase.ON_DEPLOY_FAILURE:
                self.logger.warning("phase on_deploy_failure failed: %s", entry.message)
        for phase in self.recorder.status.phases:
            for action in phase.actions or ():
                action.message = action.message and redact(action.message)
        self._unexplained.clear()
        self.recorder.writer.touch()

    def _explain(self, entry: PhaseStatus, error: OperatorError, redact: Callable[[str], str]) -> None:
        entry.message = cut(redact(error.message), MESSAGE_LENGTH)

    def evidence(self, findings: Findings) -> None:
        """Evidence about a failure was found. What an action has found before, which is what ended the run, stays first."""
        known = {(each.pod, each.name) for each in self.findings.containers}
        others = [each for each in findings.containers if (each.pod, each.name) not in known]
        containers = [*self.findings.containers, *others][:MAX_CONTAINERS]
        self.findings = replace(findings, containers=containers)

    def warn(self, reason: str, message: str) -> None:
        """Note what does not stop the run, for a Warning Event and the log."""
        self.journal.warn(reason, message)
