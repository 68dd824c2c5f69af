"""The kinds that the cluster would serve by now if a dry run had really applied its CRDs.

Actions and the chart add the CRDs that they would create or change, in the order of the run. What follows then tells a kind
that is missing only because nothing is applied in a dry run from one that would be missing in the real run too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.kube.cluster_crds import kinds_of


@dataclass(frozen=True, slots=True)
class ComingKind:
    """A kind that is not served yet."""

    reason: str
    """Who applies its CRD, as a clause: `action crds applies its CRD first`."""
    namespaced: bool


@dataclass(slots=True)
class ComingKinds:
    """The CRDs that one dry run has only tried so far."""

    _kinds: dict[str, ComingKind] = field(default_factory=dict)

    def add(self, crds: Iterable[Mapping[str, Any]], *, reason: str) -> None:
        """Count CRDs as applied from now on; the first who would apply one is named."""
        for crd in crds:
            namespaced = (crd.get("spec") or {}).get("scope") != "Cluster"
            for each in kinds_of(crd):
                self._kinds.setdefault(each, ComingKind(reason, namespaced))

    def find(self, api_version: str, kind: str) -> ComingKind | None:
        """Return a kind if one of the CRDs brings it."""
        return self._kinds.get(f"{api_version}/{kind}")

    @property
    def group_kinds(self) -> frozenset[tuple[str, str]]:
        """Group and kind of each."""
        parts = (each.split("/") for each in self._kinds)
        return frozenset((group, kind) for group, _, kind in parts)

    @property
    def api_versions(self) -> frozenset[str]:
        """What the API server would serve, as `group/version` and `group/version/Kind`."""
        return frozenset(self._kinds) | frozenset(each.rpartition("/")[0] for each in self._kinds)
