"""The revisions of one release, as helm stores them.

Purpose: look at them, read the newest, and put right what helm, or an operator, left behind when it was killed. Boundary: what
is to be done was decided before. Invariants: a revision that somebody else has changed since it was seen is left alone; what
was read is never older than the last change that we made.
"""

import asyncio
import logging
from dataclasses import dataclass

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.storage import (
    DEPLOYED,
    FAILED,
    LEFT_UNFINISHED,
    SUPERSEDED,
    Revision,
    StoredRelease,
    decode,
    revision_of,
    revisions_of,
    with_status,
)
from managedchart_operator.kube.releases import ReleaseSecrets

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ReleaseStorage:
    """The release Secrets of one release during one run."""

    secrets: ReleaseSecrets
    namespace: str
    name: str
    revisions: tuple[Revision, ...] = ()
    """As last observed, newest first."""
    version: str = ""
    """The cluster's resourceVersion then."""

    @property
    def newest(self) -> Revision | None:
        """The newest revision as last observed."""
        return self.revisions[0] if self.revisions else None

    async def observe(self) -> tuple[Revision, ...]:
        """Look at the release Secrets and return the revisions, newest first. Raises KubeError."""
        found = await self.secrets.list_metadata(namespace=self.namespace, release=self.name)
        self.revisions, self.version = revisions_of(found.secrets), found.version
        return self.revisions

    async def read_stored(self) -> StoredRelease | None:
        """Read the newest revision's document, or None where there is no release. Raises KubeError, HelmError."""
        return None if self.newest is None else await self.read(self.newest)

    async def read(self, revision: Revision) -> StoredRelease | None:
        """Read a revision's document, or None where it is no longer there. Raises KubeError, HelmError."""
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        return await asyncio.to_thread(decode, secret) if secret else None

    async def read_unfinished(self) -> list[StoredRelease]:
        """Read the revisions before the newest of which helm may have left objects: those that failed, and one still deployed.

        helm goes by the deployed revision when it upgrades, and by the newest when it uninstalls or goes back. What cannot be
        read is left out and logged. Raises KubeError.
        """
        found: list[StoredRelease] = []
        for revision in self.revisions[1:]:
            if revision.status == SUPERSEDED:
                break
            secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
            try:
                found += [await asyncio.to_thread(decode, secret)] if secret else []
            except HelmError as error:
                logger.warning("%s/%s: %s", self.namespace, self.name, error.message)
            if revision.status == DEPLOYED:
                break
        return found

    async def last_good(self) -> Revision | None:
        """Return the revision to go back to from the newest, or None where none has come up yet. Raises KubeError.

        A deployed one is good. A superseded one was, unless helm has superseded what had failed: that its document tells.
        """
        for revision in self.revisions[1:]:
            if revision.status == DEPLOYED:
                return revision
        for revision in self.revisions[1:]:
            if revision.status == SUPERSEDED and await self._came_up(revision):
                return revision
        return None

    async def _came_up(self, revision: Revision) -> bool:
        """In doubt it did: what was good once must not be uninstalled. Raises KubeError."""
        secret = await self.secrets.read(namespace=self.namespace, name=revision.secret)
        if secret is None:
            return False
        try:
            return (await asyncio.to_thread(decode, secret)).came_up
        except HelmError:
            return True

    async def unlock(self, revision: Revision) -> None:
        """Mark a revision that nobody works on any more failed: one that helm did not finish, or that was never seen ready.

        Raises KubeError, HelmError.
        """
        if revision.status == DEPLOYED:
            await self.fail(revision, "the operator ended while it waited for it")
        else:
            await self._set_status(revision, FAILED, LEFT_UNFINISHED)
            await self.observe()

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
