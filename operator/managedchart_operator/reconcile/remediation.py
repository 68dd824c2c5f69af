"""Remedies a failed deployment: rolls back to the last good revision, or uninstalls a failed first install.

Only a revision that is proven to be the failed run's may be rolled back. The status has the failure with its evidence by then,
and nothing here changes its reason. `remedy` decides what to do from the release and the status alone, so that a restarted
operator finishes what was begun.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from managedchart_operator.api.spec import Action
from managedchart_operator.api.status import Phase, ReleaseStatus
from managedchart_operator.diagnosis.evidence import Cause
from managedchart_operator.errors import HelmError, OperatorError
from managedchart_operator.helm.manifest import ManifestError, parse_manifest
from managedchart_operator.helm.storage import DEPLOYED, FAILED, UNINSTALLING, Revision
from managedchart_operator.kube.events import Events
from managedchart_operator.kube.objects import Objects
from managedchart_operator.lifecycle.context import Operation
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.adopted import spare_adopted, spared
from managedchart_operator.reconcile.last_run import AFTER_EXEC, LastRun
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT
from managedchart_operator.reconcile.operations.rollback import rollback
from managedchart_operator.reconcile.operations.uninstall import uninstall
from managedchart_operator.reconcile.operations.unlock import unlock
from managedchart_operator.reconcile.orphaned_objects import delete_orphaned_objects
from managedchart_operator.reconcile.release_run import ReleaseRun, release_status
from managedchart_operator.reconcile.release_storage import ReleaseStorage, newest_is_own, rollback_is_own
from managedchart_operator.reconcile.remedy import NOTHING, Facts, Remedy, RemedyPlan, decide_remedy
from managedchart_operator.reconcile.resource_pass import ResourcePass
from managedchart_operator.reconcile.retries import WORKLOAD_REASONS, back_off
from managedchart_operator.reconcile.revision_history import release_uninstalled, remember, turned_out_failed
from managedchart_operator.shortening import cut
from managedchart_operator.waiting.status_fields import Parts, mapping

logger = logging.getLogger(__name__)

ROLLBACK = "Rollback"
"""What `status.attempt.operation` says while a rollback is in progress."""
_ROLLBACK_TO = re.compile(r"Rollback to (\d+)")
# Leaves room for the rest of the message of a condition.
_ERROR_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Remediation:
    """Remedies failed deployments; one for the whole operator."""

    events: Events

    async def plan(self, work: ResourcePass, *, failed: int | None, phase: Phase | None) -> RemedyPlan:
        """Return the remedy for the revision that failed in a phase. Raises KubeError, HelmError."""
        if work.spec.action is not Action.DEPLOY or work.chart.deleting:
            return NOTHING
        run = work.release
        facts = Facts(atomic=work.spec.atomic, newest=run.newest, failed=failed, after_exec=phase in AFTER_EXEC)
        if decide_remedy(facts).remedy is Remedy.NOTHING:
            return NOTHING  # without reading the documents
        good = await run.storage.last_good()
        owner = work.chart.uid
        facts = replace(
            facts,
            newest_is_own=await newest_is_own(run.storage) or _rollback_was_cut_short(work),
            good=good,
            good_is_own=good is not None and run.ownership.made(good),
            others=tuple(revision.number for revision in run.storage.revisions if revision.owner != owner),
            claims=() if good is not None else await volume_claims(run.storage),
        )
        return decide_remedy(facts)

    async def finish(self, work: ResourcePass) -> float | None:
        """Finish the remedy for the failure in the status; returns the seconds until the next try, or None."""
        run, failed = work.release, work.last.failed_revision
        if run.newest is None or failed is None or failed > run.newest.number or work.spec.action is not Action.DEPLOY:
            return None
        # It was to be marked when it failed, but the API server did not answer.
        unmarked = run.newest.status == DEPLOYED and run.newest.number == failed and run.ownership.failed(run.newest)
        if (run.newest.pending or unmarked) and await newest_is_own(run.storage):
            await mark_failed(run, unready=unmarked)
            work.recorder.status.release = await release_status(run, digest=work.digest)
            await work.recorder.writer.flush()
        if run.newest.status == DEPLOYED and _rollback_was_cut_short(work) and await rollback_is_own(run.storage):
            await self._rolled_back(work)
            return None
        plan = await self.plan(work, failed=failed, phase=work.last.phase)
        # Leaving it was reported when it failed.
        return None if plan.remedy is Remedy.LEAVE else await self.carry_out(work, plan)

    async def carry_out(self, work: ResourcePass, plan: RemedyPlan) -> float | None:
        """Carry out the remedy and report it. Returns the seconds until the next try, or None."""
        match plan.remedy:
            case Remedy.NOTHING:
                return None
            case Remedy.LEAVE:
                outcome = f"The failed release is left as it is: {plan.why}"
                await self.events.post(work.chart, type="Warning", reason=RELEASE_LEFT, message=outcome)
                await self._report(work, outcome, work.recorder.status.release)
                return None
            case Remedy.ROLL_BACK:
                assert plan.to is not None  # noqa: S101 -- it has a target
                return await self._roll_back(work, plan.to)
            case Remedy.UNINSTALL:
                return await self._uninstall(work)

    async def _roll_back(self, work: ResourcePass, good: Revision) -> float | None:
        await work.recorder.remedy_begins(ROLLBACK)
        run, status = work.release, work.recorder.status
        again = None
        try:
            if run.newest is not None and run.newest.status == DEPLOYED:
                # Otherwise helm and the operator would treat it as good from now on.
                turned_out_failed(status, run.newest.number)
                await run.storage.mark_failed(run.newest, "a phase after the deployment failed")
            spare = await spare_adopted(run.storage, run.objects, to=good)
            outcome = await rollback(run, good, spare=spare)
            await self.events.post(work.chart, type="Normal", reason="RolledBack", message=outcome)
        except OperatorError as error:
            cause = await run.evidence.find_not_replaced() if error.reason in WORKLOAD_REASONS else None
            outcome, again = await self._failed(work, "rollback", error, cause=cause)
        status.release = await release_status(run, digest=work.digest)
        remember(status, run.newest, action=ROLLBACK)
        await self._report(work, outcome, status.release)
        return again

    async def _rolled_back(self, work: ResourcePass) -> None:
        """Report a rollback that helm finished before the operator was stopped, and delete what it has left."""
        run, status = work.release, work.recorder.status
        stored = await run.storage.read_stored()
        found = _ROLLBACK_TO.match(stored.description) if stored else None
        outcome = f"Rolled back to revision {found[1]}" if found else "Rolled back"
        await delete_orphaned_objects(run.storage, run.objects)
        await self.events.post(work.chart, type="Normal", reason="RolledBack", message=outcome)
        status.release = await release_status(run, digest=work.digest)
        remember(status, run.newest, action=ROLLBACK)
        await self._report(work, outcome, status.release)

    async def _uninstall(self, work: ResourcePass) -> float | None:
        await work.recorder.remedy_begins(Operation.UNINSTALL)
        run, again = work.release, None
        try:
            spare = await spare_adopted(run.storage, run.objects)
            done = await uninstall(run, spare=spare)
            release_uninstalled(work.recorder.status)
            uninstalled = f"The failed first install was uninstalled{spared(spare)}{done.kept}"
            outcome = uninstalled if done.changed else done.message
            await self.events.post(work.chart, type="Normal", reason="Uninstalled", message=outcome)
        except OperatorError as error:
            outcome, again = await self._failed(work, "uninstall", error)
        await self._report(work, outcome, await release_status(run, digest=work.digest))
        return again

    async def _failed(
        self, work: ResourcePass, remedy: str, error: OperatorError, *, cause: Cause | None = None
    ) -> tuple[str, float | None]:
        """Report that the remedy failed; returns a sentence about it, and the seconds until the next try.

        `cause` says why, if that is known.
        """
        why = f"{cause.message} ({cause.hint})" if cause else error.message
        outcome = f"The {remedy} failed: {cut(work.release.redactor(why), _ERROR_LENGTH)}"
        await self.events.post(work.chart, type="Warning", reason=Reason.ROLLBACK_FAILED.value, message=outcome)
        if not error.transient or error.reason in WORKLOAD_REASONS:
            return outcome, None
        # The back-off of retries, counted by the failed revisions at the top.
        unfinished = takewhile(lambda revision: revision.status != DEPLOYED, work.release.storage.revisions)
        return outcome, back_off(work.spec.retry, sum(1 for _ in unfinished) - 1)

    async def _report(self, work: ResourcePass, outcome: str, release: ReleaseStatus | None) -> None:
        work.phases.logger.info("%s", outcome)
        await work.recorder.remedied(outcome, limit=work.spec.retry.limit, release=release)


def _rollback_was_cut_short(work: ResourcePass) -> bool:
    """Whether this operator's interrupted rollback left the newest revision, which does not show that itself."""
    last, newest = work.last, work.release.newest
    if last.operation != ROLLBACK or last.ended_at is not None or last.failed_revision is None or newest is None:
        return False
    return newest.owner == work.chart.uid and newest.number > last.failed_revision


def newest_if_made(run: ReleaseRun, failed_phase: Phase | None) -> Revision | None:
    """Return the newest revision if the failed run made it, or continued the run that did."""
    newest = run.newest
    deployed = failed_phase in (Phase.EXEC, *AFTER_EXEC)
    return newest if deployed and newest is not None and newest.is_of(run.attempt) else None


def unremedied(run: ReleaseRun, last: LastRun, *, unlocked: Revision | None) -> int | None:
    """Return the revision that failed in an earlier run, if its remedy is still to be done.

    `unlocked` is what this run was to mark failed: an interrupted deployment has failed by that, an interrupted uninstall not.
    """
    newest, failed = run.newest, last.failed_revision
    if newest is None or not run.ownership.made(newest):
        return None
    if unlocked is not None and newest.number == unlocked.number and unlocked.status != UNINSTALLING:
        return newest.number if newest.pending or newest.status == FAILED else None
    if failed is None:
        return None
    if newest.status == DEPLOYED and newest.number == failed and last.phase in AFTER_EXEC:
        return failed
    return failed if newest.status == FAILED and failed <= newest.number else None


async def would_recur(error: OperatorError, objects: Objects) -> bool:
    """Whether the error of an applied upgrade would come again, unlike a permission that is only refused for a moment."""
    if error.reason is Reason.FORBIDDEN and isinstance(error, HelmError):
        return not await objects.permissions.refused_for_a_moment(error.text)
    return True


def was_applied(run: ReleaseRun, failed_phase: Phase | None, error: OperatorError) -> bool:
    """Whether the upgrade had changed the cluster when it failed, and failed because of its input."""
    # An API server that does not answer, or a killed helm process, says nothing about the input.
    if error.reason is Reason.API_UNAVAILABLE or (isinstance(error, HelmError) and error.exit_code < 0):
        return False
    return failed_phase in AFTER_EXEC or run.evidence.has_applied()


async def mark_failed(run: ReleaseRun, *, unready: bool = False) -> None:
    """Mark the newest revision failed if a killed helm left it pending, with any spec.atomic. Raises KubeError, HelmError.

    `unready` says that its objects did not become ready: it is marked too, if marking it then failed.
    """
    newest = run.newest
    if newest is not None and newest.pending:
        logger.info(
            "%s/%s: a killed helm process left revision %d %s", run.namespace, run.name, newest.number, newest.status
        )
        await unlock(run, newest)
    elif newest is not None and newest.status == DEPLOYED and unready:
        await run.storage.mark_failed(newest, "its objects did not become ready")


async def volume_claims(storage: ReleaseStorage) -> tuple[str, ...]:
    """Name the objects of the newest and of earlier unfinished revisions that keep data in volume claims.

    A failed first install that has them is not uninstalled: the claims would outlive it, and the next install would generate
    another password for the same data. Raises KubeError, HelmError.
    Source: Kubernetes documentation, "StatefulSets", PersistentVolumeClaim retention.
    """
    newest = await storage.read_stored()
    stored = [*([newest] if newest else []), *(each.stored for each in await storage.read_unfinished())]
    return await asyncio.to_thread(claims_of, [text for each in stored for text in each.manifests])


def claims_of(manifests: Iterable[str]) -> tuple[str, ...]:
    """Name the objects of the manifests that keep data, each once; an unreadable manifest counts as one."""
    found = []
    for manifest in manifests:
        try:
            keeping = filter(_keeps_data, parse_manifest(manifest))
            found += [
                f"{item['kind']} {(item.get('metadata') or {}).get('name')}{_claims_in(item)}" for item in keeping
            ]
        except ManifestError:
            found.append("objects that cannot be read")
    return tuple(dict.fromkeys(found))


def _claims_in(item: Mapping[str, Any]) -> str:
    """Name the claims that a StatefulSet makes, in brackets; "" for a claim itself."""
    if item["kind"] != "StatefulSet":
        return ""
    parts = Parts.of(item)
    last = max(parts.wanted() - 1, 0)
    templates = parts.spec.get("volumeClaimTemplates")
    names = (
        [mapping(mapping(each).get("metadata")).get("name") for each in templates]
        if isinstance(templates, list)
        else []
    )
    stems = [f"{name}-{parts.meta.get('name')}" for name in names if name]
    named = ", ".join(f"{stem}-0 to {stem}-{last}" if last else f"{stem}-0" for stem in stems)
    return f" (volume claims {named})" if named else ""


def _keeps_data(item: Mapping[str, Any]) -> bool:
    if item["kind"] == "PersistentVolumeClaim":
        return True
    spec = item.get("spec")
    if item["kind"] != "StatefulSet" or not isinstance(spec, dict) or not spec.get("volumeClaimTemplates"):
        return False
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    return not (isinstance(retention, dict) and retention.get("whenDeleted") == "Delete")
