"""Finds out which objects belong to a release: those that it renders, and those that controllers created for them.

An object is identified by group, kind, namespace and name: another release's Deployment of the same name in another namespace,
or a kind of the same name in another API group, never belongs to the release. Everything is pure, over metadata, except
`cluster_wide_kinds`, which asks the API server which kinds have no namespace.
Source: Kubernetes documentation, "Owners and Dependents": an owner is in the namespace of what it owns, or cluster-wide.
"""

import contextlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from managedchart_operator.api.object_selector import ObjectSelector
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.discovery import group_of
from managedchart_operator.kube.objects import Objects, reference
from managedchart_operator.waiting.kstatus import needs_waiting
from managedchart_operator.waiting.left_out import left_out

# How many namespaces of a release are watched and read, including its own. Each costs two connections while the operator waits
# for the release, and five lists when it has failed; charts with more than two are rare.
MAX_NAMESPACES = 5
# RFC 1123 label, as the API server requires it.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

GroupKind = tuple[str, str]
"""API group ("" for the core) and kind."""
Body = Mapping[str, Any]
"""An object as a chart renders it, or as the API server has it."""


class Identity(NamedTuple):
    """Identifies one object of the cluster, without the version, since the same object can be read in several."""

    group: str
    kind: str
    namespace: str
    """Empty for cluster-wide kinds."""
    name: str

    def __str__(self) -> str:
        return self.shown_from("")

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
    """An owner reference. It does not say whether `identity` is cluster-wide, or in the namespace of what it owns."""

    identity: Identity
    uid: str

    def identities(self, namespace: str) -> tuple[Identity, Identity]:
        """Return the two possible owners of an object in a namespace: one in the same namespace, and a cluster-wide one."""
        return self.identity._replace(namespace=namespace), self.identity


class Member(NamedTuple):
    """The fields of an object that show whether it belongs to a release."""

    uid: str
    namespace: str
    owners: Collection[Owner]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects that a revision renders, including its `hooks`."""

    objects: frozenset[Identity]
    hooks: frozenset[Identity]
    left_out: frozenset[Identity] = frozenset()
    """Those that the wait leaves out: no cause of a failure."""

    @classmethod
    async def of(
        cls,
        objects: Objects,
        rendered: Sequence[Body],
        hooks: Sequence[Body],
        *,
        namespace: str,
        exclude: Sequence[ObjectSelector] = (),
    ) -> Self:
        """Identify the objects of a release in a namespace; `rendered` includes the `hooks`, which are never left out."""
        cluster_wide = await cluster_wide_kinds(objects, rendered)
        of_hooks = identities(hooks, namespace=namespace, cluster_wide=cluster_wide)
        ignored = await left_out(objects, rendered, exclude=exclude, namespace=namespace)
        unwaited = (item for item in rendered if reference(item, namespace) in ignored)
        return cls(
            identities(rendered, namespace=namespace, cluster_wide=cluster_wide),
            of_hooks,
            identities(unwaited, namespace=namespace, cluster_wide=cluster_wide) - of_hooks,
        )


def owners_of(meta: Body) -> tuple[Owner, ...]:
    """Return the owners that an object's metadata names."""
    return tuple(
        Owner(Identity(group_of(owner.get("apiVersion") or ""), owner["kind"], "", owner["name"]), owner["uid"])
        for owner in meta.get("ownerReferences") or ()
    )


def subject_of(event: Body) -> Identity:
    """Return the object that an event is about. Missing parts are empty."""
    subject = event.get("involvedObject") or {}
    return Identity(
        group_of(subject.get("apiVersion") or ""),
        subject.get("kind") or "",
        subject.get("namespace") or "",
        subject.get("name") or "",
    )


def subject_uid(event: Body) -> str:
    """Return the UID of the object that an event is about, or an empty text."""
    return str((event.get("involvedObject") or {}).get("uid") or "")


def identities(
    rendered: Iterable[Body], *, namespace: str, cluster_wide: Collection[GroupKind] = ()
) -> frozenset[Identity]:
    """Return the objects that a release in a namespace renders; those without a name are left out.

    A kind that is not in `cluster_wide` counts as namespaced, as most are. If that is wrong, evidence is missed; with the
    opposite default, an object of another release could be treated as this release's.
    """
    return frozenset(
        Identity(*ref.group_kind, "" if ref.group_kind in cluster_wide else ref.namespace, ref.name)
        for ref in (reference(item, namespace) for item in rendered)
        if ref.name
    )


def namespaces_of(rendered: Iterable[Body], *, namespace: str) -> list[str]:
    """Return the namespaces that can show why a release is not ready: its own first, then in the manifest's order.

    Only objects that need waiting count: many charts put a RoleBinding into kube-system, which never shows anything.
    """
    named = (reference(item, namespace).namespace for item in rendered if needs_waiting(item))
    # No namespace has any other name, and the name becomes part of a URL.
    return list(dict.fromkeys([namespace, *filter(_NAMESPACE.fullmatch, named)]))


async def cluster_wide_kinds(objects: Objects, rendered: Iterable[Body]) -> frozenset[GroupKind]:
    """Return which of the rendered kinds have no namespace, as far as the API server answers.

    Only kinds that need waiting count: a ClusterRole owns nothing and has no events.
    """
    refs = (reference(item, "") for item in rendered if needs_waiting(item))
    found = set()
    for ref in {(ref.api_version, ref.kind): ref for ref in refs}.values():
        with contextlib.suppress(KubeError):  # the kind counts as namespaced: see `identities`
            if not await objects.namespaced(ref.api_version, ref.kind):
                found.add(ref.group_kind)
    return frozenset(found)


def owner_among(candidates: Collection[Identity], owners: Iterable[Owner], namespace: str) -> Identity | None:
    """Return the candidate that is among the owners of an object in a namespace, or None."""
    found = (identity for owner in owners for identity in owner.identities(namespace) if identity in candidates)
    return next(found, None)


def member_of(found: Body) -> Member:
    """Read a member from an object; its metadata is enough."""
    meta = found["metadata"]
    return Member(meta["uid"], meta.get("namespace") or "", owners_of(meta))


def essential_member(found: dict[str, Any]) -> dict[str, Any]:
    """Return what `member_of` reads of an object."""
    meta = found["metadata"]
    return {"metadata": {name: meta[name] for name in ("uid", "namespace", "ownerReferences") if name in meta}}


def owned_by(rendered: frozenset[Identity], members: Collection[Member]) -> set[str]:
    """Return the UIDs of the members that the rendered objects own, directly or not."""
    owned: set[str] = set()

    def belongs(member: Member) -> bool:
        by_uid = any(owner.uid in owned for owner in member.owners)
        return by_uid or owner_among(rendered, member.owners, member.namespace) is not None

    while grown := {member.uid for member in members if member.uid not in owned and belongs(member)}:
        owned |= grown
    return owned
