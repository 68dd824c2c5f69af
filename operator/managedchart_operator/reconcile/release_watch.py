"""Notices releases that were changed from outside.

Purpose: a rollback, upgrade or removal by hand shows in the release Secrets; the resource that owns the release is then
reconciled. Boundary: decides only whether to look again; `decide` says what to do. Invariants: what our own runs do to a
release wakes nobody; what happens while a run is under way is looked at when it has ended, and never lost.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.api.resource import Key, ManagedChart
from managedchart_operator.helm.storage import Revision, revision_of
from managedchart_operator.reconcile.scheduler import Scheduler
from managedchart_operator.reconcile.store import Store

_GONE = Revision(number=-1, status="gone", secret="")


class ReleaseWatch:
    """Takes the changes of release Secrets' metadata and asks for reconciles."""

    def __init__(self, store: Store, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        self._unjudged: dict[Key, Revision] = {}
        self._listed = False

    def listed(self, items: Iterable[Mapping[str, Any]]) -> None:
        """All Secrets were listed: at first each resource looks for itself; after a lost watch changes were missed."""
        if not self._listed:
            self._listed = True
            return
        found = set()
        for item in items:
            metadata = item["metadata"]
            found.add((metadata["namespace"], (metadata.get("labels") or {}).get("name", "")))
            self.changed(metadata)
        for key in self._store:
            chart = self._store.get(key)
            if chart is not None and chart.status.get("release") and _target(chart) not in found:
                self._judge(chart, _GONE)

    def changed(self, metadata: Mapping[str, Any]) -> None:
        """A Secret was made or rewritten."""
        for chart in self._claimants(metadata):
            self._judge(chart, revision_of(metadata))

    def removed(self, metadata: Mapping[str, Any]) -> None:
        """A Secret is gone; helm prunes old ones, so only the one that the status tells of counts."""
        for chart in self._claimants(metadata):
            if (chart.status.get("release") or {}).get("revision") == revision_of(metadata).number:
                self._judge(chart, _GONE)

    def run_ended(self, key: Key) -> None:
        """A run has ended: judge what was seen meanwhile."""
        seen, chart = self._unjudged.pop(key, None), self._store.get(key)
        if seen is not None and chart is not None:
            self._judge(chart, seen)

    def _judge(self, chart: ManagedChart, seen: Revision) -> None:
        if chart.deleting:
            return  # its removal is tried again by itself, and what it does to the release is its own doing
        if self._scheduler.running(chart.key):
            known = self._unjudged.get(chart.key)
            if known is None or seen is _GONE or seen.number >= known.number:
                self._unjudged[chart.key] = seen
            return
        release = chart.status.get("release")
        if seen is _GONE:
            news = release is not None
        else:
            told = release or {}
            same = told.get("revision") == seen.number and told.get("status") == seen.status
            news = not same and seen.number >= told.get("revision", 0)
        if news:
            self._scheduler.request(chart.key)

    def _claimants(self, metadata: Mapping[str, Any]) -> list[ManagedChart]:
        labels = metadata.get("labels") or {}
        return self._store.claimants((metadata["namespace"], labels.get("name", "")))


def _target(chart: ManagedChart) -> tuple[str, str]:
    return (chart.release_namespace, chart.release_name)
