"""Uninstalls a release that is proven to be this resource's, and waits until all of its objects are deleted."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from managedchart_operator.api.duration import seconds
from managedchart_operator.errors import HelmError, ObjectsLeftError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.storage import UNINSTALLED
from managedchart_operator.helm.stored_manifest import Keep
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import adopted_by_failed, spared
from managedchart_operator.reconcile.helm_call import HelmCall, run_helm
from managedchart_operator.reconcile.kept_objects import change_stored
from managedchart_operator.reconcile.leaving_objects import LeavingObjects
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT, Outcome
from managedchart_operator.reconcile.orphaned_hooks import delete_orphaned_hooks
from managedchart_operator.reconcile.orphaned_objects import Older, delete_objects_of, delete_orphaned_objects
from managedchart_operator.reconcile.own_revisions import why_it_stays
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.waiting.deletion import blocked, find_blockers

# helm's errors for a release none of whose Secrets it can read (4.3.1: it leaves them out of the history, then asks for the
# newest revision).
_HELM_FINDS_NONE = re.compile(r"no release provided|release: not found")


@dataclass(frozen=True, slots=True)
class UninstallOptions:
    """How to uninstall. `before` is awaited when helm may start; it does not start if this raises."""

    before: Callable[[], Awaitable[None]] | None = None
    spare: tuple[ObjectRef, ...] | None = None
    """The objects to leave, as `spare_from_uninstall` returned them; None where it was not called."""


async def uninstall(run: ReleaseRun, options: UninstallOptions = UninstallOptions()) -> Outcome:
    """Uninstall and wait until all objects are deleted. Raises HelmError, KubeError.

    Changes nothing where nothing is installed, or where the release is not proven to be this resource's.

    If the newest revision cannot be read, helm may still read it, or it uninstalls the revision before. The objects that helm
    did not uninstall are unknown then, so they and the release Secret stay, and an ObjectsLeftError is raised.
    """
    revisions = await run.storage.look()
    if not revisions:
        # helm deletes a release's Secrets before its objects are deleted; the status names those.
        if blockers := await find_blockers(run.objects, run.earlier_blockers):
            raise blocked(blockers)
        return Outcome("Nothing was deployed", changed=False)
    if not run.ownership.owns(revisions):
        stays = why_it_stays(run.storage)
        return Outcome(stays, left=stays, changed=False)
    spare = options.spare if options.spare is not None else await _adopted_unless_deployed(run)
    try:
        await _uninstall(run, options.before)
    except ObjectsLeftError:
        if spare:
            run.journal.warn(RELEASE_LEFT, f"Uninstalled{spared(spare)}")
        raise
    run.storage.revisions = ()
    return Outcome(f"Uninstalled{spared(spare)}", spared=spare)


async def spare_from_uninstall(run: ReleaseRun) -> tuple[ObjectRef, ...]:
    """Make a following uninstall leave the objects that failed revisions only adopted; returns those.

    Raises KubeError, HelmError.
    """
    adopted = await adopted_by_failed(run.storage, run.objects)
    await change_stored(run.storage, adopted, Keep())
    return tuple(adopted)


async def _adopted_unless_deployed(run: ReleaseRun) -> tuple[ObjectRef, ...]:
    if run.ownership.deployed(run.storage.revisions):
        return ()
    try:
        return await spare_from_uninstall(run)
    except HelmError as error:  # what cannot be read must not block a removal
        run.journal.warn(error.reason.value, error.message)
        return ()


async def _uninstall(run: ReleaseRun, before: Callable[[], Awaitable[None]] | None) -> None:
    stored, unreadable = await _read_or_why(run)
    leaving = LeavingObjects(run.evidence.rendered, run.objects)
    if run.newest and stored:
        left = await delete_orphaned_objects(run.storage, run.objects, stored=stored)
        await run.evidence.rendered.remember(run.newest, stored, left)
        await delete_orphaned_hooks(run.objects, namespace=run.namespace, stored=stored)
    helm_waits = False
    if run.newest is None or run.newest.status != UNINSTALLED:
        foreground = await leaving.have_dependents()
        # Pods may take minutes to end, and post-delete hooks must find everything deleted.
        helm_waits = foreground or stored is None or stored.hooks_at("post-delete") > 0
        arguments = command.uninstall(
            release=run.name,
            namespace=run.namespace,
            timeout=run.spec.timeout,
            foreground=foreground,
            wait=helm_waits,
        )
        await _helm_uninstall(run, leaving, arguments, before=before, readable=unreadable is None)
    # Also after helm's own wait, which may end before it has looked at all objects (4.3.1).
    try:
        await _until_deleted(run, leaving, stored)
    except OperatorError:
        await run.storage.observe()  # helm has deleted the release's Secrets already, or calls it uninstalled
        raise
    if unreadable is not None and await run.storage.observe():
        raise ObjectsLeftError(
            unreadable,
            left=f"{unreadable.message}; objects that only this revision created are left in the cluster",
        ) from unreadable
    if not helm_waits:
        await run.storage.purge()


async def _helm_uninstall(
    run: ReleaseRun,
    leaving: LeavingObjects,
    arguments: list[str],
    *,
    before: Callable[[], Awaitable[None]] | None,
    readable: bool,
) -> None:
    deadline = command.deadline(run.spec.timeout)
    try:
        await run_helm(run, HelmCall(arguments, deadline=deadline, before=before))
    except HelmError as error:
        if not readable and _HELM_FINDS_NONE.search(error.text):
            return
        await run.storage.observe()
        # helm's wait may end at once with "still exists" although it has deleted the release (seen with 4.3.1).
        if run.storage.revisions or not await leaving.wait_until_deleted(seconds(run.spec.timeout)):
            raise await _name_blockers(leaving, error) from error


async def _until_deleted(run: ReleaseRun, leaving: LeavingObjects, stored: StoredRelease | None) -> None:
    """Wait until all objects are deleted. Raises OperatorError while any may be left, so that none is forgotten."""
    timeout = seconds(run.spec.timeout)
    deleted = await leaving.wait_until_deleted(timeout)
    if deleted and await _delete_overlooked(run, leaving, stored):
        deleted = await leaving.wait_until_deleted(timeout)
    if deleted:
        return
    if blockers := await leaving.blockers():
        raise blocked(blockers)
    raise OperatorError(
        f"Could not confirm within {run.spec.timeout} that all objects of the release were deleted",
        reason=Reason.API_UNAVAILABLE,
        transient=True,
    )


async def _delete_overlooked(run: ReleaseRun, leaving: LeavingObjects, stored: StoredRelease | None) -> bool:
    """Delete objects that helm missed because its cache names an apiVersion that is no longer served.

    Raises KubeError, HelmError.
    """
    if stored is None or not await leaving.have_moved():
        return False
    return bool(
        await delete_objects_of(
            run.objects, release=run.name, namespace=run.namespace, newest=StoredRelease({}), older=[Older(stored)]
        )
    )


async def _name_blockers(leaving: LeavingObjects, error: HelmError) -> HelmError:
    """Return an error that names the objects that block the uninstall, where it failed for that."""
    waited = error.reason in (Reason.TIMEOUT, Reason.HELM_FAILED, Reason.UNINSTALL_BLOCKED)
    blockers = await leaving.blockers() if waited else []
    return blocked(blockers, text=error.text) if blockers else error


async def _read_or_why(run: ReleaseRun) -> tuple[StoredRelease | None, HelmError | None]:
    """Return the newest revision's document, or why it cannot be read. Raises KubeError."""
    try:
        return await run.storage.read_stored(), None
    except HelmError as error:
        return None, error
