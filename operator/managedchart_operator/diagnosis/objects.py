"""Finds out which objects belong to a release: those that it renders, and those that controllers created for them.

An object is identified by group, kind, namespace and name: another release's Deployment of the same name in another namespace,
or a kind of the same name in another API group, never belongs to the release. Everything is pure, over metadata, except
`cluster_wide_kinds`, which asks the API server which kinds have no namespace.
Source: Kubernetes documentation, "Owners and Dependents": an owner is in the namespace of what it owns, or cluster-wide.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.discovery import group_of
from managedchart_operator.kube.objects import Objects
from managedchart_operator.waiting.kstatus import needs_waiting

# How many namespaces of a release are watched and read, including its own. Each costs two connections while the operator waits
# for the release, and five lists when it has failed; charts with more than two are rare.
MAX_NAMESPACES = 5
# RFC 1123 label, as the API server requires it.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

GroupKind = tuple[str, str]
"""API group ("" for the core) and kind."""


class Identity(NamedTuple):
    """Identifies one object of the cluster, without the version, since the same object can be read in several."""

    group: str
    kind: str
    namespace: str
    """Empty for cluster-wide kinds."""
    name: str

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind or '?'} {name or '?'}"

    @property
    def group_kind(self) -> GroupKind:
        """Group and kind of the object."""
        return self.group, self.kind

    def name_from(self, home: str) -> str:
        """Return the name as seen from the namespace `home`: with its own namespace if that is another one."""
        return self.name if self.namespace in ("", home) else f"{self.namespace}/{self.name}"

    def shown_from(self, home: str) -> str:
        """Return kind and name as seen from the namespace `home`."""
        return f"{self.kind or '?'} {self.name_from(home) or '?'}"


class Owner(NamedTuple):
    """An owner reference."""

    group: str
    kind: str
    name: str
    uid: str

    def identities(self, namespace: str) -> tuple[Identity, Identity]:
        """Return the two possible owners of an object in a namespace: one in the same namespace, and a cluster-wide one."""
        return (
            Identity(self.group, self.kind, namespace, self.name),
            Identity(self.group, self.kind, "", self.name),
        )


class Member(NamedTuple):
    """The fields of an object that show whether it belongs to a release."""

    uid: str
    namespace: str
    owners: Collection[Owner]


@dataclass(frozen=True, slots=True)
class ReleaseObjects:
    """The objects of a release: the rendered ones by identity, and those that they own by UID."""

    rendered: frozenset[Identity]
    owned: frozenset[str]


def owners_of(meta: Mapping[str, Any]) -> tuple[Owner, ...]:
    """Return the owners that an object's metadata names."""
    return tuple(
        Owner(group_of(owner.get("apiVersion") or ""), owner["kind"], owner["name"], owner["uid"])
        for owner in meta.get("ownerReferences") or ()
    )


def subject_of(event: Mapping[str, Any]) -> Identity:
    """Return the object that an event is about. Missing parts are empty."""
    subject = event.get("involvedObject") or {}
    return Identity(
        group_of(subject.get("apiVersion") or ""),
        subject.get("kind") or "",
        subject.get("namespace") or "",
        subject.get("name") or "",
    )


def identities(
    rendered: Iterable[Mapping[str, Any]], *, namespace: str, cluster_wide: Collection[GroupKind] = ()
) -> frozenset[Identity]:
    """Return the objects that a release in a namespace renders; those without a name are left out.

    A kind that is not in `cluster_wide` counts as namespaced, as most are. If that is wrong, evidence is missed; with the
    opposite default, an object of another release could be treated as this release's.
    """
    found = set()
    for item in rendered:
        meta = item.get("metadata") or {}
        if not meta.get("name"):
            continue
        kind = (group_of(str(item.get("apiVersion") or "")), item["kind"])
        where = "" if kind in cluster_wide else _namespace_of(item, namespace)
        found.add(Identity(*kind, where, str(meta["name"])))
    return frozenset(found)


def namespaces_of(rendered: Iterable[Mapping[str, Any]], *, namespace: str) -> list[str]:
    """Return the namespaces that can show why a release is not ready: its own first, then in the manifest's order.

    Only objects that need waiting count: many charts put a RoleBinding into kube-system, which never shows anything.
    """
    named = (_namespace_of(item, namespace) for item in rendered if needs_waiting(item))
    # No namespace has any other name, and the name becomes part of a URL.
    return list(dict.fromkeys([namespace, *filter(_NAMESPACE.fullmatch, named)]))


async def cluster_wide_kinds(objects: Objects, rendered: Iterable[Mapping[str, Any]]) -> frozenset[GroupKind]:
    """Return which of the rendered kinds have no namespace, as far as the API server answers.

    Only kinds that need waiting count: a ClusterRole owns nothing and has no events.
    """
    kinds = {(str(item.get("apiVersion") or ""), str(item["kind"])) for item in rendered if needs_waiting(item)}
    found = set()
    for api_version, kind in sorted(kinds):
        try:
            if not await objects.namespaced(api_version, kind):
                found.add((group_of(api_version), kind))
        except KubeError:
            continue  # the kind counts as namespaced: see `identities`
    return frozenset(found)


def owner_among(candidates: Collection[Identity], owners: Iterable[Owner], namespace: str) -> Identity | None:
    """Return the candidate that is among the owners of an object in a namespace, or None."""
    for owner in owners:
        for identity in owner.identities(namespace):
            if identity in candidates:
                return identity
    return None


def member_of(found: Mapping[str, Any]) -> Member:
    """Read a member from an object; its metadata is enough."""
    meta = found["metadata"]
    return Member(meta["uid"], meta.get("namespace") or "", owners_of(meta))


def owned_by(rendered: frozenset[Identity], members: Collection[Member]) -> ReleaseObjects:
    """Follow owner references down from the rendered objects."""
    owned: set[str] = set()
    grown = True
    while grown:
        grown = False
        for member in members:
            if member.uid in owned:
                continue
            if any(owner.uid in owned for owner in member.owners) or owner_among(
                rendered, member.owners, member.namespace
            ):
                owned.add(member.uid)
                grown = True
    return ReleaseObjects(rendered, frozenset(owned))


def _namespace_of(item: Mapping[str, Any], namespace: str) -> str:
    return str((item.get("metadata") or {}).get("namespace") or namespace)
