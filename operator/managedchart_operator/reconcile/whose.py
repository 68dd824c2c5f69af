"""Whether the newest revision is this resource's, where its labels alone do not show it: rollbacks.

A rollback takes over the labels of the revision that it returns to, so only its description, and the status once the run has
ended, show whose it is.
"""

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.storage import OWNER_LABEL
from managedchart_operator.reconcile.ownership import Ownership
from managedchart_operator.reconcile.release_storage import ReleaseStorage


def rollback_description(number: int, ownership: Ownership) -> str:
    """Return what a rollback of ours to a revision says of itself in helm's history."""
    return f"Rollback to {number}{_mark(ownership)}"


async def rollback_is_ours(storage: ReleaseStorage) -> bool:
    """Whether the newest revision is a rollback by this resource's operator that its status does not record.

    Of one that cannot be read nothing is known. Raises KubeError.
    """
    newest = storage.newest
    if newest is None or newest.owner != storage.ownership.uid or storage.ownership.made(newest):
        return False
    try:
        stored = await storage.read_stored()
    except HelmError:
        return False
    return stored is not None and stored.description.endswith(_mark(storage.ownership))


async def newest_is_ours(storage: ReleaseStorage) -> bool:
    """Whether this resource's operator made the newest revision, rollbacks included. Raises KubeError."""
    return storage.newest is not None and (storage.ownership.made(storage.newest) or await rollback_is_ours(storage))


def why_it_stays(storage: ReleaseStorage) -> str:
    """Return a sentence for a release that is not proven to be this resource's, and so is not removed."""
    newest = storage.newest
    revision = f" (revision {newest.number}, {newest.status})" if newest else ""
    where = f"{storage.namespace}/{storage.name}{revision}"
    return f"The release {where} stays in the cluster, since this resource did not deploy it"


def _mark(ownership: Ownership) -> str:
    return f" by {OWNER_LABEL} {ownership.uid}"
