"""Resumes a run that was stopped after everything was applied: waits for what an earlier process deployed."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from managedchart_operator.reconcile.decide import AwaitingReadiness, Run
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.operations.readiness import until_ready, watched
from managedchart_operator.reconcile.release_run import ReleaseRun


async def resume(run: ReleaseRun, awaiting: AwaitingReadiness | None) -> Outcome:
    """Wait for the newest revision's objects, unless that wait is over. Raises OperatorError."""
    if awaiting is None or run.newest is None:
        return Outcome("The release is deployed", changed=False)
    await watched(run, partial(until_ready, run), mark_failed=awaiting.fail_on_timeout)
    return Outcome("The release is deployed", changed=False)


def resumed(run: ReleaseRun, plan: Run) -> ReleaseRun:
    """Return the run as one about the newest revision, so that its evidence begins when that revision was stored.

    Where the plan `continues` the run that made the revision, its failure is the revision's.
    """
    newest = run.newest
    if newest is None or not (plan.awaiting or plan.continues):
        return run
    attempt, since = newest.attempt or run.attempt, run.evidence.since
    if plan.awaiting and newest.modified_at is not None:
        since = datetime.fromtimestamp(newest.modified_at, UTC)
    evidence = replace(run.evidence, attempt=attempt, since=since)
    return replace(run, attempt=attempt if plan.continues else run.attempt, evidence=evidence)
