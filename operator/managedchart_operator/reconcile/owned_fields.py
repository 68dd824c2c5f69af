"""Reads who owns which fields of a release's objects, before helm applies something.

Only the objects' metadata shows who owns a field, and helm's write removes that; `left_fields` and `taken_fields` need it as it
was. The metadata is read while nothing of this release runs, so a field that is set while helm waits for its slot is not seen.
Source: `kube.field_owners`; measured with helm 4.3.1.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from managedchart_operator.errors import HelmError, KubeError
from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.storage import Revision
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.field_owners import OwnedField, fields_of_others
from managedchart_operator.kube.objects import ObjectRef
from managedchart_operator.nesting import count
from managedchart_operator.reasons import Reason
from managedchart_operator.reconcile.release_run import ReleaseRun

logger = logging.getLogger(__name__)

# The largest charts have some 300 objects; a release of 1 MiB may have several thousand. What is beyond this is not left to
# anybody. Those of one kind are listed at once, so that so many take 10 MB.
MOST_OBJECTS = 5000
# Some 200 MB. What managers set may have ten thousands of entries in each object; 300 for an ordinary one.
_MOST_VALUES = 2_000_000
# If a namespace has more objects of a kind than this, they are listed once instead of read one by one.
READ_SINGLY = 3
# helm sets this label on everything that it applies. The namespace may have thousands of other objects.
HELM_LABEL = "app.kubernetes.io/managed-by=Helm"

Metadata = Mapping[ObjectRef, Mapping[str, Any]]
"""The metadata of objects."""


@dataclass(frozen=True, slots=True)
class OwnedFields:
    """The objects of a stored revision as they were before helm ran."""

    stored: StoredRelease | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def of_others(self) -> Mapping[ObjectRef, list[OwnedField]]:
        """The fields that managers other than helm own, by object."""
        return {ref: fields for ref, each in self.metadata.items() if (fields := fields_of_others(each))}


async def read_owned_fields(run: ReleaseRun, revision: Revision | None, *, also: Revision | None = None) -> OwnedFields:
    """Return the metadata of a revision's objects, none of an unreadable revision. Raises KubeError without an answer.

    `also` is a revision whose objects are included: those of the deployed one may exist although a failed one lacks them.
    """
    if revision is None:
        return OwnedFields()
    stored, rendered = await _rendered(run, revision)
    if also is not None and also != revision:
        rendered = [*rendered, *(await _rendered(run, also))[1]]
    refs = await run.objects.locate_all(rendered[:MOST_OBJECTS], run.namespace)
    return OwnedFields(stored, await metadata_of(run, list(dict.fromkeys(refs))))


async def _rendered(run: ReleaseRun, revision: Revision) -> tuple[StoredRelease | None, list[dict[str, Any]]]:
    """Return the document of a revision and what names its objects; nothing where it cannot be read. Raises KubeError."""
    try:
        stored = await run.storage.read(revision)
        return stored, await asyncio.to_thread(outline, stored.manifest) if stored else []
    except (HelmError, ManifestError) as error:
        log_unknown(run, str(error))
        return None, []


async def metadata_of(run: ReleaseRun, refs: Sequence[ObjectRef]) -> Metadata:
    """Return the metadata of those objects that exist and may be read. Raises KubeError without an answer."""
    collections: defaultdict[tuple[str, str, str], list[ObjectRef]] = defaultdict(list)
    for ref in refs:
        collections[ref.api_version, ref.kind, ref.namespace].append(ref)
    found: dict[ObjectRef, Mapping[str, Any]] = {}
    left = _MOST_VALUES

    def keep(wanted: Container[str], item: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal left
        metadata = item["metadata"]
        if metadata["name"] not in wanted:
            return None
        left -= count(metadata, limit=max(left, 0))
        return {"metadata": metadata} if left > 0 else None

    async def read(together: Sequence[ObjectRef], selector: Mapping[str, str]) -> None:
        one = together[0]
        try:
            items = await run.objects.list(
                one.api_version,
                one.kind,
                namespace=one.namespace,
                metadata_only=True,
                keep=partial(keep, {ref.name for ref in together}),
                **selector,
            )
        except KubeError as error:
            if error.reason not in (Reason.FORBIDDEN, Reason.KIND_MISSING):
                raise
            log_unknown(run, error.message)
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
    if left <= 0:
        log_unknown(run, f"its objects have more than {_MOST_VALUES} entries about the managers of their fields")
    return found


def log_unknown(run: ReleaseRun, why: str) -> None:
    """Log why the owners of some fields are unknown."""
    logger.warning("%s/%s: cannot determine the fields of other managers: %s", run.namespace, run.name, why)
