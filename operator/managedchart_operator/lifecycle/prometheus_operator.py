"""The lifecycle of the Prometheus operator and of the chart of its CRDs.

Deploy: a failed uninstall before a breaking version is only a warning; the upgrade decides. Destroy: Helm does not uninstall
the CRDs of a chart's crds/ folder, so the lifecycle then deletes those that the release installed, and with them every object
of their kinds.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from managedchart_operator.errors import OperatorError
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.lifecycle.base import Lifecycle, Payload
from managedchart_operator.lifecycle.context import ChartCrds, PhaseContext
from managedchart_operator.lifecycle.release_crds import NOT_DEPLOYED, belongs, why_kept

GROUP = "monitoring.coreos.com"
CRDS = frozenset(
    f"{plural}.{GROUP}"
    for plural in ("prometheuses", "prometheusrules", "servicemonitors", "podmonitors", "alertmanagers", "thanosrulers")
)
"""The CRDs of every version of the Prometheus operator; newer versions have more."""

CRDS_LEFT = "CRDsLeft"
"""Reason of the Warning Event that names the CRDs that were not deleted."""

_API_VERSION, _KIND = "apiextensions.k8s.io/v1", "CustomResourceDefinition"


class PrometheusOperator(Lifecycle):
    """Reinstalls across a breaking version, and deletes the CRDs when the release is destroyed."""

    async def uninstall_before_breaking_version(self, context: PhaseContext) -> None:
        """Uninstall as by default, but a failure is only a warning."""
        try:
            await super().uninstall_before_breaking_version(context)
        except OperatorError as error:
            context.recorder.warn(
                error.reason, f"Uninstall before the breaking version failed; upgrading anyway: {error.message}"
            )

    async def destroy(self, context: PhaseContext, payload: Payload) -> Payload:
        """Uninstall, then delete the CRDs that the release installed. A warning names those that are kept, and why.

        It does not wait until they are deleted: the API server takes minutes for a CRD that is deleted right after its creation
        ("storage is (re)initializing", measured with 1.37).
        """
        # After the uninstall neither is known.
        installed = await _installed_crds(context) if await context.release.deployed_here() else None
        payload = await super().destroy(context, payload)
        kept: dict[str, list[str]] = {}
        for crd in await _present(context):
            name = crd["name"]
            if why := _why_kept(context, crd, installed):
                kept.setdefault(why, []).append(name)
            elif installed and belongs(context, crd, installed):
                await context.cluster.delete(ObjectRef(_API_VERSION, _KIND, name))
                context.logger.info("deleted CRD %s", name)
        for why, names in kept.items():
            advice = f"to delete one that nobody uses: kubectl delete crd {names[0]}"
            context.recorder.warn(CRDS_LEFT, f"CRDs kept because {why}: {', '.join(names)}; {advice}")
        return payload


async def _installed_crds(context: PhaseContext) -> ChartCrds:
    """Return the CRDs of the installed chart, at least the six of every version.

    The chart may have to be fetched, so it is read only if the cluster has other CRDs of the group.
    """
    six = ChartCrds(CRDS)
    if all(belongs(context, crd, six) for crd in await _present(context)):
        return six
    found = await context.release.chart_crds()
    return replace(found, names=found.names | CRDS)


async def _present(context: PhaseContext) -> list[dict[str, Any]]:
    """Return the metadata of the group's CRDs that are not being deleted, sorted by name."""
    found = [item["metadata"] for item in await context.cluster.list(_API_VERSION, _KIND, metadata_only=True)]
    of_group = [crd for crd in found if crd["name"].endswith(f".{GROUP}") and not crd.get("deletionTimestamp")]
    return sorted(of_group, key=lambda crd: str(crd["name"]))


def _why_kept(context: PhaseContext, crd: Mapping[str, Any], installed: ChartCrds | None) -> str | None:
    """Return why a CRD is kept; None for one to delete, and for one that has nothing to do with the release.

    `installed` is None if this ManagedChart has not deployed the release.
    """
    if installed is None:
        return NOT_DEPLOYED
    known = belongs(context, crd, installed)
    if not known and installed.incomplete is None:
        return None
    return why_kept(context, crd, installed)
