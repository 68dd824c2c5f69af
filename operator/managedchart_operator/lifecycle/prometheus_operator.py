"""The lifecycle of the Prometheus operator and of the chart of its CRDs.

Deploy: the uninstall that a breaking version asks for may fail, which is told as a warning; the upgrade decides. Destroy:
Helm leaves what stands in a chart's crds/ folder, so the CRDs that the release brought are deleted after the uninstall, and
with them every object of their kinds. Which CRDs are not the release's to delete, `crd_origin` decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from managedchart_operator.errors import OperatorError
from managedchart_operator.helm.ownership import is_marked
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import ChartCrds, PhaseContext
from managedchart_operator.lifecycle.crd_origin import why_foreign

GROUP = "monitoring.coreos.com"
CRDS = frozenset(
    f"{plural}.{GROUP}"
    for plural in ("prometheuses", "prometheusrules", "servicemonitors", "podmonitors", "alertmanagers", "thanosrulers")
)
"""Those that every version of the Prometheus operator has; newer ones have more."""

CRDS_LEFT = "CRDsLeft"
"""Reason of the Warning event that names CRDs which were not deleted."""

_API_VERSION, _KIND = "apiextensions.k8s.io/v1", "CustomResourceDefinition"


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
        """Uninstall, then delete the CRDs that the release brought. A warning names those that stay, and says why.

        It does not wait until they are gone: the API server takes minutes for a CRD that is deleted right after it was
        made ("storage is (re)initializing", measured with 1.37).
        """
        # The uninstall forgets both.
        brought = await _brought(context) if await context.release.deployed_here() else None
        payload = await super().destroy(context, payload)
        left: dict[str, list[str]] = {}
        for crd in await _present(context):
            name = crd["name"]
            if why := _why_left(context, crd, brought):
                left.setdefault(why, []).append(name)
            elif brought and _is_of(context, crd, brought):
                await context.cluster.delete(ObjectRef(_API_VERSION, _KIND, name))
                context.logger.info("deleted CRD %s", name)
        for why, names in left.items():
            context.recorder.warn(CRDS_LEFT, _sentence(names, why))
        return payload


async def _brought(context: PhaseContext) -> ChartCrds:
    """Return the CRDs that the installed chart brings, the six at least.

    The chart may have to be fetched, so it is asked only when the cluster has others of the group.
    """
    six = ChartCrds(CRDS)
    if all(_is_of(context, crd, six) for crd in await _present(context)):
        return six
    found = await context.release.chart_crds()
    return replace(found, names=found.names | CRDS)


async def _present(context: PhaseContext) -> list[dict[str, Any]]:
    """Return the metadata of the group's CRDs that are not being deleted already, by name."""
    found = [item["metadata"] for item in await context.cluster.list(_API_VERSION, _KIND, metadata_only=True)]
    of_group = [crd for crd in found if crd["name"].endswith(f".{GROUP}") and not crd.get("deletionTimestamp")]
    return sorted(of_group, key=lambda crd: str(crd["name"]))


def _is_of(context: PhaseContext, crd: Mapping[str, Any], brought: ChartCrds) -> bool:
    release = context.release
    return crd["name"] in brought.names or is_marked(crd, name=release.name, namespace=release.namespace)


def _why_left(context: PhaseContext, crd: Mapping[str, Any], brought: ChartCrds | None) -> str | None:
    """Say why a CRD stays; None for one to delete and for one that the release does not have. None deployed, none brought."""
    if brought is None:
        return "this ManagedChart has not deployed the release"
    known = _is_of(context, crd, brought)
    if not known and brought.incomplete is None:
        return None
    release = context.release
    if why := why_foreign(crd, name=release.name, namespace=release.namespace):
        return why
    return None if known else f"it is unknown whether the installed chart brought them: {brought.incomplete}"


def _sentence(names: Iterable[str], why: str) -> str:
    return f"CRDs that stay, since {why}: {', '.join(names)}; delete those that nobody uses with kubectl delete crd"
