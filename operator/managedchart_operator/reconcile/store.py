"""The ManagedCharts that there are, as last seen, and who claims which release.

Purpose: the memory between kopf's events and the reconciler. Boundary: a cache of the cluster, never a source of truth; it
is filled anew at each start. Invariant: an older view of an object never replaces a newer one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from managedchart_operator.api.resource import Key, ManagedChart

Target = tuple[str, str]
"""Namespace and name of a release."""


class Store:
    """Holds the ManagedCharts by key."""

    def __init__(self) -> None:
        self._charts: dict[Key, ManagedChart] = {}
        self._claims: defaultdict[Target, set[Key]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._charts)

    def get(self, key: Key) -> ManagedChart | None:
        """Return the newest view of an object, or None."""
        return self._charts.get(key)

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._charts))

    def put(self, chart: ManagedChart) -> None:
        """Take in a view of an object, unless a newer one is known; versions count on over all objects of a kind."""
        known = self._charts.get(chart.key)
        if known is not None:
            if known.resource_version > chart.resource_version:
                return
            self._unclaim(known)
        self._charts[chart.key] = chart
        self._claims[_target(chart)].add(chart.key)

    def put_status(self, answer: ManagedChart) -> None:
        """Take in the answer to a status patch of ours.

        It may carry a spec that the watch has not told of yet; if that were taken in here, the watch would bring nothing new
        then, and the new spec would interrupt and begin nothing.
        """
        known = self._charts.get(answer.key)
        if known is None or known.uid != answer.uid or known.resource_version > answer.resource_version:
            return
        self._charts[answer.key] = replace(
            known, status=answer.status, finalizers=answer.finalizers, resource_version=answer.resource_version
        )

    def remove(self, key: Key, *, uid: str) -> list[Key]:
        """Forget an object that is gone, if it is still the known one; return the others that claim its release."""
        known = self._charts.get(key)
        if known is None or known.uid != uid:
            return []
        del self._charts[key]
        self._unclaim(known)
        return sorted(self._claims.get(_target(known), ()), key=str)

    def claimants(self, target: Target) -> list[ManagedChart]:
        """Return the ManagedCharts that claim a release, the oldest first."""
        charts: Iterable[ManagedChart] = (self._charts[key] for key in self._claims.get(target, ()))
        return sorted(charts, key=lambda chart: (chart.created, chart.uid))

    def _unclaim(self, chart: ManagedChart) -> None:
        keys = self._claims[_target(chart)]
        keys.discard(chart.key)
        if not keys:
            del self._claims[_target(chart)]


def _target(chart: ManagedChart) -> Target:
    return (chart.release_namespace, chart.release_name)


def release_owner(claimants: list[ManagedChart], *, label_owner: str | None) -> ManagedChart | None:
    """Return which of the claimants owns the release: the one that deployed it, else the oldest."""
    for chart in claimants:
        if chart.uid == label_owner:
            return chart
    return claimants[0] if claimants else None
