"""Changes and deletes one object exactly as an action of a lifecycle asks: with its field manager, and only that very object.

`objects` has the requests that everything else needs, `applying` server-side apply. An object that does not exist, or is by now
another one of the same name, is no error here: whoever repeats a change after a crash meets both.
Source: Kubernetes API concepts, "Patch", "Dry-run"; API reference, DeleteOptions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import JSON_PATCH, MERGE_PATCH, unless_missing
from managedchart_operator.kube.objects import ObjectRef, Objects

_CONFLICT = 409
_EXISTS = "already exists"
SCALE = "scale"
"""The subresource that has the number of replicas of any scalable kind."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes as one field manager; with `dry_run` the API server checks each change and makes none."""

    objects: Objects
    manager: str
    dry_run: bool = False

    async def merge(self, ref: ObjectRef, patch: Mapping[str, Any], *, subresource: str = "") -> dict[str, Any] | None:
        """Merge a patch (RFC 7386) and return the object; None if it does not exist. Raises KubeError."""
        return await self._patch(ref, patch, content_type=MERGE_PATCH, subresource=subresource)

    async def json_patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Send a JSON patch (RFC 6902) and return the object; None if it does not exist. Raises KubeError."""
        return await self._patch(ref, operations, content_type=JSON_PATCH)

    async def _patch(
        self, ref: ObjectRef, body: Any, *, content_type: str, subresource: str = ""
    ) -> dict[str, Any] | None:
        query = {"fieldManager": self.manager, "fieldValidation": "Strict"}
        if self.dry_run:
            query["dryRun"] = "All"
        path = await _path(self.objects, ref, subresource)
        found: dict[str, Any] | None = await unless_missing(
            self.objects.client.request("PATCH", path, query=query, body=body, content_type=content_type, patient=True)
        )
        return found


async def create(objects: Objects, ref: ObjectRef, body: Mapping[str, Any], *, manager: str) -> dict[str, Any] | None:
    """Create an object and return it; None if there is one of its name. Raises KubeError."""
    query = {"fieldManager": manager, "fieldValidation": "Strict"}
    metadata = {**body["metadata"], "name": ref.name, **({"namespace": ref.namespace} if ref.namespace else {})}
    named = {**body, "apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}
    path = await objects.path_of(replace(ref, name=""))
    try:
        found: dict[str, Any] = await objects.client.request("POST", path, query=query, body=named, patient=True)
    except KubeError as error:
        # A quota that is changed at the same moment is a conflict, too.
        if error.status != _CONFLICT or _EXISTS not in error.answer:
            raise
        return None
    return found


async def delete_exactly(
    objects: Objects, ref: ObjectRef, *, uid: str, version: str | None = None, orphan: bool = False
) -> bool:
    """Delete the object that has this UID, and this resourceVersion if one is given; False if it is not there.

    Its dependents are deleted first; with `orphan` they stay. False also means that it was changed, where `version` is given.
    Raises KubeError.
    """
    preconditions = {"uid": uid, **({"resourceVersion": version} if version else {})}
    body = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Orphan" if orphan else "Foreground",
        "preconditions": preconditions,
    }
    path = await objects.path_of(ref)
    try:
        return await unless_missing(objects.client.request("DELETE", path, body=body, patient=True)) is not None
    except KubeError as error:
        if error.status != _CONFLICT:
            raise
        return False


async def scale_of(objects: Objects, ref: ObjectRef) -> dict[str, Any] | None:
    """Return the scale of an object; None if it does not exist, or its kind has no replicas. Raises KubeError."""
    found: dict[str, Any] | None = await unless_missing(objects.client.request("GET", await _path(objects, ref, SCALE)))
    return found


async def _path(objects: Objects, ref: ObjectRef, subresource: str) -> Any:
    path = await objects.path_of(ref)
    return f"{path}/{subresource}" if subresource else path
