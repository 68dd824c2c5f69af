"""The resource as a whole: its names in the API, and a compact view of one object.

`ManagedChart` holds only what a reconciliation needs (no managedFields), because the operator may hold thousands of them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from managedchart_operator.api import annotations
from managedchart_operator.api.spec import RELEASE_NAME_LENGTH

GROUP = annotations.GROUP
VERSION = "v1alpha1"
KIND = "ManagedChart"
PLURAL = "managedcharts"
API_VERSION = f"{GROUP}/{VERSION}"
DEFINITION = f"{PLURAL}.{GROUP}"
"""The name of the CustomResourceDefinition."""

FINALIZER = f"{GROUP}/release"
RETRY_ANNOTATION = annotations.RETRY
FORCE_ANNOTATION = annotations.FORCE
WAIT_ANNOTATION = annotations.WAIT
"""With the value "false" on an object of a chart, the wait leaves the object out."""
REQUEST_ANNOTATIONS = (RETRY_ANNOTATION, FORCE_ANNOTATION)
# A short request is kept unchanged in the status, where people look for it: they write a time or a word. An annotation may
# have 256 KiB.
REQUEST_LENGTH = 128
MAX_LABELS = 64
"""How many labels of a ManagedChart count, in the order of their names: an object may have thousands."""


@dataclass(frozen=True, slots=True)
class Key:
    """Which object: namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ManagedChart:
    """One ManagedChart as the API server last returned it; `spec` and `status` have their wire form."""

    key: Key
    uid: str
    resource_version: int
    generation: int
    created: str
    deleting: bool
    finalizers: tuple[str, ...]
    requests: dict[str, str]
    spec: dict[str, Any]
    status: dict[str, Any]
    deletion_requested: str = ""
    """When its deletion was requested, as an RFC 3339 time in UTC; empty unless it is `deleting`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Its labels, at most MAX_LABELS of them."""

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> "ManagedChart":
        """Return the parts of an API object that a reconciliation needs."""
        meta = body["metadata"]
        annotations = meta.get("annotations") or {}
        return cls(
            key=Key(meta["namespace"], meta["name"]),
            uid=meta["uid"],
            # Comparable as a number since Kubernetes 1.35 (KEP-5504); before, in every known storage.
            resource_version=int(meta.get("resourceVersion", "0")),
            generation=meta.get("generation", 0),
            created=meta.get("creationTimestamp", ""),
            deleting=meta.get("deletionTimestamp") is not None,
            finalizers=tuple(meta.get("finalizers") or ()),
            requests={name: request_token(annotations[name]) for name in REQUEST_ANNOTATIONS if annotations.get(name)},
            spec=dict(body.get("spec") or {}),
            status=dict(body.get("status") or {}),
            deletion_requested=meta.get("deletionTimestamp") or "",
            labels=dict(sorted((meta.get("labels") or {}).items())[:MAX_LABELS]),
        )

    @property
    def release_name(self) -> str:
        """The name of its Helm release."""
        return self.spec.get("releaseName") or self.key.name[:RELEASE_NAME_LENGTH]

    @property
    def service_account(self) -> str | None:
        """The name of the ServiceAccount that its spec names; read even where the rest of the spec cannot be."""
        return self.spec.get("serviceAccountName") or None

    @property
    def release_namespace(self) -> str:
        """The namespace of its Helm release."""
        return self.spec.get("targetNamespace") or self.key.namespace


def request_token(value: str) -> str:
    """Return an annotation's value, or the digest of a long one: only whether it has changed matters."""
    return value if len(value) <= REQUEST_LENGTH else f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
