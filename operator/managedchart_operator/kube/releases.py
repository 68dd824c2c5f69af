"""Helm's release Secrets: the storage that is the truth about releases.

Purpose: list them by metadata only; read, rewrite or delete one. Boundary: what is inside a Secret is `helm.storage`'s; the
two meet in the layers above. Invariant: a Secret is rewritten only if it is still the one that was read (resourceVersion).
Source: Helm documentation, "Storage backends": Secrets labelled owner=helm, name, version, status.
"""

from typing import Any, NamedTuple

from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import MERGE_PATCH, METADATA_LIST, KubeClient

OWNER_SELECTOR = "owner=helm"
SECRETS_PATH = "/api/v1/secrets"


class Listing(NamedTuple):
    """The metadata of Secrets, and the resourceVersion of the whole cluster at which they were read."""

    secrets: list[dict[str, Any]]
    version: str


class ReleaseSecrets:
    """Reads and rewrites the Secrets in which helm keeps its releases."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def check_rights(self) -> None:
        """Raise StartupError when the release Secrets of the cluster may not be listed."""
        query = {"labelSelector": OWNER_SELECTOR, "limit": "1"}
        try:
            await self._client.request("GET", SECRETS_PATH, query=query, accept=METADATA_LIST)
        except KubeError as error:
            raise StartupError(f"Cannot list Helm's release Secrets: {error.message}", hint=error.hint) from error

    async def list_metadata(self, *, namespace: str, release: str) -> Listing:
        """Return the metadata of the Secrets of one release, in no order. Raises KubeError."""
        answer = await self._client.request(
            "GET",
            f"/api/v1/namespaces/{namespace}/secrets",
            query={"labelSelector": f"{OWNER_SELECTOR},name={release}"},
            accept=METADATA_LIST,
        )
        metadata = [item["metadata"] for item in answer.get("items") or []]
        return Listing(metadata, answer["metadata"]["resourceVersion"])

    async def read(self, *, namespace: str, name: str) -> dict[str, Any] | None:
        """Return one Secret, or None. Raises KubeError."""
        try:
            secret: dict[str, Any] = await self._client.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return secret

    async def delete(self, *, namespace: str, name: str) -> None:
        """Delete one Secret, if it is there. Raises KubeError."""
        try:
            await self._client.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        except KubeError as error:
            if error.status != 404:
                raise

    async def rewrite(self, secret: dict[str, Any], *, release: str, labels: dict[str, str]) -> None:
        """Put new release data and labels into a Secret that was read before.

        Raises KubeError; status 409 when it has changed since it was read.
        """
        meta = secret["metadata"]
        body = {
            "metadata": {"resourceVersion": meta["resourceVersion"], "labels": labels},
            "data": {"release": release},
        }
        await self._client.request(
            "PATCH",
            f"/api/v1/namespaces/{meta['namespace']}/secrets/{meta['name']}",
            body=body,
            content_type=MERGE_PATCH,
        )
