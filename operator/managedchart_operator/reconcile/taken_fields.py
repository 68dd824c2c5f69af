"""Reports the fields that helm takes over from other managers while it applies a release.

helm is called with `--force-conflicts`, so it overwrites what others have set wherever the chart sets it too and the field is
not left to them (`left_fields`). What others owned before helm ran, and helm alone owns afterwards, was taken over. An error is
logged, and never fails an upgrade.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from managedchart_operator.errors import KubeError, OperatorError
from managedchart_operator.kube.field_owners import OwnedField, taken_over
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reconcile.owned_fields import log_unknown, metadata_of
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.shortening import cut, listed

REASON = "FieldsTakenOver"

# A read takes some 10 ms. A slower API server must not delay what follows.
LOOK_SECONDS = 5.0
# For one field: an Event has 1024 characters, and names five.
MOST_CHARACTERS = 160

FieldsOfOthers = Mapping[ObjectRef, list[OwnedField]]
"""The fields of a release's objects that managers other than helm own, by object."""


async def taken_since(run: ReleaseRun, before: FieldsOfOthers) -> list[str]:
    """Return object and field of what helm has taken over since. Raises nothing except when cancelled."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            now = await metadata_of(run, list(before))
    except TimeoutError:
        log_unknown(run, f"the API server did not answer within {LOOK_SECONDS} s")
        return []
    except KubeError as error:
        log_unknown(run, error.message)
        return []
    still_there = ((ref, fields) for ref, fields in before.items() if ref in now)
    return [f"{ref} {owned}" for ref, fields in still_there for owned in taken_over(fields, now[ref])]


def describe(verb: str, taken: Iterable[str]) -> str:
    """Return the sentence for an Event; `verb` is what helm did: `Upgrade` or `Rollback`."""
    named = listed(cut(each, MOST_CHARACTERS) for each in taken)
    return f"{verb} took over fields that other managers had set: {named}"


@asynccontextmanager
async def noting_taken_fields(run: ReleaseRun, before: FieldsOfOthers, *, verb: str) -> AsyncIterator[None]:
    """Note in the journal which of these fields helm takes over inside this context; `verb` as in `describe`."""
    try:
        yield
    except OperatorError:
        await _note(run, before, verb)  # helm may have applied some before it failed
        raise
    await _note(run, before, verb)


async def _note(run: ReleaseRun, before: FieldsOfOthers, verb: str) -> None:
    if taken := await taken_since(run, before):
        run.journal.warn(REASON, describe(verb, taken))
