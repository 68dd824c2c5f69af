"""Keeps the ManagedCharts as last seen, and which of them claim which release.

A cache of the cluster between kopf's events and the reconciler, filled again at each start. An older view of an object never
replaces a newer one. The views are kept as text, since thousands of parsed specs and statuses take ten times its memory.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

from managedchart_operator.api.resource import Key, ManagedChart

Target = tuple[str, str]
"""Namespace and name of a release."""

_PACKED = [field.name for field in fields(ManagedChart) if field.name != "key"]


@dataclass(frozen=True, slots=True)
class _Packed:
    """A ManagedChart as text, with the fields that are read often."""

    uid: str
    resource_version: int
    target: Target
    text: bytes

    @classmethod
    def of(cls, chart: ManagedChart) -> Self:
        text = json.dumps([getattr(chart, name) for name in _PACKED], separators=(",", ":")).encode()
        return cls(chart.uid, chart.resource_version, target_of(chart), text)

    def unpack(self, key: Key) -> ManagedChart:
        values = dict(zip(_PACKED, json.loads(self.text), strict=True))
        return ManagedChart(key=key, **{**values, "finalizers": tuple(values["finalizers"])})


class Store:
    """Holds the ManagedCharts by key."""

    def __init__(self) -> None:
        self._charts: dict[Key, _Packed] = {}
        self._claims: defaultdict[Target, set[Key]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._charts)

    def get(self, key: Key) -> ManagedChart | None:
        """Return the newest view of an object, or None."""
        known = self._charts.get(key)
        return known.unpack(key) if known else None

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._charts))

    def put(self, chart: ManagedChart) -> None:
        """Store a view of an object unless a newer one is known; resourceVersions increase across all objects of a kind."""
        known, packed = self._charts.get(chart.key), _Packed.of(chart)
        if known is not None:
            if known.resource_version > chart.resource_version or known == packed:
                return
            self._unclaim(chart.key, known)
        self._charts[chart.key] = packed
        self._claims[packed.target].add(chart.key)

    def put_status(self, answer: ManagedChart) -> None:
        """Store the status from the answer to the operator's own status patch.

        The answer may have a spec that the watch has not reported yet. Storing that here would hide it from the watch, and the
        new spec would neither interrupt a run nor start one.
        """
        known = self._charts.get(answer.key)
        if known is None or known.uid != answer.uid or known.resource_version > answer.resource_version:
            return
        self._charts[answer.key] = _Packed.of(
            replace(
                known.unpack(answer.key),
                status=answer.status,
                finalizers=answer.finalizers,
                resource_version=answer.resource_version,
            )
        )

    def remove(self, key: Key, *, uid: str) -> list[Key]:
        """Remove a deleted object if it is still the known one; returns the others that claim its release."""
        known = self._charts.get(key)
        if known is None or known.uid != uid:
            return []
        del self._charts[key]
        self._unclaim(key, known)
        return sorted(self._claims.get(known.target, ()), key=str)

    def claimants(self, target: Target) -> list[ManagedChart]:
        """Return the ManagedCharts that claim a release, the oldest first."""
        charts = [self._charts[key].unpack(key) for key in self._claims.get(target, ())]
        return sorted(charts, key=lambda chart: (chart.created, chart.uid))

    def _unclaim(self, key: Key, known: _Packed) -> None:
        keys = self._claims[known.target]
        keys.discard(key)
        if not keys:
            del self._claims[known.target]


def target_of(chart: ManagedChart) -> Target:
    """Return the release that a ManagedChart claims."""
    return chart.release_namespace, chart.release_name


def release_owner(claimants: list[ManagedChart], *, label_owner: str | None) -> ManagedChart | None:
    """Return the claimant that owns the release: the one that deployed it, else the oldest."""
    oldest = claimants[0] if claimants else None
    return next((chart for chart in claimants if chart.uid == label_owner), oldest)
