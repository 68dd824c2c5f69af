"""Reads and writes Helm's release Secrets, the source of truth about releases.

They are listed by metadata only. A Secret is rewritten only if it has not changed since it was read (resourceVersion).
`helm.storage` knows what a Secret contains; the layers above use both.
Source: Helm documentation, "Storage backends": Secrets labelled owner=helm, name, version, status.
"""

from typing import Any

from managedchart_operator.api.resource import GROUP
from managedchart_operator.errors import KubeError, StartupError
from managedchart_operator.kube.client import MERGE_PATCH, METADATA_LIST, KubeClient, unless_missing
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.scope import Scope

OWNER_SELECTOR = "owner=helm"
_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
# What `helm.storage` reads: helm's own labels, and the operator's.
_LABELS = (
    *("owner", "name", "version", "status", "createdAt", "modifiedAt"),
    *(f"{GROUP}/{name}" for name in ("digest", "owner", "attempt", "wait")),
)


def release_collections(scope: Scope) -> list[tuple[str | None, str]]:
    """Return each namespace of the scope (None for all) with the path of its Secrets."""
    return list(scope.collections("/api/v1", "secrets"))


class ReleaseSecrets:
    """Reads and rewrites the Secrets in which helm stores releases."""

    def __init__(self, client: KubeClient, *, tenant: KubeClient | None = None) -> None:
        self._client = client
        self._tenant = tenant or client
        """Reads what is in a Secret, creates and deletes."""

    def acting_as(self, identity: Identity | None) -> "ReleaseSecrets":
        """Return the same for requests on behalf of a resource.

        The metadata is read by the operator itself, since what it decides must not depend on whether the account is there.
        """
        return ReleaseSecrets(self._client, tenant=self._client.acting_as(identity))

    async def check_permissions(self, scope: Scope | None = None) -> None:
        """Raise StartupError if the operator may not list the release Secrets of all namespaces, and has to.

        A namespace of a list may refuse: it may not exist yet. The watch of the release Secrets logs it, and asks again.
        """
        query = {"labelSelector": OWNER_SELECTOR, "limit": "1"}
        for namespace, path in release_collections(scope or Scope()):
            try:
                await self._client.request("GET", path, query=query, accept=METADATA_LIST)
            except KubeError as error:
                if namespace is None or error.status != 403:
                    raise StartupError(
                        f"Cannot list Helm's release Secrets: {error.message}", hint=error.hint
                    ) from error

    async def list_metadata(self, *, namespace: str, release: str) -> list[dict[str, Any]]:
        """Return the metadata of the Secrets of one release, unordered. Raises KubeError."""
        query = {"labelSelector": f"{OWNER_SELECTOR},name={release}"}
        found: list[dict[str, Any]] = []
        async for page in self._client.pages(_path(namespace), query=query, accept=METADATA_LIST):
            found += [release_metadata(item)["metadata"] for item in page.get("items") or []]
        return found

    async def read(self, *, namespace: str, name: str) -> dict[str, Any] | None:
        """Return one Secret, or None. Raises KubeError."""
        secret: dict[str, Any] | None = await unless_missing(self._tenant.request("GET", _path(namespace, name)))
        return secret

    async def delete(self, *, namespace: str, name: str) -> None:
        """Delete one Secret, if it exists. Raises KubeError."""
        await unless_missing(self._tenant.request("DELETE", _path(namespace, name)))

    async def create(self, *, namespace: str, name: str, release: str, labels: dict[str, str]) -> None:
        """Create the Secret of a revision, as helm does. Raises KubeError, with status 409 if it exists."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels},
            "type": "helm.sh/release.v1",
            "data": {"release": release},
        }
        await self._tenant.request("POST", _path(namespace), body=body)

    async def rewrite(self, secret: dict[str, Any], *, release: str, labels: dict[str, str], own: bool = False) -> None:
        """Put new release data and labels into a Secret.

        The operator itself marks what it has made, its `own`, also when the account lost its permissions in the middle of a
        run; in the Secrets of others it can do no more than the account. Raises KubeError, with status 409 if the Secret has
        changed since it was read.
        """
        client = self._client if own else self._tenant
        meta = secret["metadata"]
        body = {
            "metadata": {"resourceVersion": meta["resourceVersion"], "labels": labels},
            "data": {"release": release},
        }
        path = _path(meta["namespace"], meta["name"])
        await client.request("PATCH", path, body=body, content_type=MERGE_PATCH)


def _path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{quoted(namespace)}/secrets" + (f"/{quoted(name)}" if name else "")


def release_metadata(secret: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a release Secret that is needed.

    Anybody who may create Secrets can give them such labels, and a hundred thousand others: 20 MB of memory for each.
    """
    metadata = secret["metadata"]
    labels = metadata.get("labels") or {}
    kept = {name: metadata[name] for name in _METADATA if name in metadata}
    return {"metadata": {**kept, "labels": {name: labels[name] for name in _LABELS if name in labels}}}
