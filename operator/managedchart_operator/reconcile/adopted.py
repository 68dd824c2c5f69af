"""Which objects of a release were in the cluster before it: adopted, not made.

What a failed deployment adopted is not its own to delete. Either of two facts about the live object proves that it was there
before. It is older than the Secret of the revision: both times are the API server's, and helm stores a revision before it
applies anything. Or somebody else than helm has put helm's ownership marks on it, without which helm refuses to adopt it: helm
applies the same marks with the same values, so under server-side apply that manager stays their co-owner.
Source: Helm's check of `meta.helm.sh/release-name`; Kubernetes documentation, "Server-Side Apply", shared ownership.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from managedchart_operator.diagnosis.blockers import references
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.objects import ObjectRef, Objects

# Under this name helm 4 manages the fields of what it applies.
_HELM = "helm"
_MARK = ("f:metadata", "f:annotations", "f:meta.helm.sh/release-name")
# So many objects are looked at side by side; a failure is no reason to load the API server.
_AT_ONCE = 10


async def adopted_objects(
    objects: Objects, rendered: Iterable[Mapping[str, Any]], *, namespace: str, since: float | None
) -> list[ObjectRef]:
    """Return those of the rendered objects that were there before `since`, in seconds since the epoch; None is in doubt.

    Raises KubeError where an object cannot be read: then nothing is known of it.
    """
    refs = await references(objects, namespace, rendered)
    free = asyncio.Semaphore(_AT_ONCE)

    async def look(ref: ObjectRef) -> bool:
        async with free:
            found = await objects.get(ref)
        return found is not None and was_adopted(found, since=since)

    try:
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(look(ref)) for ref in refs]
    except* KubeError as errors:
        raise errors.exceptions[0] from None
    return [ref for ref, adopted in zip(refs, (look.result() for look in looks), strict=True) if adopted]


def was_adopted(found: Mapping[str, Any], *, since: float | None) -> bool:
    """Whether a live object was there before its release was; in doubt it was."""
    meta = found["metadata"]
    try:
        created = datetime.fromisoformat(meta["creationTimestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return True
    if since is None or created < since:
        return True
    return any(entry.get("manager") != _HELM and _owns_mark(entry) for entry in meta.get("managedFields") or ())


def _owns_mark(entry: Mapping[str, Any]) -> bool:
    fields = entry.get("fieldsV1")
    for step in _MARK:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields is not None
