"""Server-side apply of one object, for what the operator itself writes on behalf of a resource; helm applies its releases.

Source: Kubernetes documentation, "Server-Side Apply".
"""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.kube.client import APPLY_PATCH
from managedchart_operator.kube.objects import ObjectRef, Objects


async def apply(
    objects: Objects,
    ref: ObjectRef,
    body: Mapping[str, Any],
    *,
    manager: str,
    force: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Apply the fields in `body` as a field manager and return the object. Raises KubeError.

    Fields that the manager has applied before and that are missing now are removed. Without `force` a field that another
    manager holds is refused (FIELD_CONFLICT).
    """
    query = {"fieldManager": manager, "fieldValidation": "Strict", "force": str(force).lower()}
    if dry_run:
        query["dryRun"] = "All"
    named = {"apiVersion": ref.api_version, "kind": ref.kind, **body}
    named["metadata"] = {**(body.get("metadata") or {}), "name": ref.name}
    if ref.namespace:
        named["metadata"]["namespace"] = ref.namespace
    path = await objects.path_of(ref)
    found: dict[str, Any] = await objects.client.request(
        "PATCH", path, query=query, body=named, content_type=APPLY_PATCH, patient=True
    )
    return found
