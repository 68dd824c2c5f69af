"""Reads the revisions of a release from the metadata of its Secrets.

Pure; `kube.releases` reads and writes the Secrets, `stored_release` has the document inside.
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
"""The value of WAIT_LABEL for a revision that helm marks deployed before the operator has waited for its objects."""
HELM_WAITS = "helm"
"""The value for a revision whose status by helm is final, whether helm waits for its objects or nobody does."""
DEPLOYED = "deployed"
FAILED = "failed"
SUPERSEDED = "superseded"
UNINSTALLING = "uninstalling"
UNINSTALLED = "uninstalled"
PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})

# The operator reads these descriptions back from stored revisions, so their wording must not change.
LEFT_UNFINISHED = "The helm that made this revision ended without finishing it"
"""The description of a revision that a killed helm process left pending and the operator has marked failed."""
UNINSTALL_INTERRUPTED = "An uninstall of this deployed revision ended without removing it"
"""The description of a good revision that the operator has marked failed, so that helm can upgrade over what is left of it."""
UNINSTALL_CALLED_OFF = "The uninstall of this revision was called off"
"""The description of a good revision that is kept, and so deployed again, after an uninstall of it had begun."""
# Clocks of machines that run helm differ by this much at most; a time further in the future is not used.
CLOCK_SKEW_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, as the metadata of its Secret has it."""

    number: int
    """Counted by helm from 1; 0 is a Secret that helm did not write."""
    status: str
    secret: str
    digest: str | None = None
    owner: str | None = None
    attempt: str | None = None
    """A random word for the operator's attempt that made the revision. Another Helm operation copies it to its own revision."""
    labelled_for: int | None = None
    """The number of the revision that the attempt made. It differs from `number` if another Helm operation copied the label."""
    operator_waits: bool = False
    """Whether the operator waits for its objects instead of helm; copied by other Helm operations, too."""
    modified_at: float | None = None
    """When helm last wrote it, in seconds since the epoch; whole seconds.

    If helm's labels have no time, or one in the future, it is when the API server created the Secret.
    """
    stored_at: float | None = None
    """When helm created it, in seconds since the epoch by the API server's clock; whole seconds."""

    @property
    def pending(self) -> bool:
        """Whether a Helm operation works on it, or was killed before it finished."""
        return self.status in PENDING

    def is_of(self, attempt: str) -> bool:
        """Whether this attempt made it, and not another Helm operation that copied the label."""
        return self.attempt == attempt and self.labelled_for == self.number


def revision_of(metadata: Mapping[str, Any]) -> Revision:
    """Read a revision from the metadata of a release Secret. Never raises: anybody may put such labels on a Secret."""
    labels = metadata.get("labels") or {}
    # A pending upgrade has both: helm copies the modifiedAt of the previous revision to it (measured with 4.3.1). The next
    # write drops createdAt.
    times = [_number(labels.get(name)) for name in ("createdAt", "modifiedAt")]
    latest = time.time() + CLOCK_SKEW_SECONDS
    modified = max((float(seconds) for seconds in times if 0 < seconds <= latest), default=None)
    made = read_time(metadata.get("creationTimestamp"))
    labelled_for, _, attempt = (labels.get(ATTEMPT_LABEL) or "").partition(".")
    return Revision(
        number=_number(labels.get("version")),
        status=labels.get("status", "unknown"),
        secret=metadata["name"],
        digest=labels.get(DIGEST_LABEL),
        owner=labels.get(OWNER_LABEL),
        attempt=attempt or None,
        labelled_for=_number(labelled_for) or None,
        operator_waits=labels.get(WAIT_LABEL) == OPERATOR_WAITS,
        modified_at=made.timestamp() if modified is None and made is not None else modified,
        stored_at=made.timestamp() if made is not None else None,
    )


def deployed_of(revisions: Iterable[Revision]) -> Revision | None:
    """Return the revision that helm calls deployed; it has one at most."""
    return next((revision for revision in revisions if revision.status == DEPLOYED), None)


def secret_of(release: str, number: int) -> str:
    """Return the name of the Secret of a revision."""
    return f"sh.helm.release.v1.{release}.v{number}"


def attempt_label(attempt: str, *, number: int) -> str:
    """Return the label for an attempt, a random word, that makes the revision of this number."""
    return f"{number}.{attempt}"


def _number(label: str | None) -> int:
    """Return the number that helm wrote, else 0. Ten digits are seconds until the year 2286."""
    return int(label) if label and re.fullmatch("[0-9]{1,10}", label) else 0


def revisions_of(secrets: Iterable[Mapping[str, Any]]) -> tuple[Revision, ...]:
    """Read the revisions of one release from its Secrets' metadata, newest first, without Secrets that helm did not write."""
    revisions = (revision for revision in map(revision_of, secrets) if revision.number)
    return tuple(sorted(revisions, key=lambda revision: revision.number, reverse=True))
