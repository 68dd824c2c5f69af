"""Finds the fields that helm takes over from other managers while it applies a release.

helm is called with `--force-conflicts`, so it overwrites what an autoscaler, `kubectl scale` or an injector has set wherever
the chart sets it too. Only the objects' metadata shows who owned a field, and helm's write removes that. So the metadata is
read as it was before helm started, and objects with fields of other managers are read again after helm: what helm owns then,
and the others do not, was taken over. The API server returns the earlier state by the resourceVersion of an earlier list, so
the first read runs at the same time as helm and delays nothing. A field set after that list, while helm waits for its slot, is
not seen.

An error here is logged, and never fails an upgrade. Source: `kube.field_owners`; measured with helm 4.3.1.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from managedchart_operator.errors import HelmError, KubeError, OperatorError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.field_owners import OwnedField, fields_of_others, taken_over
from managedchart_operator.kube.objects import ObjectRef, Objects
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


@dataclass(frozen=True, slots=True)
class FieldsOfOthers:
    """The fields of a release's objects that managers other than helm owned at one moment."""

    objects: Objects
    namespace: str
    release: str
    found: dict[ObjectRef, list[OwnedField]] = field(default_factory=dict)

    async def look(self, read: Callable[[], Awaitable[StoredRelease | None]], *, at: str) -> None:
        """Read the objects of the revision that `read` returns, as they were at a resourceVersion of the cluster.

        Raises nothing except when cancelled.
        """
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                stored = await read()
                if stored is None:
                    return
                rendered = await asyncio.to_thread(outline, stored.manifest)
                refs = await self.objects.locate_all(rendered[:MOST_OBJECTS], self.namespace)
                for ref, metadata in (await self._metadata_of(refs, at=at)).items():
                    if fields := fields_of_others(metadata):
                        self.found[ref] = fields
        except (KubeError, HelmError) as error:
            self._failed(error.message)
        except ManifestError as error:
            self._failed(f"cannot read the manifest: {error}")
        except TimeoutError:
            self._failed(f"the API server did not answer within {LOOK_SECONDS} s")

    async def taken_over(self) -> list[str]:
        """Return object and field of what helm has taken over since. Raises nothing except when cancelled.

        Only objects with fields of other managers are read again; most releases have none.
        """
        if not self.found:
            return []
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                now = await self._metadata_of(list(self.found))
        except TimeoutError:
            self._failed(f"the API server did not answer within {LOOK_SECONDS} s")
            return []
        still_there = ((ref, before) for ref, before in self.found.items() if ref in now)
        return [f"{ref} {owned}" for ref, before in still_there for owned in taken_over(before, now[ref])]

    async def _metadata_of(self, refs: Sequence[ObjectRef], *, at: str = "") -> dict[ObjectRef, Mapping[str, Any]]:
        """Read the metadata of the objects that exist; what cannot be read is logged and left out."""
        collections: defaultdict[tuple[str, str, str], list[ObjectRef]] = defaultdict(list)
        for ref in refs:
            collections[ref.api_version, ref.kind, ref.namespace].append(ref)
        found: dict[ObjectRef, Mapping[str, Any]] = {}

        async def read(together: Sequence[ObjectRef], selector: Mapping[str, str]) -> None:
            one = together[0]
            try:
                items = await self.objects.list(
                    one.api_version, one.kind, namespace=one.namespace, metadata_only=True, at=at, **selector
                )
            except KubeError as error:
                self._failed(error.message)
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

    def _failed(self, why: str) -> None:
        logger.warning("%s/%s: cannot determine the fields of other managers: %s", self.namespace, self.release, why)


def describe(verb: str, taken: Iterable[str]) -> str:
    """Return the sentence for an Event; `verb` is what helm did: `Upgrade` or `Rollback`."""
    named = listed(cut(each, MOST_CHARACTERS) for each in taken)
    return f"{verb} took over fields that other managers had set: {named}"


@asynccontextmanager
async def noting_taken_fields(run: ReleaseRun, *, verb: str, known: Revision | None) -> AsyncIterator[None]:
    """Add a warning to the journal about the fields of a revision's objects that helm takes over inside this context.

    `verb` is what helm does: `Upgrade` or `Rollback`.
    """
    if known is None:
        yield
        return
    others = FieldsOfOthers(run.objects, run.namespace, run.name)
    # Runs at the same time as helm without delaying it, and sees the objects as they were before.
    read = partial(run.storage.read, known)
    look = asyncio.create_task(others.look(read, at=run.storage.version), name="fields of others")
    failure: OperatorError | None = None
    try:
        yield
    except asyncio.CancelledError:
        look.cancel()  # the next run must not wait for this
        await asyncio.gather(look, return_exceptions=True)
        raise
    except OperatorError as error:
        failure = error  # helm may have applied some before it failed
    await look
    if taken := await others.taken_over():
        run.journal.warn(REASON, describe(verb, taken))
    if failure is not None:
        raise failure
