"""Deletes the hook objects that a killed helm process left behind.

helm deletes a hook only when it sees it end, so an uninstall leaves those. Only hooks that the chart itself wants deleted when
they have ended are deleted here (`helm.sh/hook-delete-policy` with hook-succeeded or hook-failed), and an object that is not a
hook never is, whatever its name.
Source: Helm documentation, "Chart Hooks"; measured with 4.3.1: a Job of a pre-install hook outlived kill -9 and uninstall.
"""

import asyncio
import logging

from managedchart_operator.helm.manifest import ManifestError, outline
from managedchart_operator.helm.stored_release import StoredRelease
from managedchart_operator.kube.objects import Objects

logger = logging.getLogger(__name__)

_HOOK = "helm.sh/hook"


async def delete_orphaned_hooks(objects: Objects, *, namespace: str, stored: StoredRelease) -> None:
    """Delete what is left of a release's self-deleting hooks before it is uninstalled. Raises KubeError."""
    try:
        hooks = await asyncio.to_thread(outline, *stored.self_deleting_hooks)
    except ManifestError as error:
        logger.warning("namespace %s: cannot read the hooks of a release, so none is deleted: %s", namespace, error)
        return
    for ref in await objects.locate_all(hooks, namespace):
        found = await objects.get(ref)
        if found is not None and _HOOK in (found["metadata"].get("annotations") or {}) and await objects.delete(ref):
            logger.info("deleted %s, left behind by a hook", ref)
