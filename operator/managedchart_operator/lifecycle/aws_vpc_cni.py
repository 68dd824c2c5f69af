"""The lifecycle of the AWS VPC CNI chart: adopt what the cloud installed.

EKS brings the CNI's objects without Helm's marks, and Helm refuses to touch objects that it does not own. pre_exec puts
Helm's ownership marks on those objects that the chart renders and that exist already; the upgrade then takes over the
fields of their former managers, as every upgrade does.
Source: Helm's check of `meta.helm.sh/release-name`, `meta.helm.sh/release-namespace` and `app.kubernetes.io/managed-by`.
"""

from typing import Any

from managedchart_operator.api.spec import Action
from managedchart_operator.errors import LifecycleError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import Operation, PhaseContext
from managedchart_operator.reasons import Reason

_NAME = "meta.helm.sh/release-name"
_NAMESPACE = "meta.helm.sh/release-namespace"
_MANAGED_BY = "app.kubernetes.io/managed-by"


class AwsVpcCni(Lifecycle):
    """Lets Helm adopt the CNI objects that exist already, whichever release and namespace the spec names."""

    async def pre_exec(self, context: PhaseContext, payload: Payload) -> Payload:
        """Mark the existing objects as the release's own. Raises LifecycleError for one that another release owns.

        All are looked at before the first is marked, so that a refusal leaves the cluster as it was.
        """
        if context.action is not Action.DEPLOY or context.operation is Operation.FINISH:
            return payload
        foreign = [ref for item in await context.release.manifest() if (ref := await self._unmarked(context, item))]
        if context.operation is Operation.DRY_RUN:
            return payload
        for ref in foreign:
            await context.cluster.merge_patch(ref, {"metadata": _marks(context)})
        adopted = [str(ref) for ref in foreign]
        if adopted:
            context.logger.info("adopted %s", ", ".join(adopted))
        return {**payload, "adopted": adopted}

    async def deploy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Upgrade. A dry run looks past Helm's marks, which it has not put on."""
        await self.uninstall_before_breaking_version(context)
        await context.release.upgrade(take_ownership=context.operation is Operation.DRY_RUN)
        return payload

    async def _unmarked(self, context: PhaseContext, item: dict[str, Any]) -> ObjectRef | None:
        """Return the object if it exists and lacks Helm's marks. Raises LifecycleError if another release owns it."""
        ref = await _reference(context, item)
        found = await context.cluster.get(ref)
        if found is None:
            return None
        marks = _marks(context)
        annotations = found["metadata"].get("annotations") or {}
        labels = found["metadata"].get("labels") or {}
        ours = marks["annotations"]
        owner = {key: annotations[key] for key in ours if key in annotations}
        if owner and owner != {key: ours[key] for key in owner}:
            raise LifecycleError(
                f"{ref} belongs to the release {annotations.get(_NAMESPACE, '?')}/{annotations.get(_NAME, '?')} already",
                reason=Reason.OBJECT_OWNED,
                transient=False,
                hint="uninstall that release, or name it in releaseName and targetNamespace",
            )
        marked = owner == ours and labels.items() >= marks["labels"].items()
        return None if marked else ref


def _marks(context: PhaseContext) -> dict[str, dict[str, str]]:
    """What Helm asks of an object before it takes it for its own."""
    return {
        "annotations": {_NAME: context.release.name, _NAMESPACE: context.release.namespace},
        "labels": {_MANAGED_BY: "Helm"},
    }


async def _reference(context: PhaseContext, item: dict[str, Any]) -> ObjectRef:
    meta = item["metadata"]
    namespaced = await context.cluster.namespaced(item["apiVersion"], item["kind"])
    namespace = (meta.get("namespace") or context.release.namespace) if namespaced else ""
    return ObjectRef(item["apiVersion"], item["kind"], meta["name"], namespace)
