"""Tries a deployment without changing anything: helm renders the chart, the API server validates each object."""

import asyncio
from typing import Any

from managedchart_operator.helm import command
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.reconcile.dry_run import rendered_objects, validate
from managedchart_operator.reconcile.helm_call import HelmCall, run_helm
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.release_run import ReleaseRun


async def dry_run(run: ReleaseRun, *, take_ownership: bool = False) -> Outcome:
    """Return the result of a deployment without doing it. Raises OperatorError as the deployment would."""
    chart = await run.sources.fetch()
    output = await render(run, take_ownership=take_ownership, dry_run=True)
    rendered = await asyncio.to_thread(rendered_objects, output)
    found = await validate(rendered, run.objects, namespace=run.namespace)
    return Outcome(f"Dry run of {chart.name} {chart.version}: {found}", changed=False)


async def manifest(run: ReleaseRun, *, dry_run: bool) -> list[dict[str, Any]]:
    """Return the objects that the chart renders, without hooks. Raises OperatorError."""
    return await asyncio.to_thread(rendered_objects, await render(run, take_ownership=True, dry_run=dry_run))


async def render(run: ReleaseRun, *, take_ownership: bool, dry_run: bool) -> HelmOutput:
    """Render the chart with helm as the next upgrade would.

    `dry_run` says whether the run only tries the deployment; otherwise a stored revision that stops helm is repaired. Raises
    OperatorError.
    """
    await run.sources.read()
    chart = await run.sources.fetch()
    options = command.UpgradeOptions(
        run.name,
        run.namespace,
        run.spec.timeout,
        wait=False,
        force_replace=run.spec.force_upgrade,
        create_namespace=await run.namespace_state.is_to_be_created(),
        take_ownership=take_ownership,
        dry_run=True,
    )
    arguments = command.upgrade(options, chart=chart.path)
    call = HelmCall(arguments, deadline=options.deadline, keep_stdout=True, dry_run=dry_run)
    return await run_helm(run, call)
