"""Uninstalls a release that is proven to be this resource's, and waits until all of its objects are deleted."""

import contextlib
import re
from collections.abc import Sequence

from managedchart_operator.api.duration import seconds
from managedchart_operator.errors import HelmError, KubeError, ObjectsLeftError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.storage import UNINSTALLED
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import spare_adopted, spared
from managedchart_operator.reconcile.helm_call import BeforeHelm, HelmCall, run_helm
from managedchart_operator.reconcile.kept_objects import kept_objects
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT, Outcome
from managedchart_operator.reconcile.orphaned_objects import (
    delete_objects_of,
    delete_orphaned_hooks,
    delete_orphaned_objects,
)
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.release_storage import why_it_stays
from managedchart_operator.waiting.deletion import Blocker, blocked, find_blockers, have_dependents, until_deleted

# helm's errors for a release none of whose Secrets it can read (4.3.1: it leaves them out of the history, then asks for the
# newest revision).
_HELM_FINDS_NONE = re.compile(r"no release provided|release: not found")


async def uninstall(
    run: ReleaseRun, *, before: BeforeHelm = None, spare: tuple[ObjectRef, ...] | None = None
) -> Outcome:
    """Uninstall and wait until all objects are deleted. Raises HelmError, KubeError.

    Changes nothing where nothing is installed, or where the release is not proven to be this resource's. `spare` is what
    `spare_adopted` returned; None where it was not called. If the newest revision cannot be read, helm may still read it, or it
    uninstalls the revision before. The objects that helm did not uninstall are unknown then, so they and the release Secret
    stay, and an ObjectsLeftError is raised.
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
    if spare is None:
        spare = await _adopted_unless_deployed(run)
    try:
        await _uninstall(run, before)
    except ObjectsLeftError:
        if spare:
            run.journal.warn(RELEASE_LEFT, f"Uninstalled{spared(spare)}")
        raise
    run.storage.revisions = ()
    kept = await kept_objects(run.objects, run.evidence.rendered.objects, namespace=run.namespace, spared=spare)
    return Outcome(f"Uninstalled{spared(spare)}{kept}", spared=spare, kept=kept)


async def _adopted_unless_deployed(run: ReleaseRun) -> tuple[ObjectRef, ...]:
    if run.ownership.deployed(run.storage.revisions):
        return ()
    try:
        return await spare_adopted(run.storage, run.objects)
    except HelmError as error:  # what cannot be read must not block a removal
        run.journal.warn(error.reason.value, error.message)
        return ()


async def _uninstall(run: ReleaseRun, before: BeforeHelm) -> None:
    rendered = run.evidence.rendered
    stored: StoredRelease | None = None
    unreadable: HelmError | None = None
    try:
        stored = await run.storage.read_stored()
    except HelmError as error:
        unreadable = error
    if run.newest and stored:
        left = await delete_orphaned_objects(run.storage, run.objects, stored=stored)
        await rendered.remember(run.newest, stored, left)
        await delete_orphaned_hooks(run.objects, namespace=run.namespace, stored=stored)
    helm_waits = False
    if run.newest is None or run.newest.status != UNINSTALLED:
        foreground = rendered.revision is None or await have_dependents(run.objects, run.namespace, rendered.all)
        # Pods may take minutes to end, and post-delete hooks must find everything deleted.
        helm_waits = foreground or stored is None or stored.hooks_at("post-delete") > 0
        arguments = command.uninstall(
            release=run.name,
            namespace=run.namespace,
            timeout=run.spec.timeout,
            foreground=foreground,
            wait=helm_waits,
        )
        await _helm_uninstall(run, arguments, before=before, readable=unreadable is None)
    # Also after helm's own wait, which may end before it has looked at all objects (4.3.1).
    try:
        await _until_deleted(run, stored)
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


async def _helm_uninstall(run: ReleaseRun, arguments: list[str], *, before: BeforeHelm, readable: bool) -> None:
    try:
        await run_helm(run, HelmCall(arguments, before=before))
    except HelmError as error:
        if not readable and _HELM_FINDS_NONE.search(error.text):
            return
        await run.storage.observe()
        # helm's wait may end at once with "still exists" although it has deleted the release (seen with 4.3.1).
        if not run.storage.revisions and await objects_end(run):
            return
        waited = error.reason in (Reason.TIMEOUT, Reason.HELM_FAILED, Reason.UNINSTALL_BLOCKED)
        if waited and (blockers := await objects_that_block(run)):
            raise blocked(blockers, text=error.text) from error
        raise


async def _until_deleted(run: ReleaseRun, stored: StoredRelease | None) -> None:
    """Wait until all objects are deleted. Raises OperatorError while any may be left, so that none is forgotten."""
    deleted = await objects_end(run)
    if deleted and stored is not None and await _have_moved(run):
        # helm has missed the objects for which its cache names an apiVersion that is no longer served.
        overlooked = await delete_objects_of(
            run.objects, release=run.name, namespace=run.namespace, newest=StoredRelease({}), good=[stored]
        )
        deleted = not overlooked or await objects_end(run)
    if deleted:
        return
    if blockers := await objects_that_block(run):
        raise blocked(blockers)
    raise OperatorError(
        f"Could not confirm within {run.spec.timeout} that all objects of the release were deleted",
        reason=Reason.API_UNAVAILABLE,
        transient=True,
    )


async def objects_end(run: ReleaseRun) -> bool:
    """Wait until none of the release's objects is being deleted any more; False after spec.timeout. Raises KubeError."""
    return await until_deleted(run.objects, await _located(run), seconds(run.spec.timeout))


async def objects_that_block(run: ReleaseRun) -> list[Blocker]:
    """Return the objects whose deletion does not finish. Raises nothing except when cancelled."""
    if run.evidence.rendered.revision is None:
        with contextlib.suppress(KubeError, HelmError):
            await run.evidence.rendered.read()
    return await find_blockers(run.objects, await _located(run))


async def _have_moved(run: ReleaseRun) -> bool:
    """Whether the apiVersion of an object is no longer served, but its kind is under another one. Never raises."""
    objects = run.evidence.rendered.objects
    rendered = {(item.get("apiVersion"), item["kind"]) for item in objects}
    refs = await run.objects.locate_all(objects, run.namespace)
    return any((ref.api_version, ref.kind) not in rendered for ref in refs)


async def _located(run: ReleaseRun) -> Sequence[ObjectRef]:
    return await run.objects.locate_all(run.evidence.rendered.all, run.namespace)
