"""What helm keeps of a release: the labels of its Secrets, and the document inside.

Purpose: read revisions from metadata alone, read a release's chart and manifest, and give a revision another status.
Boundary: pure; `kube.releases` does the reading and writing. Invariant: a document that we rewrite keeps everything that
we do not know.
Source: Helm 4 `pkg/storage/driver` (Secrets named sh.helm.release.v1.NAME.vN of type helm.sh/release.v1; `data.release` is
base64 of base64 of gzip of JSON, the outer one being the API's own).
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from managedchart_operator.api.resource import GROUP
from managedchart_operator.times import read_time

DIGEST_LABEL = f"{GROUP}/digest"
OWNER_LABEL = f"{GROUP}/owner"
ATTEMPT_LABEL = f"{GROUP}/attempt"
WAIT_LABEL = f"{GROUP}/wait"
OPERATOR_WAITS = "operator"
"""The value of WAIT_LABEL by which helm calls a revision deployed before the operator has waited for it."""
HELM_WAITS = "helm"
"""The value by which what helm says of the revision is the last word, whether it was to wait or not."""

DEPLOYED = "deployed"
FAILED = "failed"
SUPERSEDED = "superseded"
UNINSTALLING = "uninstalling"
UNINSTALLED = "uninstalled"
PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})

LEFT_UNFINISHED = "The helm that made this revision ended without finishing it"
"""The description of a revision that a killed helm left pending and the operator has marked failed."""
UNINSTALL_INTERRUPTED = "An uninstall of this deployed revision ended without removing it"
"""The description of a good revision that the operator has marked failed, so that helm can upgrade over what is left of it."""
UNINSTALL_CALLED_OFF = "The uninstall of this revision was called off"
"""The description of a good revision that is kept, and so deployed again, after an uninstall of it had begun."""
# Clocks of machines that run helm are this far from ours at most; what lies further in the future is not a time.
CLOCK_SKEW_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, as the metadata of its Secret tells it."""

    number: int
    """Counted by helm from 1; 0 is a Secret that helm did not write."""
    status: str
    secret: str
    digest: str | None = None
    owner: str | None = None
    attempt: str | None = None
    """A random word of the operator's attempt that made it; also of the one from which another helm has carried it over."""
    made_as: int | None = None
    """The number for which that attempt was made. Another helm makes revisions of other numbers, so only its own is equal."""
    operator_waits: bool = False
    """Whether helm did not wait for its objects, since the operator does; also carried over by another helm."""
    modified_at: float | None = None
    """When helm last wrote it, in seconds since the epoch; whole seconds.

    Where helm's labels hold no time, or one in the future, it is when the API server made the Secret.
    """
    stored_at: float | None = None
    """When helm made it, in seconds since the epoch by the API server's clock; whole seconds."""

    @property
    def pending(self) -> bool:
        """Whether some helm works on it, or died while it did."""
        return self.status in PENDING

    def is_of(self, attempt: str) -> bool:
        """Whether this attempt made it, and no other helm that has carried the label over."""
        return self.attempt == attempt and self.made_as == self.number


def revision_of(metadata: Mapping[str, Any]) -> Revision:
    """Read a revision from the metadata of a release Secret. Never raises: anybody may put such labels on a Secret."""
    labels = metadata.get("labels") or {}
    # A pending upgrade has both: helm carries the modifiedAt of the revision before over to it (measured with 4.3.1). The first
    # write after that drops createdAt.
    times = [_number(labels.get(name)) for name in ("createdAt", "modifiedAt")]
    latest = time.time() + CLOCK_SKEW_SECONDS
    modified = max((float(seconds) for seconds in times if 0 < seconds <= latest), default=None)
    made = read_time(metadata.get("creationTimestamp"))
    made_as, _, attempt = (labels.get(ATTEMPT_LABEL) or "").partition(".")
    return Revision(
        number=_number(labels.get("version")),
        status=labels.get("status", "unknown"),
        secret=metadata["name"],
        digest=labels.get(DIGEST_LABEL),
        owner=labels.get(OWNER_LABEL),
        attempt=attempt or None,
        made_as=_number(made_as) or None,
        operator_waits=labels.get(WAIT_LABEL) == OPERATOR_WAITS,
        modified_at=made.timestamp() if modified is None and made is not None else modified,
        stored_at=made.timestamp() if made is not None else None,
    )


def attempt_label(attempt: str, *, number: int) -> str:
    """Return the label of an attempt, a random word, that is to make the revision of this number."""
    return f"{number}.{attempt}"


def _number(label: str | None) -> int:
    """Return the number that helm wrote, else 0. Ten digits are seconds until the year 2286."""
    return int(label) if label and re.fullmatch("[0-9]{1,10}", label) else 0


def revisions_of(secrets: Iterable[Mapping[str, Any]]) -> tuple[Revision, ...]:
    """Read the revisions of one release from its Secrets' metadata, newest first; what helm did not write is left out."""
    revisions = (revision for revision in map(revision_of, secrets) if revision.number)
    return tuple(sorted(revisions, key=lambda revision: revision.number, reverse=True))
