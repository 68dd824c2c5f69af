"""Stores the revision that a rollback returns to where fields are left to their managers.

`helm rollback` applies a stored manifest as it is, without a post-renderer. So a revision is stored that has everything of the
real target except those fields, and helm rolls back to that one. It is marked failed: nothing has ever deployed it, so neither
helm nor the operator takes it for a good one. An operator that is killed afterwards finds it as the newest revision, one of
its own that failed, and finishes the rollback. It is applied by the server, whatever the target was, or replaces the objects
(`spec.forceUpgrade`). Source: helm 4.3.1, `pkg/action/rollback.go`.
"""

import asyncio
import secrets
import time
from datetime import UTC, datetime

from managedchart_operator.errors import HelmError
from managedchart_operator.helm.left_fields import LeftFields
from managedchart_operator.helm.manifest import ManifestError
from managedchart_operator.helm.storage import ATTEMPT_LABEL, FAILED, Revision, attempt_label, secret_of
from managedchart_operator.helm.stored_release import BY_SERVER, StoredRelease, packed
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_run import ReleaseRun

PREPARED = "Prepared for the rollback to revision {}: some fields are left to other managers"
"""How helm's history describes such a revision."""


async def prepared_rollback(run: ReleaseRun, target: Revision, stored: StoredRelease, left: LeftFields) -> Revision:
    """Return the revision to roll back to: a new one without the fields that are left, or the target if it has none of them.

    Raises KubeError, HelmError.
    """
    try:
        manifest = await asyncio.to_thread(left.apply, stored.manifest)
    except ManifestError as error:
        raise HelmError(
            f"The manifest of revision {target.number} cannot be edited: {error}",
            reason=Reason.ROLLBACK_FAILED,
            transient=False,
        ) from error
    newest = run.newest
    if manifest == stored.manifest or newest is None:
        return target
    description = PREPARED.format(target.number)
    known = await run.storage.read(newest) if newest.status == FAILED and run.ownership.made(newest) else None
    if known is not None and (known.description, known.manifest) == (description, manifest):
        return newest  # by an operator that was stopped before the rollback
    secret = await run.storage.secrets.read(namespace=run.namespace, name=target.secret)
    number = newest.number + 1
    now = datetime.now(UTC).isoformat()
    info = {**(stored.document.get("info") or {}), "status": FAILED, "description": description, "last_deployed": now}
    # helm compares with the newest revision, which is this one: a client-side rollback would keep what the failed one added.
    document = {**stored.document, "version": number, "manifest": manifest, "info": info, "apply_method": BY_SERVER}
    labels = {
        **((secret or {}).get("metadata", {}).get("labels") or {}),
        "status": FAILED,
        "version": str(number),
        "createdAt": str(int(time.time())),
        ATTEMPT_LABEL: attempt_label(secrets.token_hex(8), number=number),
    }
    labels.pop("modifiedAt", None)
    name = secret_of(run.name, number)
    release = await asyncio.to_thread(packed, document)
    await run.storage.secrets.create(namespace=run.namespace, name=name, release=release, labels=labels)
    await run.storage.observe()
    found = next((revision for revision in run.storage.revisions if revision.number == number), None)
    return found or target
