"""Rolls a release back to an earlier revision of this resource."""

import asyncio

from managedchart_operator.api.conflicts import ConflictPolicy
from managedchart_operator.charts.late_hooks import text_has_ttl_jobs, text_leaves_out
from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.storage import DEPLOYED, Revision
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reconcile.adopted import spared
from managedchart_operator.reconcile.helm_call import HelmCall, run_helm
from managedchart_operator.reconcile.left_fields import explained_conflicts, fields_to_leave
from managedchart_operator.reconcile.operations.resume import until_ready
from managedchart_operator.reconcile.orphaned_objects import delete_orphaned_objects
from managedchart_operator.reconcile.owned_fields import read_owned_fields
from managedchart_operator.reconcile.prepared_rollback import prepared_rollback
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.taken_fields import noting_taken_fields


async def rollback(run: ReleaseRun, revision: Revision, *, spare: tuple[ObjectRef, ...] = ()) -> str:
    """Roll back to a revision; returns a sentence. `spare` is what `spare_adopted` returned. Raises HelmError, KubeError."""
    owned = await read_owned_fields(run, revision)
    stored = owned.stored  # None if it cannot be read; helm may still be able to
    by_server = stored is not None and stored.applied_by_server
    target = revision
    if stored is not None:
        left = await fields_to_leave(run, owned, client_side=run.spec.force_upgrade, target=stored)
        target = await prepared_rollback(run, revision, stored, left) if left else revision
    if target is not revision:
        by_server = True
        # helm compares with the newest revision, the prepared one, so it does not delete what only the failed one made. This is
        # done before helm runs: after a kill nobody looks behind the revision that helm has made, which is a good one.
        await delete_orphaned_objects(run.storage, run.objects)
    # helm cannot leave an object out of its wait, so then the operator waits.
    leaves_out = bool(run.spec.wait_for.exclude) or (stored is not None and text_leaves_out(stored.manifest.encode()))
    options = command.ReleaseOptions(
        run.name,
        run.namespace,
        run.spec.timeout,
        wait=run.spec.wait and not leaves_out,
        wait_for_jobs=stored is None or not text_has_ttl_jobs(stored.manifest.encode()),
        force_replace=run.spec.force_upgrade,
        force_conflicts=run.spec.conflicts.policy is ConflictPolicy.FORCE,
    )
    arguments = command.rollback(
        options,
        revision=target.number,
        description=f"Rollback to {revision.number}{run.ownership.rollback_mark}",
        by_server=by_server,
    )
    await asyncio.to_thread(run.services.helm.clear_discovery_cache)
    try:
        async with noting_taken_fields(run, owned.of_others, verb="Rollback"), explained_conflicts(run):
            await run_helm(run, HelmCall(arguments, target=target))
    except HelmError:
        await run.storage.observe()
        raise
    await run.storage.observe()
    if run.spec.wait and leaves_out:
        await _until_ready(run)
    else:
        await delete_orphaned_objects(run.storage, run.objects)
    return f"Rolled back to revision {revision.number}{spared(spare)}"


async def _until_ready(run: ReleaseRun) -> None:
    """Wait for the objects of the rollback, which is marked failed if they do not become ready. Raises OperatorError."""
    try:
        async with run.services.waits.places.hold():
            await until_ready(run)
    except OperatorError as error:
        await run.storage.observe()
        if run.newest is not None and run.newest.status == DEPLOYED:
            await run.storage.mark_failed(run.newest, error.message)
        raise
