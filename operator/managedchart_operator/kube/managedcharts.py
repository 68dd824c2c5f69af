"""ManagedChart objects: status and finalizer.

Boundary: writes only; kopf reads them for us. Invariant: the status is patched through the `status` subresource, the
finalizer through a JSON patch that fails when somebody else changed the list in between.
"""

from collections.abc import Mapping
from typing import Any

from managedchart_operator.api.resource import API_VERSION, FINALIZER, PLURAL, Key, ManagedChart
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import JSON_PATCH, MERGE_PATCH, KubeClient


def _path(key: Key) -> str:
    return f"/apis/{API_VERSION}/namespaces/{key.namespace}/{PLURAL}/{key.name}"


class ManagedCharts:
    """Writes to ManagedChart objects."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def check_installed(self) -> None:
        """Raise StartupError when the API server does not serve ManagedCharts."""
        try:
            await self._client.request("GET", f"/apis/{API_VERSION}/{PLURAL}", query={"limit": "1"})
        except KubeError as error:
            if error.status == 404:
                raise StartupError(
                    f"the API server does not know {PLURAL}.{API_VERSION}: install the CRD first (kubectl apply -f crds/managedchart.yaml)"
                ) from error
            raise StartupError(f"cannot list {PLURAL}: {error.message}") from error

    async def read(self, key: Key) -> ManagedChart | None:
        """Return the object as it is now, or None. Raises KubeError."""
        try:
            return ManagedChart.from_body(await self._client.request("GET", _path(key)))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> bool:
        """Merge a patch into the status; False where the object is gone or is another one of the same name. Raises KubeError."""
        body = {"metadata": {"uid": uid}, "status": patch}
        try:
            await self._client.request("PATCH", f"{_path(key)}/status", body=body, content_type=MERGE_PATCH)
        except KubeError as error:
            if error.status in (404, 409, 422):  # gone, or the uid is another one
                if error.status != 404 and "uid" not in error.message:
                    raise
                return False
            raise
        return True

    async def add_finalizer(self, chart: ManagedChart) -> None:
        """Put our finalizer on the object, keeping those of others. Raises KubeError."""
        if FINALIZER not in chart.finalizers:
            await self._change_finalizers(chart, lambda names: names if FINALIZER in names else [*names, FINALIZER])

    async def remove_finalizer(self, chart: ManagedChart) -> None:
        """Take our finalizer off the object, keeping those of others. Raises KubeError."""
        await self._change_finalizers(chart, lambda names: [name for name in names if name != FINALIZER])

    async def _change_finalizers(self, chart: ManagedChart, change: Any) -> None:
        names = list(chart.finalizers)
        while True:
            wanted = change(names)
            if wanted == names:
                return
            # `test` makes the API server answer 422 when the list is no longer the one that we saw.
            test = {"op": "test", "path": "/metadata/finalizers", "value": names or None}
            uid = {"op": "test", "path": "/metadata/uid", "value": chart.uid}
            if wanted:
                step: dict[str, Any] = {"op": "add", "path": "/metadata/finalizers", "value": wanted}
            else:
                step = {"op": "remove", "path": "/metadata/finalizers"}
            try:
                await self._client.request(
                    "PATCH", _path(chart.key), body=[uid, *([test] if names else []), step], content_type=JSON_PATCH
                )
            except KubeError as error:
                if error.status == 404:
                    return
                if error.status not in (409, 422):
                    raise
                now = await self.read(chart.key)
                if now is None or now.uid != chart.uid:
                    return
                names = list(now.finalizers)
            else:
                return
