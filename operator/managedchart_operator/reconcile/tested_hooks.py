"""Keeps the hooks of a release while some of its tests run.

Where `helm test` is asked for some tests only, it takes all other hooks out of the release, stores the release like that each
time a test begins, and puts them back at its end (4.3.1, pkg/action/release_testing.go). One that is ended before leaves the
revision without them: without a pre-delete hook that saves data, say. So they are put back here, also when the run is
cancelled. An operator that is killed with its helm cannot do that.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from managedchart_operator.cancellation import finish_before_cancel
from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.stored_manifest import with_hooks
from managedchart_operator.kube.answers import unavailable
from managedchart_operator.reconcile.operations.outcome import Journal
from managedchart_operator.reconcile.release_storage import ReleaseStorage

logger = logging.getLogger(__name__)

# If a Secret changes more often between the read and the write, another Helm operation is working on it.
_TRIES = 3
_CONFLICT = 409
# What has ended the tests may be that the API server does not answer. One that restarts answers within seconds; a change of the
# spec, and the end of the operator, wait for this.
_SECONDS = 15.0
_PAUSE_SECONDS = 1.0


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
    problem: KubeError | HelmError = unavailable("The API server does not answer")
    conflicts = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS):
            while conflicts < _TRIES:
                try:
                    await _write(storage, secret, hooks)
                except (KubeError, HelmError) as error:
                    problem = error
                else:
                    return None
                if isinstance(problem, HelmError) or not problem.transient:
                    break
                if problem.status == _CONFLICT:
                    conflicts += 1
                else:
                    await asyncio.sleep(_PAUSE_SECONDS)
    return problem


async def _write(storage: ReleaseStorage, secret: str, hooks: Sequence[Mapping[str, Any]]) -> None:
    found = await storage.secrets.read(namespace=storage.namespace, name=secret)
    data = await asyncio.to_thread(with_hooks, found, hooks) if found is not None else None
    if found is not None and data is not None:
        labels = dict(found["metadata"].get("labels") or {})
        await storage.secrets.rewrite(found, release=data, labels=labels)
