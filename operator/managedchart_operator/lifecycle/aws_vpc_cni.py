"""The lifecycle of the AWS VPC CNI chart: it adopts the objects that EKS has installed.

EKS installs the CNI's objects without Helm's ownership marks, and Helm refuses to change objects that it does not own. pre_exec
adds these marks to the existing objects that the chart renders; the upgrade then takes over the fields of their former
managers, as every upgrade does. What the API server would refuse (a selector is immutable) is found before anything is marked.
Source: Helm's check of `meta.helm.sh/release-name`, `meta.helm.sh/release-namespace` and `app.kubernetes.io/managed-by`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from managedchart_operator.api.spec import Action
from managedchart_operator.diagnosis.apply_refusals import Refusal, refused
from managedchart_operator.errors import HelmError, KubeError, LifecycleError
from managedchart_operator.helm.ownership import is_marked, marks, other_release
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.reasons import Reason


class AwsVpcCni(Lifecycle):
    """Adopts the CNI's existing objects for the release and namespace that the spec names."""

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Mark the existing objects as the release's own.

        Raises LifecycleError for an object that another release owns, HelmError for one that helm would not be allowed to
        change. All are checked before the first is marked, so a refusal leaves the cluster unchanged.
        """
        if context.action is not Action.DEPLOY or context.operation is Operation.RESUME:
            return payload
        rendered = await context.release.manifest()
        foreign = [(ref, item) for item in rendered if (ref := await self._unmarked(context, item))]
        await _check_adoption(context, foreign, rendered=rendered)
        if context.operation is Operation.DRY_RUN:
            return payload
        for ref, _ in foreign:
            await context.cluster.merge_patch(ref, {"metadata": _marks(context)})
        adopted = [str(ref) for ref, _ in foreign]
        if adopted:
            context.logger.info("adopted %s", ", ".join(adopted))
        return {**payload, "adopted": adopted}

    async def deploy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Install or upgrade. A dry run has not added Helm's marks, so it ignores that they are missing."""
        await self.uninstall_before_breaking_version(context)
        await context.release.upgrade(take_ownership=context.operation is Operation.DRY_RUN)
        return payload

    async def _unmarked(self, context: PhaseContext, item: dict[str, Any]) -> ObjectRef | None:
        """Return the object if it exists and lacks Helm's marks. Raises LifecycleError if another release owns it."""
        try:
            ref = await context.cluster.locate(item, context.release.namespace)
            found = await context.cluster.get(ref)
        except KubeError as error:
            if error.reason is Reason.KIND_MISSING and context.operation is Operation.DRY_RUN:
                return None  # its CRD comes with the chart; a dry run has not applied that
            raise
        if found is None:
            return None
        name, namespace = context.release.name, context.release.namespace
        if other := other_release(found["metadata"], name=name, namespace=namespace):
            raise LifecycleError(
                f"{ref} belongs to the release {other}",
                reason=Reason.OBJECT_OWNED,
                transient=False,
                hint="Uninstall that release, or set spec.releaseName and spec.targetNamespace to it.",
            )
        return None if is_marked(found["metadata"], name=name, namespace=namespace) else ref


async def _check_adoption(
    context: PhaseContext, foreign: Sequence[tuple[ObjectRef, dict[str, Any]]], *, rendered: Sequence[dict[str, Any]]
) -> None:
    """Let the API server validate the adopted objects as helm will send them.

    Raises HelmError, as the upgrade would, for all that are refused, and KubeError if the API server does not answer.
    """
    refusals: list[Refusal] = []
    hint = None
    for ref, item in foreign:
        try:
            await context.cluster.try_apply(ref, _with_marks(context, item))
        except KubeError as refusal:
            immutable = refusal.reason is Reason.IMMUTABLE_FIELD
            if not refusal.answer:
                raise
            if immutable or not context.spec.force_upgrade:  # which replaces objects instead of applying them
                refusals.append((ref, refusal.answer))
            if immutable and hint is None:
                hint = _immutable_hint(ref)
    if refusals:
        redact = await asyncio.to_thread(context.release.redactor, rendered)
        error = refused(refusals, redact=redact)
        raise HelmError(
            f"{error.message}; no object was adopted",
            reason=error.reason,
            transient=error.transient,
            text=error.text,
            hint=hint if error.reason is Reason.IMMUTABLE_FIELD else error.hint,
        )


def _immutable_hint(ref: ObjectRef) -> str:
    namespace = f" --namespace {ref.namespace}" if ref.namespace else ""
    return (
        "Set values that leave the field unchanged (for the selector, the chart aws-vpc-cni has originalMatchLabels: true). "
        "Otherwise delete the object; the chart creates it again: "
        f"kubectl delete {ref.kind} {ref.name}{namespace}"
    )


def _marks(context: PhaseContext) -> dict[str, dict[str, str]]:
    return marks(name=context.release.name, namespace=context.release.namespace)


def _with_marks(context: PhaseContext, item: dict[str, Any]) -> dict[str, Any]:
    """Return the object as helm sends it."""
    meta = item["metadata"]
    marked = {part: {**(meta.get(part) or {}), **entries} for part, entries in _marks(context).items()}
    return {**item, "metadata": {**meta, **marked}}
