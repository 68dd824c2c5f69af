"""Runs the checks of one origin once, and keeps what each has found."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from managedchart_operator.api.phase_status import ActionState, ActionStatus
from managedchart_operator.api.status import Phase
from managedchart_operator.diagnosis.collector import Findings
from managedchart_operator.errors import LifecycleError, OperatorError
from managedchart_operator.lifecycle.actions.running import BoundAction, run_actions
from managedchart_operator.lifecycle.actions.scene import SPEC
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.decide import Run
from managedchart_operator.reconcile.lifecycle_release import LifecycleRelease
from managedchart_operator.reconcile.resource_pass import ResourcePass
from managedchart_operator.reconcile.services import Telemetry

Checks = Sequence[BoundAction]
"""The checks of one origin, at least one."""

_PLAN = Run(Operation.RESUME, "The checks of the release are run again")
# Beside a profile whose checks run every ten seconds, those of the ManagedChart have the timeout that an action has by default.
_LEAST_FOR_OWN = 60.0


@dataclass(slots=True)
class CheckRecorder:
    """Implements `lifecycle.context.Recorder` for checks: it keeps the last state of each action."""

    telemetry: Telemetry
    actions: dict[str, ActionStatus] = field(default_factory=dict)

    def phase_started(self, phase: Phase) -> None:
        """Checks have no phase in the status."""

    def phase_ended(self, phase: Phase, *, error: OperatorError | None = None, payload: Sequence[str] = ()) -> None:
        """Checks have no phase in the status."""

    async def store(self) -> None:
        """Checks are stored at the end of their round."""

    def action(self, entry: ActionStatus) -> None:
        """Keep the state of an action, and count it."""
        self.actions[entry.name] = entry.model_copy()
        if entry.state is not ActionState.RUNNING:
            seconds = entry.duration_seconds or 0.0
            self.telemetry.action_ended(entry.verb, outcome=entry.state.value.lower(), seconds=seconds)

    def evidence(self, findings: Findings) -> None:
        """Checks collect none."""

    def warn(self, reason: str, message: str) -> None:
        """An action that may fail is shown in the status only: an Event every few minutes would say nothing new."""

    def give_up(self, message: str) -> None:
        """Note that the action which runs has no more time."""
        for entry in [each for each in self.actions.values() if each.state is ActionState.RUNNING]:
            self.action(entry.model_copy(update={"state": ActionState.FAILED, "message": message}))


@dataclass(frozen=True, slots=True)
class Round:
    """What the checks of an origin have found."""

    origin: str
    error: OperatorError | None = None
    """Why the validation has failed."""
    actions: tuple[ActionStatus, ...] = ()
    """The actions that have run."""

    @property
    def failed(self) -> str:
        """The name of the action that failed last; "" if none did."""
        names = [each.name for each in self.actions if each.state is ActionState.FAILED]
        return names[-1] if names else ""


def most_seconds(origin: str, checks: Mapping[str, Checks]) -> float:
    """Return how long the checks of an origin may take.

    Those of the ManagedChart as long as the shortest interval of the profiles that have checks: nothing else is done for the
    resource meanwhile, and one that waits for a day would leave a changed profile unread for as long.
    """
    shortest = min((each[0].validation.seconds for name, each in checks.items() if name != SPEC), default=math.inf)
    return max(shortest, _LEAST_FOR_OWN) if origin == SPEC else math.inf


async def run_round(work: ResourcePass, origin: str, checks: Checks, *, most: float, telemetry: Telemetry) -> Round:
    """Run the checks of an origin within `most` seconds. Raises nothing except when cancelled."""
    recorder = CheckRecorder(telemetry)
    context = replace(work.context(LifecycleRelease(work.release, _PLAN)), recorder=recorder)
    error: OperatorError | None = None
    try:
        async with asyncio.timeout(None if math.isinf(most) else most) as limit:
            await run_actions(checks, Phase.VALIDATE, context, {})
    except OperatorError as failed:
        error = failed
    except TimeoutError:
        if not limit.expired():
            raise
        error = LifecycleError(
            f"The checks of the ManagedChart did not end within {most:g} s, the longest that they may take beside those of"
            " LifecycleProfiles",
            reason=Reason.PHASE_TIMEOUT,
            hint="Shorten timeout, retries and backoff of the actions of phase Validate.",
        )
        recorder.give_up(error.message)
    return Round(origin, error, tuple(recorder.actions.values()))
