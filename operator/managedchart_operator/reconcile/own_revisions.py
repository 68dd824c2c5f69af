"""Decides whether this resource's operator made the newest revision, rollbacks included.

A rollback takes the labels of its target, so only its description shows whose it is, and the status once the run has ended.
"""

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage


def rollback_description(number: int, ownership: Ownership) -> str:
    """Return the description in helm's history of a rollback by this operator."""
    return f"Rollback to {number}{_mark(ownership)}"


async def rollback_is_own(storage: ReleaseStorage) -> bool:
    """Whether the newest revision is a rollback by this resource's operator that its status does not record.

    False if it cannot be read. Raises KubeError.
    """
    newest = storage.newest
    if newest is None or newest.owner != storage.ownership.uid or storage.ownership.made(newest):
        return False
    try:
        stored = await storage.read_stored()
    except HelmError:
        return False
    return stored is not None and stored.description.endswith(_mark(storage.ownership))


async def newest_is_own(storage: ReleaseStorage) -> bool:
    """Whether this resource's operator made the newest revision, rollbacks included. Raises KubeError."""
    return storage.newest is not None and (storage.ownership.made(storage.newest) or await rollback_is_own(storage))


def why_it_stays(storage: ReleaseStorage) -> str:
    """Return a sentence about a release that is not uninstalled, because it is not proven to be this resource's."""
    newest = storage.newest
    revision = f" (revision {newest.number}, {newest.status})" if newest else ""
    where = f"{storage.namespace}/{storage.name}{revision}"
    return f"The release {where} stays in the cluster, because this resource did not deploy it"


def _mark(ownership: Ownership) -> str:
    return f" by {OWNER_LABEL} {ownership.uid}"
