"""Keeps the releases when the operator is removed.

Deleting the CRD deletes every ManagedChart, and deleting the operator's namespace deletes those in it. Nobody asked to
uninstall the releases then, so the finalizers are removed and the releases stay as they are. In doubt a release is kept, since
it can still be uninstalled later.
"""

from dataclasses import dataclass

from managedchart_operator.api.resource import DEFINITION, ManagedChart
from managedchart_operator.errors import ReleaseKeptError
from managedchart_operator.kube.definition import Definition, DefinitionState
from managedchart_operator.kube.namespaces import Namespaces, NamespaceState
from managedchart_operator.reconcile.release_run import ReleaseRun


@dataclass(frozen=True, slots=True)
class OperatorRemoval:
    """Finds the ManagedCharts that are deleted only because the operator is being removed."""

    definition: Definition
    namespaces: Namespaces
    own_namespace: str | None
    """Where the operator is installed."""
    uninstall_with_crd: bool
    """Whether the deletion of the CRD uninstalls the releases like any other deletion."""

    async def why_kept(self, chart: ManagedChart, *, again: bool = False) -> str | None:
        """Return why a ManagedChart that is being deleted keeps its release, or None if it does not. Raises KubeError.

        `again` says that this was asked before in the same pass.
        """
        if not self.uninstall_with_crd and (why := crd_keeps(chart, await self.definition.state(settled=again))):
            return why
        namespace = chart.key.namespace
        if namespace == self.own_namespace and await self.namespaces.state(namespace) is not NamespaceState.ACTIVE:
            return f"the operator's own namespace {namespace} is being deleted"
        return None

    async def check(self, chart: ManagedChart) -> None:
        """Raise ReleaseKeptError if `why_kept` now returns a reason; raises KubeError too."""
        if why := await self.why_kept(chart, again=True):
            raise ReleaseKeptError(why)


def crd_keeps(chart: ManagedChart, definition: DefinitionState | None) -> str | None:
    """Return why the state of the CRD keeps the release of a ManagedChart that is being deleted, or None.

    A ManagedChart whose own deletion was requested before that of the CRD looks the same. One whose deletion is older than the
    CRD was stored under an earlier CRD that was removed by force: without its finalizer the API server keeps the objects.
    """
    if definition is None:
        return f"the CRD {DEFINITION} was deleted"
    if definition.deleting:
        return f"the CRD {DEFINITION} is being deleted"
    # The API server writes both times in the same format, in whole seconds.
    if chart.deletion_requested <= definition.created:
        return f"its deletion was requested before the CRD {DEFINITION} was installed again"
    return None


def kept_release(release: ReleaseRun, why: str) -> str:
    """Return a log message about a release that stays although its ManagedChart is deleted, and how to uninstall it."""
    newest = release.newest
    state = f"revision {newest.number}, {newest.status}" if newest else "no revision is left"
    return (
        f"deleted without an uninstall: {why}. The release {release.namespace}/{release.name} ({state}) stays; to"
        f" uninstall it: helm uninstall {release.name} --namespace {release.namespace}"
    )
