"""Which objects belong to a release: those it renders, and what controllers made of them.

An object is identified by group, kind, namespace and name: another release's Deployment of the same name in another namespace,
or a kind of the same name in another API group, never belongs to the release. All of it is pure, over metadata, except
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

# How many namespaces of a release are watched and read, its own included. Each costs two connections while the operator waits
# for the release, and five lists when it has failed; a chart that works in three is rare.
MAX_NAMESPACES = 5
# RFC 1123 label, as the API server demands it.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

GroupKind = tuple[str, str]
"""API group ("" for the core) and kind."""


class Identity(NamedTuple):
    """Names one object of the cluster. Without the version: the same object can be read in several."""

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
        """What kind of object it is."""
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
        """Return the two objects that the owner of something in a namespace can be: one there, or a cluster-wide one."""
        return (
            Identity(self.group, self.kind, namespace, self.name),
            Identity(self.group, self.kind, "", self.name),
        )


class Member(NamedTuple):
    """The part of an object that shows whether it belongs to a release."""

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
    """Return what an event is about. Parts that its writer left out are empty."""
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
    """Return which objects a release in a namespace renders; those without a name are left out.

    A kind that is not known to be `cluster_wide` counts as namespaced, as most are. If that is wrong, what belongs to such an
    object is not found; the other way round, an object of others could be treated as the release's.
    """
    found = set()
    for item in rendered:
        meta = item.get("metadata") or {}
        if not meta.get("name"):
            continue
        kind = (group_of(str(item.get("apiVersion") or "")), item["kind"])
        where = "" if kind in cluster_wide else _namespace_of(item, namespace)
        # As text: a name like 2026-01-01 is a date to PyYAML and none to helm.
        found.add(Identity(*kind, where, str(meta["name"])))
    return frozenset(found)


def namespaces_of(rendered: Iterable[Mapping[str, Any]], *, namespace: str) -> list[str]:
    """Return where a release can show why it does not become ready: its own namespace first, then in the manifest's order.

    Only what may not be ready at once counts: many charts put a RoleBinding into kube-system, which never shows anything.
    """
    named = (_namespace_of(item, namespace) for item in rendered if needs_waiting(item))
    # Of any other name there is no namespace, and it would be part of a URL.
    return list(dict.fromkeys([namespace, *filter(_NAMESPACE.fullmatch, named)]))


async def cluster_wide_kinds(objects: Objects, rendered: Iterable[Mapping[str, Any]]) -> frozenset[GroupKind]:
    """Return which of the rendered kinds have no namespace, as far as the API server reports it.

    Only kinds that may not be ready at once count: nothing belongs to a ClusterRole, and nobody writes events about it.
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
    """Return which of the candidates owns something in a namespace, or None."""
    for owner in owners:
        for identity in owner.identities(namespace):
            if identity in candidates:
                return identity
    return None


def member_of(found: Mapping[str, Any]) -> Member:
    """Return that part of an object; its metadata is enough."""
    meta = found["metadata"]
    return Member(meta["uid"], meta.get("namespace") or "", owners_of(meta))


def owned_by(rendered: frozenset[Identity], members: Collection[Member]) -> ReleaseObjects:
    """Follow owner references from the rendered objects down."""
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
