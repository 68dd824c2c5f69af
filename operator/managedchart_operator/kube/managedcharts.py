"""Reads ManagedCharts, and writes their status and finalizer; kopf watches them.

The status is patched through the `status` subresource, the finalizer by a JSON patch that fails if somebody else has changed
the list meanwhile. Both answers contain only metadata, since the spec may have a megabyte.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from managedchart_operator.api.resource import API_VERSION, FINALIZER, PLURAL, Key, ManagedChart
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import JSON_PATCH, MERGE_PATCH, METADATA, KubeClient, unless_missing
from managedchart_operator.kube.definition import APPLY_CRD
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.pages import FIRST_PAGE
from managedchart_operator.kube.scope import Scope

logger = logging.getLogger(__name__)

# A status write delays the end of a run; it is retried, so it need not wait for long.
STATUS_SECONDS = 10.0
_ROOT = f"/apis/{API_VERSION}"
_NOT_SERVED = f"The API server does not serve {PLURAL} of {API_VERSION}"
_INSTALL = f"Install the CRD first: {APPLY_CRD}"
_NARROW = "An operator without cluster-wide permissions needs the list of its namespaces in MANAGEDCHART_NAMESPACES."


def _path(key: Key) -> str:
    return f"{_ROOT}/namespaces/{quoted(key.namespace)}/{PLURAL}/{quoted(key.name)}"


class ManagedCharts:
    """Reads and writes ManagedChart objects, in the namespaces in which the operator works."""

    def __init__(self, client: KubeClient, scope: Scope | None = None) -> None:
        self._client = client
        self.scope = scope or Scope()
        """In which namespaces the operator works."""

    async def check_installed(self) -> None:
        """Raise StartupError if the API server does not serve ManagedCharts, or refuses to list those of all namespaces.

        With a list of namespaces only discovery is asked, which everybody may read: the permissions can follow later.
        """
        try:
            if self.scope.everywhere:
                await self._client.request("GET", f"{_ROOT}/{PLURAL}", query={"limit": "1"})
                return
            served = (await self._client.request("GET", _ROOT)).get("resources") or ()
        except KubeError as error:
            if error.status == 404:
                raise StartupError(_NOT_SERVED, hint=_INSTALL) from error
            hint = f"{error.hint} {_NARROW}" if error.status == 403 else error.hint
            raise StartupError(f"Cannot list {PLURAL}: {error.message}", hint=hint) from error
        if PLURAL not in (each["name"] for each in served):
            raise StartupError(_NOT_SERVED, hint=_INSTALL)

    async def read(self, key: Key) -> ManagedChart | None:
        """Return the current object, or None. Raises KubeError."""
        found = await unless_missing(self._client.request("GET", _path(key)))
        return None if found is None else ManagedChart.from_body(found)

    async def list_all(self) -> AsyncIterator[ManagedChart]:
        """Yield the ManagedCharts in the namespaces of the operator's scope, read in pages. Raises KubeError.

        A namespace of the list that refuses is left out: the watch continues to ask there.
        """
        for namespace, path in self.scope.collections(_ROOT, PLURAL):
            try:
                async for page in self._client.pages(path, first=FIRST_PAGE):
                    for item in page.get("items") or []:
                        yield ManagedChart.from_body(item)
            except KubeError as error:
                if namespace is None or error.status != 403:
                    raise
                logger.debug("cannot list the %s in namespace %s yet: %s", PLURAL, namespace, error.message)

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> ManagedChart | None:
        """Merge a patch into the status and return the object's metadata.

        None if the object was deleted, even if another one has its name now. Raises KubeError.
        """
        body = {"metadata": {"uid": uid}, "status": patch}
        try:
            answer = await self._client.request(
                "PATCH",
                f"{_path(key)}/status",
                body=body,
                content_type=MERGE_PATCH,
                accept=METADATA,
                timeout=STATUS_SECONDS,
            )
        except KubeError as error:
            if error.status == 404 or (error.status in (409, 422) and await self._replaced(key, uid)):
                return None
            raise
        return ManagedChart.from_body(answer)

    async def _replaced(self, key: Key, uid: str) -> bool:
        """Whether the object was deleted: a patch with a different uid is refused like any other conflict or invalid field."""
        now = await self.read(key)
        return now is None or now.uid != uid

    async def add_finalizer(self, chart: ManagedChart) -> bool:
        """Add the operator's finalizer; False if the object was deleted or is being deleted. Raises KubeError."""
        return await self._change_finalizers(chart, lambda names: names if FINALIZER in names else [*names, FINALIZER])

    async def remove_finalizer(self, chart: ManagedChart) -> None:
        """Remove the operator's finalizer and keep the others. Raises KubeError."""
        await self._change_finalizers(chart, lambda names: [name for name in names if name != FINALIZER])

    async def _change_finalizers(self, chart: ManagedChart, change: Callable[[list[str]], list[str]]) -> bool:
        path = "/metadata/finalizers"
        names = list(chart.finalizers)
        while (wanted := change(names)) != names:
            # `test` makes the API server answer 422 if the list has changed since it was read.
            steps: list[dict[str, Any]] = [{"op": "test", "path": "/metadata/uid", "value": chart.uid}]
            if names:
                steps.append({"op": "test", "path": path, "value": names})
            steps.append({"op": "add", "path": path, "value": wanted} if wanted else {"op": "remove", "path": path})
            try:
                await self._client.request(
                    "PATCH", _path(chart.key), body=steps, content_type=JSON_PATCH, accept=METADATA
                )
            except KubeError as error:
                if error.status == 404:
                    return False
                if error.status not in (409, 422):
                    raise
            else:
                return True
            now = await self.read(chart.key)
            if now is None or now.uid != chart.uid:
                return False
            if now.deleting and FINALIZER not in now.finalizers:
                return False  # an object that is being deleted accepts no new finalizer
            names = list(now.finalizers)
        return True
