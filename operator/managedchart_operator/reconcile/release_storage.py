"""Reads the revisions of one release as helm stores them, and repairs what a killed helm process or operator left behind.

The callers decide what to do. A revision that somebody else has changed since it was observed is left alone, and what is read
is never older than the operator's own last change.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.manifest_edits import Editor
from managedchart_operator.helm.storage import (
    DEPLOYED,
    FAILED,
    LEFT_UNFINISHED,
    SUPERSEDED,
    UNINSTALL_CALLED_OFF,
    UNINSTALL_INTERRUPTED,
    UNINSTALLING,
    Revision,
    revision_of,
    revisions_of,
)
from managedchart_operator.helm.stored_manifest import with_manifest
from managedchart_operator.helm.stored_release import StoredRelease, marked, read_secret
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.ownership import Ownership

logger = logging.getLogger(__name__)

# If a Secret changes more often between the read and the write, another Helm operation is working on it.
_REWRITES = 3


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A revision that did not finish, or that the upgrade after it did not replace completely, and its document."""

    revision: Revision
    stored: StoredRelease

    @property
    def was_good(self) -> bool:
        """Whether it was deployed, so that all it renders is the release's own, whoever made it."""
        return self.revision.status == DEPLOYED


@dataclass(slots=True)
class ReleaseStorage:
    """The release Secrets of one release during one run."""

    secrets: ReleaseSecrets
    namespace: str
    name: str
    ownership: Ownership
    revisions: tuple[Revision, ...] = ()
    """As last observed, newest first."""
    is_current: bool = False
    """Whether `revisions` was read after this run's last helm process."""
    may_read: Callable[[], Awaitable[bool]] | None = None
    """Whether the resource's account may read the release; None for the operator itself."""

    @property
    def newest(self) -> Revision | None:
        """The newest revision as last observed."""
        return self.revisions[0] if self.revisions else None

    async def observe(self) -> tuple[Revision, ...]:
        """Read the metadata of the release Secrets and return the revisions, newest first. Raises KubeError.

        The operator lists them with its own permissions. A release of somebody else that the resource's account may not read
        is treated as if it did not exist, so that nothing of it reaches a status; helm, as that account, is refused then.
        """
        found = revisions_of(await self.secrets.list_metadata(namespace=self.namespace, release=self.name))
        hidden = self.may_read is not None and found and not any(map(self.ownership.labels, found))
        if hidden and self.may_read is not None and await self.may_read():
            hidden = False
        self.revisions, self.is_current = () if hidden else found, True
        return self.revisions

    async def look(self) -> tuple[Revision, ...]:
        """Return the revisions, newest first; reads them again only if helm may have changed them since. Raises KubeError."""
        return self.revisions if self.is_current else await self.observe()

    async def read_stored(self) -> StoredRelease | None:
        """Read the newest revision's document; None if there is no release. Raises KubeError, HelmError."""
        return await self.read(self.newest) if self.newest else None

    async def read(self, revision: Revision) -> StoredRelease | None:
        """Read a revision's document; None if it was deleted. Raises KubeError, HelmError."""
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        return await read_secret(secret) if secret else None

    async def read_unfinished(self) -> list[Unfinished]:
        """Read the earlier revisions of which helm may have left objects: those that failed, and one still deployed.

        helm marks failed revisions superseded too, so the search ends at the last good one. A revision that cannot be read is
        left out and logged. Raises KubeError.
        """
        found: list[Unfinished] = []
        for revision in self.revisions[1:]:
            if revision.status == SUPERSEDED and self.ownership.was_good(revision):
                break  # without reading the document, since every upgrade finds such a revision
            try:
                stored = await self.read(revision)
            except HelmError as error:
                logger.warning("%s/%s: %s", self.namespace, self.name, error.message)
                stored = None
            if revision.status == SUPERSEDED and (stored is None or stored.succeeded):
                break  # in doubt it was good, and helm has compared with it
            found += [Unfinished(revision, stored)] if stored else []
            if revision.status == DEPLOYED:
                break
        return found

    async def last_good(self) -> Revision | None:
        """Return the revision to roll back to from the newest, or None if none has become ready yet. Raises KubeError."""
        earlier = self.revisions[1:]
        if deployed := [each for each in earlier if each.status == DEPLOYED]:
            return deployed[0]
        for revision in earlier:
            if revision.status in (SUPERSEDED, FAILED) and await self._was_ready(revision):
                return revision
        return None

    async def _was_ready(self, revision: Revision) -> bool:
        """Whether a superseded or failed revision became ready; in doubt it did, since a good one must not be uninstalled."""
        try:
            stored = await self.read(revision)
        except HelmError:
            return revision.status == SUPERSEDED
        if stored is None:
            return False
        if revision.status == SUPERSEDED:
            return stored.succeeded  # helm supersedes failed ones too
        return stored.description == UNINSTALL_INTERRUPTED

    async def unlock(self, revision: Revision) -> None:
        """Mark a revision failed that no helm works on any more, so that helm upgrades over it. Raises KubeError, HelmError."""
        if revision.status == DEPLOYED:
            await self.mark_failed(revision, "the operator was stopped while it waited for the objects to become ready")
            return
        good = revision.status == UNINSTALLING and self._was_deployed(revision)
        await self._set_status(revision, FAILED, UNINSTALL_INTERRUPTED if good else LEFT_UNFINISHED)
        await self.observe()

    async def call_off_uninstall(self, revision: Revision) -> None:
        """Restore the status that a revision had before its unfinished uninstall. Raises KubeError, HelmError."""
        deployed = self._was_deployed(revision)
        before = (DEPLOYED, UNINSTALL_CALLED_OFF) if deployed else (FAILED, LEFT_UNFINISHED)
        await self._set_status(revision, *before)
        await self.observe()

    def _was_deployed(self, revision: Revision) -> bool:
        """Whether the newest revision was deployed before its uninstall, which helm does not record. In doubt it was."""
        if any(other.status == DEPLOYED for other in self.revisions if other.number != revision.number):
            return False  # helm has one deployed revision at most
        return self.ownership.was_good(revision) or not self.ownership.failed(revision)

    async def mark_failed(self, revision: Revision, why: str) -> None:
        """Mark the newest revision failed although helm calls it deployed. Raises KubeError, HelmError.

        helm has marked the one before superseded, whose status is restored: the deployed one, which a later upgrade or rollback
        by hand has to find, or a failed one where none was deployed.
        """
        good, before = await self.last_good(), self.revisions[1] if len(self.revisions) > 1 else None
        verb = "Release" if before is None else "Upgrade"
        marked = await self._set_status(revision, FAILED, f'{verb} "{self.name}" failed: {why}')
        if marked and (good is None or good.status == SUPERSEDED):
            if good is not None:
                await self._set_status(good, DEPLOYED)
            if before is not None and before is not good and before.status == SUPERSEDED:
                await self._set_status(before, FAILED)
        await self.observe()

    async def rewrite_manifest(self, revision: Revision, edit: Editor, *, hooks: bool = False) -> bool:
        """Change the objects in a stored revision, and its hooks with `hooks`; False if nothing was written.

        Rewrites only a revision with this resource's label. A second call finds nothing to change. Raises KubeError, HelmError.
        """
        tries = 0
        while True:
            secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
            if secret is None or revision_of(secret["metadata"]).owner != self.ownership.uid:
                return False
            data = await asyncio.to_thread(with_manifest, secret, edit, hooks=hooks)
            if data is None:
                return False
            try:
                labels = dict(secret["metadata"].get("labels") or {})
                await self.secrets.rewrite(secret, release=data, labels=labels, own=True)
            except KubeError as error:
                tries += 1
                if error.status != 409 or tries == _REWRITES:
                    raise
            else:
                return True

    async def purge(self) -> None:
        """Delete the Secrets of all revisions, the newest last, so that a restarted operator can continue. Raises KubeError."""
        for revision in reversed(self.revisions):
            await self.secrets.delete(namespace=self.namespace, name=revision.secret)
        self.revisions = ()

    async def _set_status(self, revision: Revision, status: str, description: str | None = None) -> bool:
        """Set the status of a revision; False if somebody else has changed it since it was observed."""
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        if secret is None or revision_of(secret["metadata"]).status != revision.status:
            return False
        data, labels = await marked(secret, status, description)
        await self.secrets.rewrite(secret, release=data, labels=labels, own=self.ownership.labels(revision))
        return True


async def rollback_is_own(storage: ReleaseStorage) -> bool:
    """Whether the newest revision is a rollback by this resource's operator that its status does not record.

    It has the labels of its target, so only its description shows whose it is. False if it cannot be read, or if the resource's
    account may not read it: a run then reports what is missing, and a removal goes on. Raises KubeError.
    """
    newest, ownership = storage.newest, storage.ownership
    if newest is None or newest.owner != ownership.uid or ownership.made(newest):
        return False
    try:
        stored = await storage.read_stored()
    except HelmError:
        return False
    except KubeError as error:
        if error.reason is not Reason.FORBIDDEN:
            raise
        return False
    return stored is not None and ownership.marks_rollback(stored.description)


async def newest_is_own(storage: ReleaseStorage) -> bool:
    """Whether this resource's operator made the newest revision, rollbacks included. Raises KubeError."""
    return storage.newest is not None and (storage.ownership.made(storage.newest) or await rollback_is_own(storage))


def why_it_stays(storage: ReleaseStorage) -> str:
    """Return a sentence about a release that is not uninstalled, because it is not proven to be this resource's."""
    newest = storage.newest
    revision = f" (revision {newest.number}, {newest.status})" if newest else ""
    where = f"{storage.namespace}/{storage.name}{revision}"
    return f"The release {where} stays in the cluster, because this resource did not deploy it"
