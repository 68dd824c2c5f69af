"""Tries a deployment without changing anything: helm renders the chart, the API server validates each object.

helm's own `--dry-run=server` renders with the cluster's versions and `lookup`, but sends no object to the API server: a wrong
field, a forbidden name, a quota or a policy shows up in the real run only (measured with helm 4.3.1). So the rendered objects
are applied as helm does it, with the API server's dry run. Hooks are not validated. An error has the reason and the wording of
the real upgrade's error.
Source: Kubernetes documentation, "Dry-run", "Field validation", "Server-Side Apply".
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from managedchart_operator.api.conflicts import ConflictPolicy
from managedchart_operator.diagnosis.apply_refusals import refused
from managedchart_operator.diagnosis.collector import COLLECT_SECONDS, Findings
from managedchart_operator.errors import UNREADABLE, HelmError, KubeError, LifecycleError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.manifest import ManifestError, as_sent, parse_manifest
from managedchart_operator.helm.release_size import name_biggest
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import deployed_of
from managedchart_operator.helm.stored_release import read_document
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.helm_call import HelmCall, run_helm
from managedchart_operator.reconcile.left_fields import explained_conflicts, fields_to_leave
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.owned_fields import read_owned_fields
from managedchart_operator.reconcile.release_run import ReleaseRun


async def dry_run(run: ReleaseRun, *, take_ownership: bool = False) -> Outcome:
    """Return the result of a deployment without doing it. Raises OperatorError as the deployment would."""
    chart = await run.sources.fetch()
    output = await render(run, take_ownership=take_ownership, dry_run=True)
    rendered = await asyncio.to_thread(rendered_objects, output)
    async with explained_conflicts(run):
        found = await validate(
            rendered, run.objects, namespace=run.namespace, force=run.spec.conflicts.policy is ConflictPolicy.FORCE
        )
    return Outcome(f"Dry run of {chart.name} {chart.version}: {found}", changed=False)


async def render(run: ReleaseRun, *, take_ownership: bool, dry_run: bool) -> HelmOutput:
    """Render the chart with helm as the next upgrade would. Raises OperatorError.

    `dry_run` says whether the run only tries the deployment; otherwise a stored revision that stops helm is repaired.
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
    owned = await read_owned_fields(run, run.newest, also=deployed_of(run.storage.revisions))
    left = await fields_to_leave(run, owned, client_side=run.spec.force_upgrade)
    arguments = [*command.upgrade(options, chart=chart.path), *command.leave_fields(left)]
    call = HelmCall(arguments, keep_stdout=True, dry_run=dry_run)
    return await run_helm(run, call)


def rendered_objects(output: HelmOutput) -> list[dict[str, Any]]:
    """Return the objects of a dry run's JSON output as helm sends them; to be called in a thread. Raises HelmError."""
    try:
        return [as_sent(item) for item in parse_manifest(read_document(output.stdout).get("manifest") or "")]
    except (*UNREADABLE, ManifestError) as error:
        raise HelmError(
            f"The output of Helm's dry run cannot be read: {error}", reason=Reason.HELM_FAILED, transient=False
        ) from error


async def validate(rendered: Sequence[dict[str, Any]], objects: Objects, *, namespace: str, force: bool = True) -> str:
    """Validate each object with the API server; returns a sentence about the result.

    Fields of other managers are refused only without `force`, since helm takes them over with it. Objects whose namespace does
    not exist yet are only counted. Raises the HelmError of the real upgrade for all refused objects, and KubeError without an
    answer.
    """
    created = (item for item in rendered if (item.get("apiVersion"), item["kind"]) == ("v1", "Namespace"))
    to_be_created = {(item.get("metadata") or {}).get("name") for item in created} | {namespace}
    refusals, skipped = [], 0
    for item in rendered:
        if not reference(item, namespace).name:
            # helm refuses it too ("resource name may not be empty"), but halfway through its run.
            raise LifecycleError(
                f"A {item['kind']} of the chart has no name, so Helm cannot apply it",
                reason=Reason.OBJECT_INVALID,
                transient=False,
                hint="Set metadata.name in the template; Helm does not support generateName.",
            )
        ref = await objects.locate(item, namespace)
        try:
            await objects.try_apply(ref, item, force=force)
        except KubeError as error:
            if not error.answer:
                raise
            if error.answer == f'namespaces "{ref.namespace}" not found' and ref.namespace in to_be_created:
                skipped += 1
            else:
                refusals.append((ref, error.answer))
    if refusals:
        raise refused(refusals, rendered=rendered)
    if skipped:
        return f"{len(rendered)} objects rendered, {skipped} not validated because their namespace does not exist yet"
    return f"{len(rendered)} objects rendered and validated, nothing changed"


async def largest_parts(
    render: Callable[[], Awaitable[HelmOutput]], *, redact: Callable[[str], str], seconds: float = COLLECT_SECONDS
) -> Findings:
    """Return findings that name the largest parts of a release that is too large for its Secret, or why they are unknown.

    helm reports only that it does not fit; what `render` renders shows what it consists of. Raises nothing except when
    cancelled, so that helm's own error stays the error of the run.
    """
    try:
        async with asyncio.timeout(seconds):
            output = await render()
            # Parsing megabytes of JSON would block the event loop.
            return Findings(detail=redact(await asyncio.to_thread(name_biggest, output.stdout)))
    except TimeoutError:
        missing = f"Helm's dry run did not end within {seconds:.0f} s"
    except OperatorError as error:
        missing = error.message
    except ValueError as error:
        missing = f"Helm's dry run cannot be read: {error}"
    return Findings(incomplete=redact(f"Could not determine the largest parts of the release: {missing}"))
