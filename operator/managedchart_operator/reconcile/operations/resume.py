"""Waits until the applied objects are ready while evidence is collected: after helm, and again after a stop of the operator."""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from managedchart_operator.api.duration import seconds
from managedchart_operator.diagnosis.objects import namespaces_of
from managedchart_operator.errors import HelmError, KubeError, OperatorError, WaitError
from managedchart_operator.helm.storage import DEPLOYED
from managedchart_operator.reconcile.decide import AwaitingReadiness, Run
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.orphaned_objects import delete_orphaned_objects
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.waiting.left_out import left_out

logger = logging.getLogger(__name__)


async def resume(run: ReleaseRun, awaiting: AwaitingReadiness | None) -> Outcome:
    """Wait for the newest revision's objects, unless that wait is over. Raises OperatorError."""
    if awaiting is not None and run.newest is not None:
        await watched(run, partial(until_ready, run), mark_failed=awaiting.fail_on_timeout)
    return Outcome("The release is deployed", changed=False)


def resumed(run: ReleaseRun, plan: Run) -> ReleaseRun:
    """Return the run as one about the newest revision, whose evidence begins when that revision was stored."""
    newest = run.newest
    if newest is None or not (plan.awaiting or plan.continues):
        return run
    attempt, since = newest.attempt or run.attempt, run.evidence.since
    if plan.awaiting and newest.modified_at is not None:
        since = datetime.fromtimestamp(newest.modified_at, UTC)
    evidence = replace(run.evidence, attempt=attempt, since=since)
    return replace(run, attempt=attempt if plan.continues else run.attempt, evidence=evidence)


async def watched(run: ReleaseRun, work: Callable[[], Coroutine[Any, Any, None]], *, mark_failed: bool) -> None:
    """Do the work, and end it early when the namespaces show that waiting cannot succeed. Raises OperatorError.

    With `mark_failed` a revision that does not become ready is marked failed, since helm has recorded it as deployed.
    """
    grace = seconds(run.spec.fail_fast_grace) if run.spec.fail_fast and run.spec.wait else None
    try:
        async with run.services.waits.places.hold():
            cause = await run.evidence.watch_over(work(), grace=grace)
        if cause is not None:
            raise WaitError(
                cause.message,
                reason=cause.reason,
                transient=True,
                text="Stopped waiting before spec.timeout because the rollout cannot succeed (spec.failFast)",
                hint=cause.hint,
            )
    except OperatorError as error:
        if mark_failed:
            await _mark_failed(run, error)
        raise


async def until_ready(run: ReleaseRun) -> None:
    """Wait for the objects of the newest revision as long as the spec allows. Raises HelmError, KubeError.

    A cancellation leaves a revision that helm calls deployed; the next run decides whether to wait on or to mark it failed.
    """
    progress = run.evidence.progress
    progress.all_is_applied()
    rendered = await run.evidence.rendered.waited_for()
    progress.namespaces = namespaces_of(rendered, namespace=run.namespace)
    progress.placed.set()
    await delete_orphaned_objects(run.storage, run.objects)
    wait = run.services.waits.of(
        rendered,
        namespace=run.namespace,
        since=run.evidence.since,
        ends_early=run.spec.fail_fast,
        left_out=await left_out(run.objects, rendered, exclude=run.spec.wait_for.exclude, namespace=run.namespace),
        polls=progress.polls,
    )
    error = await wait.within(seconds(run.spec.timeout), redactor=run.evidence.rendered.read_redactor)
    if error is not None:
        progress.unready = wait.unready
        raise error


async def _mark_failed(run: ReleaseRun, why: OperatorError) -> None:
    """Mark the run's revision failed if helm calls it deployed; logs its own errors, since `why` stays the error of the run."""
    try:
        await run.storage.observe()
        newest = run.newest
        if newest is not None and newest.status == DEPLOYED and newest.is_of(run.attempt):
            await run.storage.mark_failed(newest, why.text if isinstance(why, HelmError) and why.text else why.message)
    except (KubeError, HelmError) as error:
        logger.warning("%s/%s: cannot mark the revision failed: %s", run.namespace, run.name, error.message)
