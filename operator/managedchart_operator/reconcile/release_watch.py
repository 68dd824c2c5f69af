"""Notices releases that were changed outside the operator.

A rollback, upgrade or uninstall by hand changes the release Secrets; then the resource that owns the release is reconciled, and
`decide` decides what to do. Changes by the operator's own runs are ignored. A change during a run is compared with the status
when the run has ended, so none is lost.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.api.resource import Key
from managedchart_operator.helm.storage import Revision, revision_of
from managedchart_operator.kube.client import KubeClient
from managedchart_operator.kube.releases import OWNER_SELECTOR, release_collections, release_metadata
from managedchart_operator.kube.scope import Scope
from managedchart_operator.kube.watch import changes
from managedchart_operator.reconcile.claims import Claim, Standing
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store

_DELETED = Revision(number=-1, status="deleted", secret="")


class ReleaseWatch:
    """Takes the changes of release Secrets' metadata and requests reconciles."""

    def __init__(self, store: Store, scheduler: Scheduler, scope: Scope | None = None) -> None:
        self._store = store
        self._scheduler = scheduler
        self._scope = scope or Scope()
        self._seen_during_run: dict[Key, Revision] = {}
        self._listed: set[str | None] = set()

    async def follow(self, client: KubeClient) -> None:
        """Follow the metadata of the release Secrets in all namespaces of the scope until cancelled."""
        watches = [
            asyncio.create_task(self._follow(client, namespace, path), name=f"watch of releases in {path}")
            for namespace, path in release_collections(self._scope)
        ]
        try:
            await asyncio.gather(*watches)
        finally:
            for watch in watches:
                watch.cancel()

    async def _follow(self, client: KubeClient, namespace: str | None, path: str) -> None:
        async for change in changes(client, path, labels=OWNER_SELECTOR, metadata_only=True, keep=release_metadata):
            match change.type:
                case "Listed":
                    self.listed(change.object["items"], namespace=namespace)
                case "DELETED":
                    self.removed(change.object["metadata"])
                case _:
                    self.changed(change.object["metadata"])

    def listed(self, items: Iterable[Mapping[str, Any]], *, namespace: str | None = None) -> None:
        """All Secrets of a namespace (None: of all) were listed.

        Ignored at the start, when every resource is reconciled, but not after a lost watch.
        """
        if namespace not in self._listed:
            self._listed.add(namespace)
            return
        found = set()
        for item in items:
            metadata = item["metadata"]
            found.add((metadata["namespace"], (metadata.get("labels") or {}).get("name", "")))
            self.changed(metadata)
        for key in self._store:
            claim = self._store.claim(key)
            if claim is None or namespace not in (None, claim.target[0]):
                continue
            if claim.release and claim.target not in found:
                self._compare(claim, _DELETED)

    def changed(self, metadata: Mapping[str, Any]) -> None:
        """A Secret was created or changed."""
        if claims := self._claims(metadata):
            seen = revision_of(
                metadata
            )  # once: thousands may name one release, and anybody may change its Secret often
            for claim in claims:
                self._compare(claim, seen)

    def removed(self, metadata: Mapping[str, Any]) -> None:
        """A Secret was deleted; helm prunes old ones, so only that of the revision in the status counts."""
        claims = self._claims(metadata)
        number = revision_of(metadata).number if claims else 0
        for claim in claims:
            if claim.release and claim.release[0] == number:
                self._compare(claim, _DELETED)

    def run_ended(self, key: Key) -> None:
        """A run has ended: compare what was seen during it with the status."""
        seen, claim = self._seen_during_run.pop(key, None), self._store.claim(key)
        if seen is not None and claim is not None:
            self._compare(claim, seen)

    def _compare(self, claim: Claim, seen: Revision) -> None:
        if claim.deleting:
            return  # its uninstall changes the release, and is retried automatically
        if self._scheduler.running(claim.key):
            known = self._seen_during_run.get(claim.key)
            if known is None or seen is _DELETED or seen.number >= known.number:
                self._seen_during_run[claim.key] = seen
            return
        if claim.refused or claim.standing is Standing.NOTHING:
            return  # it does nothing about the release, and may be one of thousands that name it
        if seen is _DELETED:
            changed = claim.release is not None
        else:
            revision, _ = claim.release or (0, "")
            changed = claim.release != (seen.number, seen.status) and seen.number >= revision
        if changed:
            self._scheduler.request(claim.key)

    def _claims(self, metadata: Mapping[str, Any]) -> list[Claim]:
        labels = metadata.get("labels") or {}
        return self._store.claims((metadata["namespace"], labels.get("name", "")))
