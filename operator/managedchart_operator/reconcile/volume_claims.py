"""Finds the objects of a release that keep data in volume claims.

A failed first install that has them is not uninstalled: the claims would outlive it, and the next install would generate
another password for the same data.
Source: Kubernetes documentation, "StatefulSets", PersistentVolumeClaim retention.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.helm.manifest import ManifestError, parse_manifest
from managedchart_operator.reconcile.release_storage import ReleaseStorage

_WHAT_CANNOT_BE_READ = "objects that cannot be read"


async def volume_claims(storage: ReleaseStorage) -> tuple[str, ...]:
    """Name the objects of the newest and of earlier unfinished revisions that keep data. Raises KubeError, HelmError."""
    newest = await storage.read_stored()
    stored = [*([newest] if newest else []), *(each.stored for each in await storage.read_unfinished())]
    return await asyncio.to_thread(
        claims_of, [text for each in stored for text in (each.manifest, *each.hook_manifests)]
    )


def claims_of(manifests: Iterable[str]) -> tuple[str, ...]:
    """Name the objects of the manifests that keep data, each once; an unreadable manifest counts as one."""
    found: dict[str, None] = {}
    for manifest in manifests:
        try:
            objects = parse_manifest(manifest)
        except ManifestError:
            found[_WHAT_CANNOT_BE_READ] = None
            continue
        for item in objects:
            if _keeps_data(item):
                found[f"{item['kind']} {(item.get('metadata') or {}).get('name')}"] = None
    return tuple(found)


def _keeps_data(item: Mapping[str, Any]) -> bool:
    if item["kind"] == "PersistentVolumeClaim":
        return True
    spec = item.get("spec")
    if item["kind"] != "StatefulSet" or not isinstance(spec, dict) or not spec.get("volumeClaimTemplates"):
        return False
    retention = spec.get("persistentVolumeClaimRetentionPolicy")
    return not (isinstance(retention, dict) and retention.get("whenDeleted") == "Delete")
