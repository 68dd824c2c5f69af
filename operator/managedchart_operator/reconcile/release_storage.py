"""The revisions of one release, as helm stores them.

Purpose: look at them, read the newest, and put right what helm, or an operator, left behind when it was killed. Boundary: what
is to be done was decided before. Invariants: a revision that somebody else has changed since it was seen is left alone; what
was read is never older than the last change that we made.
"""

import asyncio
import logging
from dataclasses import dataclass

from managedchart_operator.errors import HelmError, KubeError
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
from managedchart_operator.helm.stored_manifest import Editor, with_manifest
from managedchart_operator.helm.stored_release import StoredRelease, decode, with_status
from managedchart_operator.kube.releases import ReleaseSecrets
from managedchart_operator.reconcile.ownership import Ownership

logger = logging.getLogger(__name__)

# A Secret that changes more often between our look and our write is being worked on by another Helm operation.
_REWRITES = 3


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A revision that did not come to its end, or that an upgrade after it has not replaced whole, and its document."""

    revision: Revision
    stored: StoredRelease

    @property
    def was_good(self) -> bool:
        """Whether it was deployed, so that what it renders is the release's own, whoever made it."""
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
    version: str = ""
    """The cluster's resourceVersion then."""
    is_current: bool = False
    """Whether `revisions` was read after the last helm of ours."""

    @property
    def newest(self) -> Revision | None:
        """The newest revision as last observed."""
        return self.revisions[0] if self.revisions else None

    async def observe(self) -> tuple[Revision, ...]:
        """Look at the release Secrets and return the revisions, newest first. Raises KubeError."""
        found = await self.secrets.list_metadata(namespace=self.namespace, release=self.name)
        self.revisions, self.version, self.is_current = revisions_of(found.secrets), found.version, True
        return self.revisions

    async def look(self) -> tuple[Revision, ...]:
        """Return the revisions, newest first; the release Secrets are read only where helm may have changed them since."""
        return self.revisions if self.is_current else await self.observe()

    async def read_stored(self) -> StoredRelease | None:
        """Read the newest revision's document, or None where there is no release. Raises KubeError, HelmError."""
        return await self.read(self.newest) if self.newest else None

    async def read(self, revision: Revision) -> StoredRelease | None:
        """Read a revision's document, or None where it is gone. Raises KubeError, HelmError."""
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        return await asyncio.to_thread(decode, secret) if secret else None

    async def read_unfinished(self) -> list[Unfinished]:
        """Read the revisions before the newest of which helm may have left objects: those that failed, and one still deployed.

        helm compares with the deployed revision when it upgrades, and with the newest when it uninstalls or rolls back. It
        calls a failed revision superseded too, so the last good one ends the search. What cannot be read is left out and
        logged. Raises KubeError.
        """
        found: list[Unfinished] = []
        for revision in self.revisions[1:]:
            if revision.status == SUPERSEDED and self.ownership.was_good(revision):
                break  # without a look at the document, since this is what every upgrade meets
            secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
            try:
                stored = await asyncio.to_thread(decode, secret) if secret else None
            except HelmError as error:
                logger.warning("%s/%s: %s", self.namespace, self.name, error.message)
                stored = None
            if revision.status == SUPERSEDED and (stored is None or stored.succeeded):
                break  # in doubt it was good: what it rendered was compared by helm
            found += [Unfinished(revision, stored)] if stored else []
            if revision.status == DEPLOYED:
                break
        return found

    async def last_good(self) -> Revision | None:
        """Return the revision to roll back to from the newest, or None where none has become ready yet. Raises KubeError.

        A deployed one is good. A superseded one was, unless helm has superseded what had failed: its document shows that.
        So was one that the operator has marked failed, because an uninstall of it was interrupted.
        """
        for revision in self.revisions[1:]:
            if revision.status == DEPLOYED:
                return revision
        for revision in self.revisions[1:]:
            if revision.status in (SUPERSEDED, FAILED) and await self._came_up(revision):
                return revision
        return None

    async def _came_up(self, revision: Revision) -> bool:
        """In doubt it did: what was good once must not be uninstalled. Raises KubeError."""
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        if secret is None:
            return False
        try:
            stored = await asyncio.to_thread(decode, secret)
        except HelmError:
            return revision.status == SUPERSEDED
        return stored.succeeded if revision.status == SUPERSEDED else stored.description == UNINSTALL_INTERRUPTED

    async def unlock(self, revision: Revision) -> None:
        """Mark a revision that nobody works on any more failed, so that helm upgrades over it.

        It is one that helm did not finish, that was never seen ready, or that is in the middle of an uninstall. Raises
        KubeError, HelmError.
        """
        if revision.status == DEPLOYED:
            await self.fail(revision, "the operator ended while it waited for it")
            return
        good = revision.status == UNINSTALLING and self._was_deployed(revision)
        await self._set_status(revision, FAILED, UNINSTALL_INTERRUPTED if good else LEFT_UNFINISHED)
        await self.observe()

    async def call_off_uninstall(self, revision: Revision) -> None:
        """Give a revision in the middle of an uninstall the status back that it had before. Raises KubeError, HelmError."""
        if self._was_deployed(revision):
            await self._set_status(revision, DEPLOYED, UNINSTALL_CALLED_OFF)
        else:
            await self._set_status(revision, FAILED, LEFT_UNFINISHED)
        await self.observe()

    def _was_deployed(self, revision: Revision) -> bool:
        """Whether the newest revision was the deployed one before its uninstall; helm does not keep that. In doubt it was."""
        if any(other.status == DEPLOYED for other in self.revisions if other.number != revision.number):
            return False  # helm has one deployed revision at most
        return self.ownership.was_good(revision) or not self.ownership.failed(revision)

    async def fail(self, revision: Revision, why: str) -> None:
        """Mark the newest revision failed that helm took for a success, and those before it as if helm had not.

        helm has superseded the one before: the deployed one, without which a later upgrade or rollback by hand would not find
        what to go back to, or a failed one where none was deployed. Raises KubeError, HelmError.
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
        """Change the objects that a revision has stored, and its `hooks` if asked for; False where nothing was written.

        Only a revision that has this resource's label is rewritten, and only as it was read. A second call finds nothing to
        change. Raises KubeError, HelmError.
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
                await self.secrets.rewrite(secret, release=data, labels=dict(secret["metadata"].get("labels") or {}))
            except KubeError as error:
                tries += 1
                if error.status != 409 or tries == _REWRITES:
                    raise
            else:
                return True

    async def purge(self) -> None:
        """Forget the release: delete its revisions, the newest last, so that a successor goes on. Raises KubeError."""
        for revision in reversed(self.revisions):
            await self.secrets.delete(namespace=self.namespace, name=revision.secret)
        self.revisions = ()

    async def _set_status(self, revision: Revision, status: str, description: str | None = None) -> bool:
        """Give a revision another status; False where somebody else has done so since it was seen.

        Raises KubeError, HelmError.
        """
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        if secret is None or revision_of(secret["metadata"]).status != revision.status:
            return False
        data, labels = await asyncio.to_thread(with_status, secret, status, description=description)
        await self.secrets.rewrite(secret, release=data, labels=labels)
        return True
