"""Tries a deployment without changing anything: helm renders the chart, the API server validates each object.

helm's own `--dry-run=server` renders with the cluster's versions and `lookup`, but sends no object to the API server: a wrong
field, a forbidden name, a quota or a policy shows up in the real run only (measured with helm 4.3.1). So the rendered objects
are applied as helm does it, with the API server's dry run. Hooks are not validated. An error has the reason and the wording of
the real upgrade's error.

helm's dry run refuses objects of a kind that the cluster lacks, also if a deployment would first create its CRD, from the
chart's crds/. Then `helm template` renders with what the cluster would serve. It finds nothing by `lookup`, and does not check
whose the existing objects are, so that is done here.
Source: Kubernetes documentation, "Dry-run", "Field validation", "Server-Side Apply".
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any

from managedchart_operator.api.conflicts import ConflictPolicy
from managedchart_operator.diagnosis.apply_refusals import Refusal, refused
from managedchart_operator.diagnosis.collector import COLLECT_SECONDS, Findings
from managedchart_operator.errors import UNREADABLE, HelmError, KubeError, LifecycleError, OperatorError
from managedchart_operator.helm import command
from managedchart_operator.helm.apart import read_apart
from managedchart_operator.helm.errors.template_errors import NAME_NEEDED, without_name
from managedchart_operator.helm.invalid_objects import name_invalid
from managedchart_operator.helm.manifest import ManifestError, as_sent, parse_manifest
from managedchart_operator.helm.memory_files import Argument
from managedchart_operator.helm.ownership import is_marked, other_release
from managedchart_operator.helm.release_size import name_biggest
from managedchart_operator.helm.runner import HelmOutput
from managedchart_operator.helm.storage import deployed_of
from managedchart_operator.helm.stored_release import read_document
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.crd_hints import unknown_in
from managedchart_operator.reconcile.crds import Preview, RunCrds
from managedchart_operator.reconcile.helm_call import HelmCall, helm_error, run_helm
from managedchart_operator.reconcile.left_fields import explained_conflicts, fields_to_leave
from managedchart_operator.reconcile.operations.outcome import Outcome
from managedchart_operator.reconcile.owned_fields import read_owned_fields
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.reconcile.schema_check import skips_schemas


async def dry_run(run: ReleaseRun, crds: RunCrds, *, take_ownership: bool = False) -> Outcome:
    """Return the result of a deployment without doing it. Raises OperatorError as the deployment would."""
    chart, preview = await run.sources.fetch(), await crds.preview()
    rendered = await try_render(run, preview, take_ownership=take_ownership)
    async with explained_conflicts(run):
        found = await validate(
            rendered,
            run.objects,
            namespace=run.namespace,
            force=run.spec.conflicts.policy is ConflictPolicy.FORCE,
            coming=preview.kinds,
            redactor=run.evidence.rendered.redactor,
        )
    return Outcome(f"Dry run of {chart.name} {chart.version}: {found}", changed=False)


async def try_render(run: ReleaseRun, preview: Preview, *, take_ownership: bool) -> list[dict[str, Any]]:
    """Return the objects that the chart renders, also those whose CRD would be created first. Raises OperatorError."""
    try:
        output = await render(run, take_ownership=take_ownership, dry_run=True)
    except HelmError as error:
        missing = {f"{each.api_version}/{each.kind}" for each in unknown_in(error.text) if not each.field}
        if error.reason is not Reason.KIND_MISSING or not missing or not missing <= preview.api_versions:
            raise
        return await _by_template(run, preview, take_ownership=take_ownership)
    return await read_rendered(output)


async def _by_template(run: ReleaseRun, preview: Preview, *, take_ownership: bool) -> list[dict[str, Any]]:
    output = await template(run, await _left_fields(run), further=preview.api_versions)
    rendered = await asyncio.to_thread(_objects_of, output)
    if not take_ownership:
        await _check_ownership(run, rendered)
    return rendered


async def template(run: ReleaseRun, edits: Sequence[Argument] = (), *, further: frozenset[str] = frozenset()) -> str:
    """Render the chart without the cluster, with an empty `lookup`, and return its manifests, hooks included.

    `further` are apiVersions, and kinds of them, that the cluster does not serve yet. Raises OperatorError.
    """
    inputs, chart = await run.sources.read(), await run.sources.fetch()
    options = command.TemplateOptions(
        run.name,
        run.namespace,
        await run.objects.crds.kube_version(),
        sorted(await run.objects.crds.api_versions() | further),
        is_upgrade=run.newest is not None,
        skip_schema_validation=await skips_schemas(run),
    )
    arguments = [*command.template(options, chart=chart.path), *edits, *inputs.values.arguments]
    helm = run.services.helm
    output = await helm.run(arguments, deadline=helm.limits.dry_run_seconds, keep_stdout=True)
    if output.exit_code != 0:
        raise await helm_error(run, output, command="template")
    return output.stdout.decode(errors="replace")


async def _check_ownership(run: ReleaseRun, rendered: Sequence[dict[str, Any]]) -> None:
    """Raise HelmError for an existing object that helm would refuse to take over."""
    for ref in await run.objects.locate_all(rendered, run.namespace):
        try:
            found = await run.objects.get(ref)
        except KubeError as error:
            if error.reason is not Reason.KIND_MISSING:
                raise
            continue  # it was served until its CRD was deleted a moment ago
        metadata = (found or {}).get("metadata") or {}
        if found and not is_marked(metadata, name=run.name, namespace=run.namespace):
            owner = other_release(metadata, name=run.name, namespace=run.namespace)
            raise HelmError(
                f"{ref} already exists and belongs to {f'the release {owner}' if owner else 'no release'}",
                reason=Reason.OBJECT_OWNED,
                transient=False,
                hint="Delete or rename it, or use a lifecycle that adopts it, as aws-vpc-cni does.",
            )


async def render(run: ReleaseRun, *, take_ownership: bool, dry_run: bool, offline: bool = False) -> HelmOutput:
    """Render the chart with helm as the next upgrade would. Raises OperatorError.

    `dry_run` says whether the run only tries the deployment; otherwise a stored revision that stops helm is repaired. `offline`
    also renders objects that helm cannot build.
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
        offline=offline,
        skip_schema_validation=await skips_schemas(run),
    )
    edits = [] if offline else await _left_fields(run)
    arguments = [*command.upgrade(options, chart=chart.path), *edits]
    call = HelmCall(arguments, keep_stdout=True, dry_run=dry_run)
    return await run_helm(run, call)


async def _left_fields(run: ReleaseRun) -> list[Argument]:
    """Return the arguments by which helm leaves fields to their managers, as in the upgrade. Raises KubeError."""
    owned = await read_owned_fields(run, run.newest, also=deployed_of(run.storage.revisions))
    return command.leave_fields(await fields_to_leave(run, owned, client_side=run.spec.force_upgrade))


async def read_rendered(output: HelmOutput) -> list[dict[str, Any]]:
    """Return the objects of a dry run's JSON output as helm sends them. Raises HelmError."""
    return await read_apart(rendered_objects, output, size=len(output.stdout), error=_unreadable)


def rendered_objects(output: HelmOutput) -> list[dict[str, Any]]:
    """Do what `read_rendered` does; to be called in a thread or a worker process."""
    try:
        return _objects_of(read_document(output.stdout).get("manifest") or "")
    except UNREADABLE as error:
        raise _unreadable(str(error) or type(error).__name__) from error


def _objects_of(manifest: str) -> list[dict[str, Any]]:
    try:
        return [as_sent(item) for item in parse_manifest(manifest)]
    except (*UNREADABLE, ManifestError) as error:
        raise _unreadable(str(error) or type(error).__name__) from error


def _unreadable(why: str) -> HelmError:
    return HelmError(f"The output of Helm's dry run cannot be read: {why}", reason=Reason.HELM_FAILED, transient=False)


async def validate(
    rendered: Sequence[dict[str, Any]],
    objects: Objects,
    *,
    namespace: str,
    force: bool = True,
    coming: Container[tuple[str, str]] = (),
    redactor: Callable[[Sequence[dict[str, Any]]], Callable[[str], str]],
) -> str:
    """Validate each object with the API server; returns a sentence about the result.

    `redactor` returns what removes the secrets of the run and of these objects from the refusals.

    Fields of other managers are refused only without `force`, since helm takes them over with it. Objects whose namespace does
    not exist yet are only counted, and so are objects of kinds (group, kind) of which a deployment would first create or change
    the CRD, if the API server finds them invalid. Raises the HelmError of the real upgrade for all refused objects, and
    KubeError without an answer.
    """
    created = (item for item in rendered if (item.get("apiVersion"), item["kind"]) == ("v1", "Namespace"))
    to_be_created = {(item.get("metadata") or {}).get("name") for item in created} | {namespace}
    refusals, skipped, unknown = [], 0, 0
    for item in rendered:
        if not reference(item, namespace).name:
            # helm refuses it too ("resource name may not be empty"), but halfway through its run.
            raise LifecycleError(
                without_name(item["kind"]), reason=Reason.TEMPLATE_ERROR, transient=False, hint=NAME_NEEDED
            )
        try:
            refusal = await _refusal(item, objects, namespace=namespace, force=force, coming=coming)
        except _WithoutCrdError:
            unknown += 1
            continue
        if refusal is None:
            continue
        ref, answer = refusal
        if answer == f'namespaces "{ref.namespace}" not found' and ref.namespace in to_be_created:
            skipped += 1
        else:
            refusals.append(refusal)
    if refusals:
        redact = await asyncio.to_thread(redactor, rendered)
        raise await asyncio.to_thread(refused, refusals, redact=redact)
    left = [f", {skipped} not validated because their namespace does not exist yet"] if skipped else []
    left += [f", {unknown} not validated because their CRDs are not applied yet"] if unknown else []
    if left:
        return f"{len(rendered)} objects rendered{''.join(left)}"
    return f"{len(rendered)} objects rendered and validated, nothing changed"


class _WithoutCrdError(Exception):
    """The cluster does not have the CRD yet by which the object can be validated."""


async def _refusal(
    item: dict[str, Any], objects: Objects, *, namespace: str, force: bool, coming: Container[tuple[str, str]]
) -> Refusal | None:
    """Return why the API server refuses an object. Raises _WithoutCrdError, and KubeError without an answer about it."""
    depends = reference(item, namespace).group_kind in coming
    try:
        ref = await objects.locate(item, namespace)
    except KubeError as error:
        if depends and error.reason is Reason.KIND_MISSING:
            raise _WithoutCrdError from error
        raise
    try:
        await objects.try_apply(ref, item, force=force)
    except KubeError as error:
        # 404: the CRD was deleted after the kind had been looked up.
        if depends and (error.status == 404 or error.reason is Reason.OBJECT_INVALID):
            raise _WithoutCrdError from error
        if not error.answer:
            raise
        return ref, error.answer
    return None


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
            named = await read_apart(name_biggest, output.stdout, size=len(output.stdout), error=ValueError)
            return Findings(detail=await asyncio.to_thread(redact, named))
    except TimeoutError:
        missing = f"Helm's dry run did not end within {seconds:.0f} s"
    except OperatorError as error:
        missing = error.message
    except ValueError as error:
        missing = f"Helm's dry run cannot be read: {error}"
    return Findings(incomplete=redact(f"Could not determine the largest parts of the release: {missing}"))


async def invalid_objects(
    render: Callable[[], Awaitable[HelmOutput]], *, redact: Callable[[str], str], seconds: float = COLLECT_SECONDS
) -> Findings:
    """Return findings that name the objects with which helm cannot work, and their templates; none if that is not found out.

    helm names neither the template nor, mostly, the object. Where the templates themselves do not render, its error names the
    place, and nothing is added. Raises nothing except when cancelled.
    """
    with contextlib.suppress(TimeoutError, OperatorError, *UNREADABLE):
        async with asyncio.timeout(seconds):
            output = await render()
            named = await read_apart(name_invalid, output.stdout, size=len(output.stdout), error=ValueError)
            return Findings(detail=await asyncio.to_thread(redact, named) if named else None)
    return Findings()
