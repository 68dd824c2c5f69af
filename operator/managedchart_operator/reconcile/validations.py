"""Runs the actions of phase Validate again while a release matches its spec.

A validation starts no helm, and writes nothing as long as it passes. The spec and each LifecycleProfile are origins of checks,
each with its own interval and threshold, whatever those of the others are. The status counts failures in a row, so a restarted
operator goes on counting; when the next validation of an origin is due is known to the process only, and a restarted one
spreads them over the interval. Too many failures make the resource not Ready, with evidence; once the checks of that origin
pass, it is healed. The attempt in the status is not touched: nothing is deployed again because of a failed check.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from managedchart_operator.api.phase_status import ActionStatus, PhaseState
from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase
from managedchart_operator.api.validation_status import FailedChecks
from managedchart_operator.errors import LifecycleError, OperatorError
from managedchart_operator.kube.events import Events
from managedchart_operator.lifecycle.actions.scene import SPEC
from managedchart_operator.lifecycle.base import Lifecycle
from managedchart_operator.lifecycle.with_actions import WithActions, why_blocked
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.check_rounds import Checks, Round, most_seconds, run_round
from managedchart_operator.reconcile.failed_checks import by_origin, failed_again, summary
from managedchart_operator.reconcile.missing_permissions import refusal_in
from managedchart_operator.reconcile.phase_recorder import ACTION_MESSAGE
from managedchart_operator.reconcile.resource_pass import ResourcePass
from managedchart_operator.reconcile.services import Telemetry
from managedchart_operator.reconcile.status_recorder import (
    MESSAGE_LENGTH,
    Failure,
    deployed_message,
    is_invalid,
    last_failure,
)
from managedchart_operator.shortening import cut
from managedchart_operator.times import write_time

PASSED = "ValidationPassed"
"""Reason of the Event that says that the checks pass again."""

# So that resources that were deployed together are not validated together for ever.
_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class _Due:
    at: float
    """By the clock of the process."""
    checks: Checks
    """What was to be checked: other checks are due at once."""


@dataclass(slots=True)
class _Schedule:
    """When the checks of one resource are due, by their origins."""

    generation: int
    """The generation of the spec at that time."""
    due: dict[str, _Due] = field(default_factory=dict)

    def at(self, origin: str, checks: Checks) -> float:
        """Return when the checks of an origin are due: at once (-inf) if they are new."""
        known = self.due.get(origin)
        return known.at if known is not None and known.checks == checks else -math.inf


class Validations:
    """When the checks of each resource are due, and what follows from them; one for the whole operator."""

    def __init__(
        self,
        events: Events,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._events = events
        self._telemetry = telemetry
        self._clock = clock
        self._chance = chance
        self._schedules: dict[Key, _Schedule] = {}

    def forget(self, key: Key) -> None:
        """Drop what is known about a resource that is deleted."""
        self._schedules.pop(key, None)

    def only_waits(self, chart: ManagedChart) -> bool:
        """Whether the resource waits for nothing else than a validation, which is due."""
        known = self._schedules.get(chart.key)
        if known is None or chart.deleting or known.generation != chart.generation:
            return False
        return any(each.at <= self._clock() for each in known.due.values())

    def after_run(self, work: ResourcePass, lifecycle: Lifecycle) -> float | None:
        """Return the seconds until the first validation after a run that has succeeded; None if there is none."""
        if work.recorder.status.attempt.failures:
            self.forget(work.chart.key)
            return None
        checks = _checks_of(work, lifecycle)
        schedule = self._schedules[work.chart.key] = _Schedule(work.chart.generation)
        self._plan(schedule, checks, checks)
        return self._delay(schedule)

    async def in_sync(self, work: ResourcePass, lifecycle: Lifecycle) -> float | None:
        """Validate a release that matches the spec, as far as it is due; returns the seconds until the next validation.

        Raises KubeError if the status cannot be written.
        """
        checks, known = _checks_of(work, lifecycle), self._schedules.get(work.chart.key)
        schedule = _Schedule(work.chart.generation)
        if known is not None:
            schedule.due = {origin: due for origin, due in known.due.items() if origin in checks}
        # An origin that is new later is due at once, but not all of them when an operator has started.
        self._schedules[work.chart.key] = schedule
        failing = by_origin(work.recorder.status.validation)
        left = {origin: each for origin, each in failing.items() if origin in checks}
        # The checks of a profile that has become invalid are not among them, so that they have not passed.
        if left != failing and why_blocked(lifecycle) is None:
            await self._record(work, checks, left)
        if known is None:
            self._plan(schedule, checks, checks, least=0.0, most=1.0)
        else:
            await self._validate(work, checks, schedule)
        return self._delay(schedule)

    def _plan(
        self,
        schedule: _Schedule,
        checks: Mapping[str, Checks],
        origins: Iterable[str],
        *,
        least: float = 1.0 - _JITTER,
        most: float = 1.0 + _JITTER,
    ) -> None:
        """Plan the next validations of origins, after a part of their interval between `least` and `most`."""
        for origin in origins:
            delay = checks[origin][0].validation.seconds * self._chance(least, most)
            schedule.due[origin] = _Due(self._clock() + delay, checks[origin])

    def _delay(self, schedule: _Schedule) -> float | None:
        first = min((each.at for each in schedule.due.values()), default=None)
        return None if first is None else max(first - self._clock(), 0.0)

    async def _validate(self, work: ResourcePass, checks: Mapping[str, Checks], schedule: _Schedule) -> None:
        """Run the checks of each origin that is due, next to each other: none waits for one that hangs.

        What becomes due meanwhile is run too, as long as one that was due at first still runs: others have to be done as well.
        """
        running: dict[asyncio.Task[Round], str] = {}
        first: set[asyncio.Task[Round]] = set()
        try:
            while True:
                if not first or not first.isdisjoint(running):
                    begun = await self._begin(work, checks, schedule, set(running.values()))
                    running |= begun
                    first = first or set(begun)
                if not running:
                    return
                idle = [schedule.at(each, checks[each]) for each in checks if each not in running.values()]
                wait = min(idle, default=math.inf) - self._clock() if not first.isdisjoint(running) else math.inf
                timeout = None if wait == math.inf else max(wait, 0.0)
                done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in [each for each in running if each in done]:
                    origin = running.pop(task)
                    await self._ended(work, checks, task.result())
                    self._plan(schedule, checks, [origin])
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _begin(
        self, work: ResourcePass, checks: Mapping[str, Checks], schedule: _Schedule, running: set[str]
    ) -> dict[asyncio.Task[Round], str]:
        """Begin the checks of each origin that is due and not `running`."""
        now = self._clock()
        due = [each for each in checks if each not in running and schedule.at(each, checks[each]) <= now]
        if not due:
            return {}
        try:
            await work.check_account()
        except OperatorError as error:
            services = work.release.services
            if not (await refusal_in(services, services.identity, error)).momentary:
                for origin in due:
                    await self._ended(work, checks, Round(origin, error))
            self._plan(schedule, checks, due)
            return {}
        return {
            asyncio.create_task(
                run_round(work, each, checks[each], most=most_seconds(each, checks), telemetry=self._telemetry),
                name=f"checks of {each} {work.chart.key}",
            ): each
            for each in due
        }

    async def _ended(self, work: ResourcePass, checks: Mapping[str, Checks], ended: Round) -> None:
        """Record what the checks of an origin have found, if it is new. Raises KubeError."""
        error, origin = ended.error, ended.origin
        failing = by_origin(work.recorder.status.validation)
        known = failing.get(origin)
        if error is None:
            if failing.pop(origin, None) is not None:
                await self._record(work, checks, failing, ended)
            return
        # That the API server does not answer says nothing about the release.
        if error.reason is Reason.API_UNAVAILABLE:
            return
        redact = await work.phases.read_redactor()
        failing[origin] = now = failed_again(
            known,
            origin=origin,
            action=ended.failed,
            message=cut(await asyncio.to_thread(redact, error.message), MESSAGE_LENGTH),
            now=write_time(),
            threshold=checks[origin][0].validation.failure_threshold,
        )
        if known is not None and (known.failures, known.action) == (now.failures, now.action):
            failing[origin] = known
            if is_invalid(work.recorder.status):
                return  # nothing new
        await self._record(work, checks, failing, ended)

    async def _record(
        self,
        work: ResourcePass,
        checks: Mapping[str, Checks],
        failing: Mapping[str, FailedChecks],
        ended: Round | None = None,
    ) -> None:
        """Record which checks fail now, and what follows from it; `ended` is why that has changed. Raises KubeError."""
        status, before = work.recorder.status, work.recorder.status.validation
        shown = before.origin if before is not None and is_invalid(status) else ""
        thresholds = {origin: each[0].validation.failure_threshold for origin, each in checks.items()}
        status.validation, invalid = summary(failing, thresholds, shown=shown)
        now = status.validation
        if now is None or not invalid:
            if shown:
                await self._healed(work, checks, ended)
            else:
                work.recorder.writer.touch()
                await work.recorder.writer.flush()
            return
        _record_actions(work, checks, ended, message=now.message)
        new = before is None or (shown, before.action) != (now.origin, now.action)
        if new:
            hint = ended.error.hint if ended and ended.error and ended.origin == now.origin else None
            await self._failed(work, now, hint=hint)
        work.recorder.writer.touch()
        await work.recorder.writer.flush()
        if shown != now.origin:
            work.logger.warning("validation failed %d times: %s", now.failures, now.message)
            await self._events.post(work.chart, type="Warning", reason=Reason.VALIDATION_FAILED, message=now.message)

    async def _failed(self, work: ResourcePass, failed: FailedChecks, *, hint: str | None) -> None:
        """Put into the status that the resource is not Ready because of these checks, with the evidence."""
        status = work.recorder.status
        await work.release.storage.look()
        findings = await work.release.evidence.collect()
        await work.release.evidence.close()
        named = LifecycleError(failed.message, reason=Reason.VALIDATION_FAILED, hint=hint)
        failure = Failure(named, None, None, Phase.VALIDATE, True, findings)
        status.last_failure = last_failure(failure, failed.message)
        status.phase = Phase.FAILED
        work.recorder.apply(work.recorder.conditions.checks_failed(failed.message))
        self._telemetry.failed(Reason.VALIDATION_FAILED, Phase.VALIDATE.value)

    async def _healed(self, work: ResourcePass, checks: Mapping[str, Checks], ended: Round | None) -> None:
        """The checks that made the resource not Ready pass again, or there are none any more."""
        status = work.recorder.status
        status.last_failure = None
        status.phase = Phase.READY
        _record_actions(work, checks, ended, message=None)
        message = deployed_message(status.release)
        work.recorder.apply(work.recorder.conditions.checks_passed(message))
        await work.recorder.writer.flush()
        work.logger.info("the checks pass again")
        await self._events.post(work.chart, type="Normal", reason=PASSED, message=f"The checks pass again; {message}")


def _checks_of(work: ResourcePass, lifecycle: Lifecycle) -> dict[str, Checks]:
    """Return the checks that run again, by their origins; those that are turned off are not among them."""
    if not isinstance(lifecycle, WithActions) or work.action is not Action.DEPLOY or work.spec.dry_run:
        return {}
    return dict(lifecycle.checks)


def _record_actions(
    work: ResourcePass, checks: Mapping[str, Checks], ended: Round | None, *, message: str | None
) -> None:
    """Show the actions of a validation in the phase Validate of the last run, beside those of other origins."""
    for phase in work.recorder.status.phases:
        if phase.name == Phase.VALIDATE:
            known: Sequence[ActionStatus] = phase.actions or ()
            phase.actions = []
            origins = dict.fromkeys([*(each.origin for each in known), *checks])
            for origin in sorted(origins, key=lambda each: each == SPEC):
                if ended is not None and ended.origin == origin:
                    phase.actions += [_shown(work, each) for each in ended.actions]
                elif origin in checks:
                    phase.actions += [each for each in known if each.origin == origin]
            phase.state = PhaseState.FAILED if message else PhaseState.SUCCEEDED
            phase.message = message


def _shown(work: ResourcePass, entry: ActionStatus) -> ActionStatus:
    message = entry.message and cut(work.phases.redact(entry.message), ACTION_MESSAGE)
    return entry.model_copy(update={"message": message})
