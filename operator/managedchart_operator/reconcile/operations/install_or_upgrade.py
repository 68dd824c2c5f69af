"""Installs or upgrades a release with helm.

The revision gets the labels that prove whose it is. helm ends once everything is applied, and the operator waits for the
objects, unless hooks have to run after the wait.
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from managedchart_operator.api.conflicts import ConflictPolicy
from managedchart_operator.api.spec import ManagedChartSpec
from managedchart_operator.charts.late_hooks import text_has_late_hooks, text_has_ttl_jobs, text_leaves_out
from managedchart_operator.charts.store import Chart
from managedchart_operator.helm import command
from managedchart_operator.helm.storage import (
    ATTEMPT_LABEL,
    DIGEST_LABEL,
    HELM_WAITS,
    OPERATOR_WAITS,
    OWNER_LABEL,
    UNINSTALLING,
    WAIT_LABEL,
    attempt_label,
    deployed_of,
)
from managedchart_operator.helm.values import Values
from managedchart_operator.reconcile.helm_call import HelmCall, run_helm
from managedchart_operator.reconcile.left_fields import explained_conflicts, fields_to_leave
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.operations.resume import until_ready, watched
from managedchart_operator.reconcile.operations.unlock import unlock
from managedchart_operator.reconcile.orphaned_objects import delete_orphaned_objects
from managedchart_operator.reconcile.owned_fields import OwnedFields, read_owned_fields
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.schema_check import skips_schemas
from managedchart_operator.reconcile.taken_fields import noting_taken_fields


async def install_or_upgrade(run: ReleaseRun, *, take_ownership: bool = False) -> Outcome:
    """Install the release, or upgrade it. Raises OperatorError."""
    inputs, chart = await run.sources.read(), await run.sources.fetch()
    waits = await asyncio.to_thread(_who_waits, run.spec, chart, inputs.values)
    options = command.UpgradeOptions(
        release=run.name,
        namespace=run.namespace,
        timeout=run.spec.timeout,
        wait=waits.helm,
        wait_for_jobs=waits.helm_for_jobs,
        force_replace=run.spec.force_upgrade,
        force_conflicts=run.spec.conflicts.policy is ConflictPolicy.FORCE,
        take_ownership=take_ownership,
        skip_schema_validation=await skips_schemas(run),
        create_namespace=await run.namespace_state.is_to_be_created(),
        labels={
            DIGEST_LABEL: inputs.digest.text,
            OWNER_LABEL: run.ownership.uid,
            ATTEMPT_LABEL: attempt_label(run.attempt, number=run.newest.number + 1 if run.newest else 1),
            WAIT_LABEL: OPERATOR_WAITS if waits.operator else HELM_WAITS,
        },
    )
    owned = await read_owned_fields(run, run.newest, also=deployed_of(run.storage.revisions))
    left = await fields_to_leave(run, owned, client_side=run.spec.force_upgrade)
    arguments = [*command.upgrade(options, chart=chart.path), *command.leave_fields(left)]
    call = HelmCall(arguments, on_waiting=run.evidence.progress.helm_waits)
    if run.newest is not None and run.newest.status == UNINSTALLING:
        # The lifecycle continues after an uninstall that failed; helm would not upgrade a release that it half deleted.
        await unlock(run, run.newest)
    await watched(run, partial(_deploy, run, call, owned, wait=waits.operator), mark_failed=waits.operator)
    return Outcome(f"Deployed {chart.name} {chart.version}")


async def _deploy(run: ReleaseRun, call: HelmCall, owned: OwnedFields, *, wait: bool) -> None:
    """Deploy with helm, and wait for the objects where helm does not. Raises OperatorError."""
    async with noting_taken_fields(run, owned.of_others, verb="Upgrade"), explained_conflicts(run):
        await run_helm(run, call)
    if wait:
        await until_ready(run)
    else:
        await run.storage.observe()
        await delete_orphaned_objects(run.storage, run.objects)


@dataclass(frozen=True, slots=True)
class WhoWaits:
    """Who waits for the objects; both may, one after the other. `helm_for_jobs` says whether helm waits for Jobs too."""

    helm: bool
    helm_for_jobs: bool
    operator: bool


def _who_waits(spec: ManagedChartSpec, chart: Chart, values: Values) -> WhoWaits:
    text = values.text
    return who_waits(
        wait=spec.wait,
        late_hooks=chart.late_hooks,
        ttl_jobs=chart.ttl_jobs,
        leaves_out=bool(spec.wait_for.exclude) or chart.leaves_out or text_leaves_out(text),
        values=text,
    )


def who_waits(*, wait: bool, late_hooks: bool, ttl_jobs: bool, leaves_out: bool, values: bytes) -> WhoWaits:
    """Return who waits. `wait` is spec.wait; the hooks and Jobs may be in the chart or in the `values`.

    The operator does, without a process, unless hooks have to run after the wait, since only helm runs those. helm treats a Job
    that its ttlSecondsAfterFinished deleted as never ready, so then the operator waits for the Jobs after helm. helm cannot
    leave an object out of its wait, so with `leaves_out` it waits for none, and the late hooks run before the operator's wait.
    """
    if not wait:
        return WhoWaits(helm=False, helm_for_jobs=False, operator=False)
    if leaves_out or not (late_hooks or text_has_late_hooks(values)):
        return WhoWaits(helm=False, helm_for_jobs=False, operator=True)
    vanish = ttl_jobs or text_has_ttl_jobs(values)
    return WhoWaits(helm=True, helm_for_jobs=not vanish, operator=vanish)
