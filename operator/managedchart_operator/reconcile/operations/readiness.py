"""Waits until the applied objects are ready while evidence is collected: what installing and resuming share."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from managedchart_operator.api.duration import seconds
from managedchart_operator.diagnosis.objects import namespaces_of
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm.storage import DEPLOYED
from managedchart_operator.reconcile.orphaned_objects import delete_orphaned_objects
from managedchart_operator.reconcile.release_run import ReleaseRun

logger = logging.getLogger(__name__)


async def watched(run: ReleaseRun, work: Callable[[], Coroutine[Any, Any, None]], *, mark_failed: bool) -> None:
    """Do the work, and end it early when the namespaces show that waiting cannot succeed. Raises OperatorError.

    With `mark_failed` a revision that does not become ready is marked failed, since helm has recorded it as deployed.
    """
    grace = seconds(run.spec.fail_fast_grace) if run.spec.fail_fast and run.spec.wait else None
    try:
        async with run.services.waits.concurrency:
            cause = await run.evidence.watch_over(work(), grace=grace)
        if cause is not None:
            raise HelmError(
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

    A cancellation leaves a revision behind that helm calls deployed: the status shows that exec has not ended, and the next run
    decides whether to keep waiting or to treat the revision as failed.
    """
    progress = run.evidence.progress
    progress.all_is_applied()
    rendered = await run.evidence.rendered.waited_for()
    progress.namespaces = namespaces_of(rendered, namespace=run.namespace)
    progress.placed.set()
    await delete_orphaned_objects(run.storage, run.objects)
    wait = run.services.waits.of(
        rendered, namespace=run.namespace, since=run.evidence.since, ends_early=run.spec.fail_fast
    )
    not_ready = await wait.within(seconds(run.spec.timeout))
    if not_ready is not None:
        progress.unready = wait.unready
        raise not_ready.error()


async def _mark_failed(run: ReleaseRun, why: OperatorError) -> None:
    """Mark the run's revision failed if helm calls it deployed; logs its own errors, since `why` stays the error of the run."""
    try:
        await run.storage.observe()
        newest = run.newest
        if newest is not None and newest.status == DEPLOYED and newest.is_of(run.attempt):
            await run.storage.mark_failed(newest, why.text if isinstance(why, HelmError) and why.text else why.message)
    except (KubeError, HelmError) as error:
        logger.warning("%s/%s: cannot mark the revision failed: %s", run.namespace, run.name, error.message)
