"""The lifecycle of the Prometheus operator and of the chart of its CRDs.

Deploy: the uninstall that a breaking version asks for may fail, which is told as a warning; the upgrade decides. Destroy:
Helm leaves what stands in a chart's crds/ folder and what other releases brought, so the operator's CRDs are deleted
after the uninstall.
"""

from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import PhaseContext

CRDS = tuple(
    f"{plural}.monitoring.coreos.com"
    for plural in ("prometheuses", "prometheusrules", "servicemonitors", "podmonitors", "alertmanagers", "thanosrulers")
)


class PrometheusOperator(Lifecycle):
    """Reinstalls across a breaking version, and takes the CRDs away at the end."""

    async def uninstall_before_breaking_version(self, context: PhaseContext) -> None:
        """As by default, but a failure is only a warning."""
        try:
            await super().uninstall_before_breaking_version(context)
        except OperatorError as error:
            context.recorder.warn(
                error.reason, f"uninstalling before the breaking version failed, going on: {error.message}"
            )

    async def destroy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Uninstall, then delete the six CRDs, and with them every object of their kinds.

        It does not wait until they are gone: the API server takes minutes for a CRD that is deleted right after it was
        made ("storage is (re)initializing", measured with 1.37).
        """
        payload = await super().destroy(context, payload)
        for name in CRDS:
            if await context.cluster.delete(ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)):
                context.logger.info("deleted CRD %s", name)
        return payload
