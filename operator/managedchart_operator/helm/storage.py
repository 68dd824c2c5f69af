"""What helm keeps of a release: the labels of its Secrets, and the document inside.

Purpose: read revisions from metadata alone, read a release's chart and manifest, and mark a pending revision failed.
Boundary: pure; `kube.releases` does the reading and writing. Invariant: a document that we rewrite keeps everything that
we do not know.
Source: Helm 4 `pkg/storage/driver` (Secrets named sh.helm.release.v1.NAME.vN of type helm.sh/release.v1; `data.release` is
base64 of base64 of gzip of JSON, the outer one being the API's own).
"""

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.api.resource import GROUP
from managedchart_operator.errors import HelmError
from managedchart_operator.reasons import Reason

DIGEST_LABEL = f"{GROUP}/digest"
OWNER_LABEL = f"{GROUP}/owner"
ATTEMPT_LABEL = f"{GROUP}/attempt"

DEPLOYED = "deployed"
FAILED = "failed"
UNINSTALLING = "uninstalling"
PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})

# Helm compresses at best; 1 MiB is all that a Secret can hold, and 1:100 is beyond what manifests compress to.
_DOCUMENT_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, as the metadata of its Secret tells it."""

    number: int
    status: str
    secret: str
    digest: str | None = None
    owner: str | None = None
    attempt: str | None = None
    modified_at: float | None = None
    """When helm last wrote it, in seconds since the epoch."""

    @property
    def pending(self) -> bool:
        """Whether some helm works on it, or died while it did."""
        return self.status in PENDING


def revision_of(metadata: Mapping[str, Any]) -> Revision:
    """Read a revision from the metadata of a release Secret."""
    labels = metadata.get("labels") or {}
    modified = labels.get("modifiedAt") or labels.get("createdAt")
    return Revision(
        number=int(labels.get("version", "0")),
        status=labels.get("status", "unknown"),
        secret=metadata["name"],
        digest=labels.get(DIGEST_LABEL),
        owner=labels.get(OWNER_LABEL),
        attempt=labels.get(ATTEMPT_LABEL),
        modified_at=float(modified) if modified else None,
    )


def revisions_of(secrets: Iterable[Mapping[str, Any]]) -> tuple[Revision, ...]:
    """Read the revisions of one release from its Secrets' metadata, newest first."""
    return tuple(sorted(map(revision_of, secrets), key=lambda revision: revision.number, reverse=True))


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """The document of one revision."""

    document: dict[str, Any]

    @property
    def chart_name(self) -> str | None:
        """Name of the chart."""
        return self._metadata.get("name")

    @property
    def chart_version(self) -> str | None:
        """Version of the chart."""
        return self._metadata.get("version")

    @property
    def app_version(self) -> str | None:
        """Version of the application that the chart installs."""
        return self._metadata.get("appVersion")

    @property
    def manifest(self) -> str:
        """The objects of the release as YAML documents."""
        return self.document.get("manifest") or ""

    @property
    def hook_manifests(self) -> list[str]:
        """Each hook's object as YAML."""
        return [hook.get("manifest") or "" for hook in self.document.get("hooks") or []]

    @property
    def description(self) -> str:
        """helm's own sentence about what came of the revision."""
        return (self.document.get("info") or {}).get("description") or ""

    @property
    def _metadata(self) -> dict[str, Any]:
        return (self.document.get("chart") or {}).get("metadata") or {}


def decode(secret: Mapping[str, Any]) -> StoredRelease:
    """Decode a release Secret. Raises HelmError when it is not one that helm wrote."""
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        unpacked = (
            zlib.decompressobj(wbits=31).decompress(packed, _DOCUMENT_BYTES) if packed[:2] == b"\x1f\x8b" else packed
        )
        return StoredRelease(json.loads(unpacked))
    except (KeyError, ValueError, zlib.error, RecursionError) as error:
        name = (secret.get("metadata") or {}).get("name", "?")
        raise HelmError(
            f"the release Secret {name} cannot be read: {error}",
            reason=Reason.HELM_FAILED,
            transient=False,
            hint="it was not written by helm 3 or 4; remove it if nothing needs it",
        ) from error


def mark_failed(secret: Mapping[str, Any], *, description: str) -> tuple[str, dict[str, str]]:
    """Return the data and the labels of a release Secret whose pending revision is to count as failed.

    helm upgrades over a failed revision, and refuses to over a pending one ("another operation is in progress").
    """
    release = decode(secret)
    document = dict(release.document)
    document["info"] = {**(document.get("info") or {}), "status": FAILED, "description": description}
    packed = base64.b64encode(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), compresslevel=9))
    labels = dict(secret["metadata"].get("labels") or {})
    labels["status"] = FAILED
    return base64.b64encode(packed).decode(), labels
