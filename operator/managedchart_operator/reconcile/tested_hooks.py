"""Keeps the hooks of a release while some of its tests run.

Where `helm test` is asked for some tests only, it takes all other hooks out of the release, stores the release like that each
time a test begins, and puts them back at its end (4.3.1, pkg/action/release_testing.go). One that is ended before leaves the
revision without them: without a pre-delete hook that saves data, say. So they are put back here, also when the run is
cancelled. An operator that is killed with its helm cannot do that.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.stored_manifest import with_hooks
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.release_storage import ReleaseStorage

logger = logging.getLogger(__name__)

# If a Secret changes more often between the read and the write, another Helm operation is working on it.
_TRIES = 3


@asynccontextmanager
async def hooks_kept(storage: ReleaseStorage, journal: Journal) -> AsyncIterator[None]:
    """Put back the hooks that the newest revision lacks after the block. Raises KubeError, HelmError before it."""
    await storage.look()
    newest, stored = storage.newest, await storage.read_stored()
    hooks = list(stored.document.get("hooks") or ()) if stored else []
    try:
        yield
    finally:
        if newest is not None and hooks:
            problem, cancelled = await finish_before_cancel(_put_back(storage, newest.secret, hooks))
            if problem is not None:  # what has ended the block counts
                message = f"Hooks that helm test has left out of revision {newest.number} are lost: {problem.message}"
                logger.warning("%s/%s: %s", storage.namespace, storage.name, message)
                journal.warn(problem.reason.value, message)
            if cancelled is not None:
                raise cancelled


async def _put_back(
    storage: ReleaseStorage, secret: str, hooks: Sequence[Mapping[str, Any]]
) -> KubeError | HelmError | None:
    """Return why the hooks cannot be put back; None if they are there."""
    for attempt in range(_TRIES):
        try:
            found = await storage.secrets.read(namespace=storage.namespace, name=secret)
            data = await asyncio.to_thread(with_hooks, found, hooks) if found is not None else None
            if found is not None and data is not None:
                labels = dict(found["metadata"].get("labels") or {})
                await storage.secrets.rewrite(found, release=data, labels=labels)
        except (KubeError, HelmError) as error:
            if isinstance(error, HelmError) or error.status != 409 or attempt == _TRIES - 1:
                return error
        else:
            return None
    return None
