"""Finds the fields that helm takes over from other managers while it applies a release.

helm is called with `--force-conflicts`, so it overwrites what an autoscaler, `kubectl scale` or an injector has set wherever
the chart sets it too. Only the objects' metadata shows who owned a field, and helm's write removes that. So the metadata is
read as it was before helm started, and objects with fields of other managers are read again after helm: what helm owns then,
and the others do not, was taken over. The API server returns the earlier state by the resourceVersion of an earlier list, so
the first read delays nothing. A field set after that list, while helm waits for its slot, is not seen. An error is logged, and
never fails an upgrade. Source: `kube.field_owners`; measured with helm 4.3.1.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.storage import Revision
from managedchart_operator.kube.field_owners import OwnedField, fields_of_others, taken_over
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.reconcile.release_run import ReleaseRun
from managedchart_operator.shortening import cut, listed

logger = logging.getLogger(__name__)

REASON = "FieldsTakenOver"

# A read takes some 10 ms, mostly while helm runs. A slower API server must not delay what follows.
LOOK_SECONDS = 5.0
# The largest charts have some 300 objects; a release of 1 MiB may have several thousand.
MOST_OBJECTS = 500
# If a namespace has more objects of a kind than this, they are listed once instead of read one by one.
READ_SINGLY = 3
# helm sets this label on everything that it applies. The namespace may have thousands of other objects.
HELM_LABEL = "app.kubernetes.io/managed-by=Helm"
# For one field: an Event has 1024 characters, and names five.
MOST_CHARACTERS = 160


FieldsOfOthers = Mapping[ObjectRef, list[OwnedField]]
"""The fields of a release's objects that managers other than helm own, by object."""


async def fields_before(run: ReleaseRun, revision: Revision, *, at: str) -> FieldsOfOthers:
    """Return the fields of a revision's objects as they were at a resourceVersion. Raises nothing except when cancelled."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            stored = await run.storage.read(revision)
            rendered = await asyncio.to_thread(outline, stored.manifest) if stored else []
            refs = await run.objects.locate_all(rendered[:MOST_OBJECTS], run.namespace)
            found = await _metadata_of(run, refs, at=at)
            return {ref: fields for ref, metadata in found.items() if (fields := fields_of_others(metadata))}
    except (KubeError, HelmError) as error:
        _failed(run, error.message)
    except ManifestError as error:
        _failed(run, f"cannot read the manifest: {error}")
    except TimeoutError:
        _failed(run, f"the API server did not answer within {LOOK_SECONDS} s")
    return {}


async def taken_since(run: ReleaseRun, before: FieldsOfOthers) -> list[str]:
    """Return object and field of what helm has taken over since. Raises nothing except when cancelled."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            now = await _metadata_of(run, list(before))
    except TimeoutError:
        _failed(run, f"the API server did not answer within {LOOK_SECONDS} s")
        return []
    still_there = ((ref, fields) for ref, fields in before.items() if ref in now)
    return [f"{ref} {owned}" for ref, fields in still_there for owned in taken_over(fields, now[ref])]


async def _metadata_of(
    run: ReleaseRun, refs: Sequence[ObjectRef], *, at: str = ""
) -> dict[ObjectRef, Mapping[str, Any]]:
    """Read the metadata of the objects that exist; what cannot be read is logged and left out."""
    collections: defaultdict[tuple[str, str, str], list[ObjectRef]] = defaultdict(list)
    for ref in refs:
        collections[ref.api_version, ref.kind, ref.namespace].append(ref)
    found: dict[ObjectRef, Mapping[str, Any]] = {}

    async def read(together: Sequence[ObjectRef], selector: Mapping[str, str]) -> None:
        one = together[0]
        try:
            items = await run.objects.list(
                one.api_version, one.kind, namespace=one.namespace, metadata_only=True, at=at, **selector
            )
        except KubeError as error:
            _failed(run, error.message)
            return
        there = {item["metadata"]["name"]: item["metadata"] for item in items}
        found.update({ref: there[ref.name] for ref in together if ref.name in there})

    reads = []
    for together in collections.values():
        if len(together) > READ_SINGLY:
            reads.append(read(together, {"labels": HELM_LABEL}))
        else:
            reads += [read([ref], {"fields": f"metadata.name={ref.name}"}) for ref in together]
    await asyncio.gather(*reads)
    return found


def _failed(run: ReleaseRun, why: str) -> None:
    logger.warning("%s/%s: cannot determine the fields of other managers: %s", run.namespace, run.name, why)


def describe(verb: str, taken: Iterable[str]) -> str:
    """Return the sentence for an Event; `verb` is what helm did: `Upgrade` or `Rollback`."""
    named = listed(cut(each, MOST_CHARACTERS) for each in taken)
    return f"{verb} took over fields that other managers had set: {named}"


@asynccontextmanager
async def noting_taken_fields(run: ReleaseRun, *, verb: str, known: Revision | None) -> AsyncIterator[None]:
    """Note in the journal which fields of a revision's objects helm takes over inside this context; `verb` as in `describe`."""
    if known is None:
        yield
        return
    # Runs at the same time as helm without delaying it, and sees the objects as they were before.
    look = asyncio.create_task(fields_before(run, known, at=run.storage.version), name="fields of others")
    try:
        yield
    except OperatorError:
        await _note(run, look, verb)  # helm may have applied some before it failed
        raise
    except BaseException:
        look.cancel()  # the next run must not wait for this
        await asyncio.gather(look, return_exceptions=True)
        raise
    await _note(run, look, verb)


async def _note(run: ReleaseRun, look: asyncio.Task[FieldsOfOthers], verb: str) -> None:
    if taken := await taken_since(run, await look):
        run.journal.warn(REASON, describe(verb, taken))
