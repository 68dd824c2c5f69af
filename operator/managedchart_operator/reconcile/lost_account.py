"""Lets a deleted ManagedChart go whose account can no longer uninstall its release.

Whoever deletes a namespace also deletes the ServiceAccounts and RoleBindings in it, before or after the ManagedCharts, and an
administrator may delete all three by one command. Then nobody is left on whose behalf the release could be uninstalled, and a
finalizer that waits for that would keep the namespace for ever. The operator does not step in with its own permissions:
what a release names may be what its account was never allowed to touch. So it waits for a while, and then removes the finalizer
and reports what is left, where somebody can still read it.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from managedchart_operator.api.resource import ManagedChart
from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.kube.events import MESSAGE_LENGTH, Events
from managedchart_operator.kube.namespaces import Namespaces, NamespaceState
from managedchart_operator.kube.objects import ObjectRef, reference
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.operations.outcome import RELEASE_LEFT
from managedchart_operator.reconcile.release_storage import ReleaseStorage
from managedchart_operator.reconcile.resource_pass import ResourcePass
from managedchart_operator.times import read_time

# Long enough for an administrator who sees the deletion hang to restore a RoleBinding, and short enough for a pipeline that
# deletes everything and waits: kubectl delete and Flux wait for five minutes and more.
RESTORE_SECONDS = 300.0
# In a namespace that is being deleted neither an account nor a RoleBinding can be created again. This is only for an API server
# that has just started, and refuses everybody for some seconds.
TERMINATING_SECONDS = 10.0
# A hint and a command need the rest of an Event's message.
_LISTED_CHARACTERS = MESSAGE_LENGTH - 500


@dataclass(frozen=True, slots=True)
class LostAccounts:
    """Decides how long a removal waits for its account, and reports what is left; all with the operator's own permissions."""

    namespaces: Namespaces
    secrets: ReleaseSecrets
    events: Events
    as_operator: bool
    """Whether the operator itself uninstalls the release in the end, as a setting says."""

    async def seconds_left(self, chart: ManagedChart) -> float:
        """Return how many seconds a removal waits for its account yet; zero or less if it does not. Raises KubeError."""
        requested = read_time(chart.deletion_requested) or datetime.now(UTC)
        wait = TERMINATING_SECONDS if await self.is_terminating(chart) else RESTORE_SECONDS
        return wait - (datetime.now(UTC) - requested).total_seconds()

    async def is_over(self, work: ResourcePass) -> bool:
        """Whether a removal that was refused waits no longer. Raises KubeError.

        The attempt before must have failed for a permission, too, and the API server must have confirmed that it is missing: a
        long uninstall may be over this time when it is refused for the first time.
        """
        known = work.last.missing_permission is not None or self.as_operator
        return known and await self.seconds_left(work.chart) <= 0

    async def report(self, work: ResourcePass, error: OperatorError) -> str:
        """Post a Warning Event with the release and the objects that are left; returns its message. Raises KubeError."""
        chart, run = work.chart, work.release
        terminating = await self.is_terminating(chart)
        revision = f" (revision {run.newest.number})" if run.newest else ""
        objects = await self._objects_of(work)
        gone_anyway = chart.key.namespace if terminating else None
        message = (
            f"The release {run.namespace}/{run.name}{revision} of the deleted ManagedChart {chart.key} was not uninstalled:"
            f" {error.message}. {_left(objects, gone_anyway)}"
        )
        if terminating:
            await self.events.post_elsewhere(chart, reason=RELEASE_LEFT, message=message)
        else:
            uninstall = f"; to uninstall it: helm uninstall {run.name} --namespace={run.namespace}"
            message += uninstall if run.newest else ""
            await self.events.post(chart, type="Warning", reason=RELEASE_LEFT, message=message)
        return message

    async def is_terminating(self, chart: ManagedChart) -> bool:
        """Whether the ManagedChart's namespace is being deleted; not if the operator may not read it."""
        try:
            return await self.namespaces.state(chart.key.namespace) is not NamespaceState.ACTIVE
        except KubeError as error:
            if error.reason is not Reason.FORBIDDEN:
                raise
            return False

    async def _objects_of(self, work: ResourcePass) -> list[ObjectRef] | None:
        """Return the objects that the newest revision renders; None if it cannot be read."""
        run = work.release
        storage = ReleaseStorage(self.secrets, run.namespace, run.name, run.ownership)
        with contextlib.suppress(KubeError, HelmError, ManifestError):
            await storage.observe()
            stored = await storage.read_stored() if run.ownership.owns(storage.revisions) else None
            if stored is not None:
                manifests = [stored.manifest, *stored.hook_manifests]
                return [reference(each, run.namespace) for each in await asyncio.to_thread(outline, *manifests)]
        return list(run.earlier_blockers) or None


def was_refused(error: OperatorError, work: ResourcePass) -> bool:
    """Whether an uninstall failed because the account on whose behalf it ran does not exist, or lacks a permission."""
    return error.reason is Reason.FORBIDDEN and work.release.services.identity is not None


def _left(objects: Iterable[ObjectRef] | None, gone_anyway: str | None) -> str:
    """Return a sentence that names what is left: as many objects as fit into an Event."""
    if objects is None:
        return "Its objects are unknown, because its release Secret cannot be read"
    names = [str(each) for each in objects if gone_anyway is None or each.namespace != gone_anyway]
    if not names:
        return (
            f"All of its objects are in namespace {gone_anyway}, which is being deleted"
            if gone_anyway
            else "It has no objects"
        )
    shown, length = 0, 0
    for name in names:
        if (length := length + len(name) + 2) > _LISTED_CHARACTERS:
            break
        shown += 1
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    where = f" outside of namespace {gone_anyway}, which is being deleted" if gone_anyway else ""
    return f"Left in the cluster{where}: {', '.join(names[:shown])}{more}"
