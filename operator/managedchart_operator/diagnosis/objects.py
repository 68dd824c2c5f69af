"""Which objects belong to a release: those it renders, and what controllers made of them.

Purpose: tell the pods, ReplicaSets and Jobs of a release from all others in the namespace. Boundary: pure, over
metadata. Source: Kubernetes documentation, "Owners and Dependents".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Identity = tuple[str, str]
"""Kind and name of an object in the release's namespace."""


@dataclass(frozen=True, slots=True)
class ReleaseObjects:
    """The objects of a release: the rendered ones by kind and name, and those that they own by UID."""

    rendered: frozenset[Identity]
    owned: frozenset[str]


def identities(objects: Iterable[Mapping[str, Any]]) -> frozenset[Identity]:
    """Return kind and name of each object."""
    return frozenset(
        # As text: a name like 2026-01-01 is a date to PyYAML and none to helm.
        (item["kind"], str(item["metadata"]["name"]))
        for item in objects
        if (item.get("metadata") or {}).get("name")
    )


def owned_by(rendered: frozenset[Identity], candidates: Iterable[Mapping[str, Any]]) -> ReleaseObjects:
    """Follow owner references from the rendered objects down; `candidates` are objects (metadata is enough)."""
    metas = [item["metadata"] for item in candidates]
    owned: set[str] = set()
    grown = True
    while grown:
        grown = False
        for meta in metas:
            if meta["uid"] in owned:
                continue
            for owner in meta.get("ownerReferences") or ():
                if owner["uid"] in owned or (owner["kind"], owner["name"]) in rendered:
                    owned.add(meta["uid"])
                    grown = True
                    break
    return ReleaseObjects(rendered, frozenset(owned))
