"""Any object of the cluster by apiVersion, kind, namespace and name.

Purpose: what lifecycles and the diagnosis need of the cluster, for kinds known only at run time. Boundary: no policy.
Invariant: a missing object is None (or False), not an error; a missing *kind* is an error, since a caller that names a kind
expects it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import APPLY_PATCH, JSON_TYPE, MERGE_PATCH, METADATA_LIST, KubeClient
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.reasons import Reason


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Names one object. `namespace` is empty for cluster-wide kinds."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `spelled` wrote. Raises ValueError."""
        api_version, kind, namespace, name = text.split("|")
        return cls(api_version, kind, name, namespace)

    @property
    def spelled(self) -> str:
        """All of it in one word, to be kept in a status."""
        return f"{self.api_version}|{self.kind}|{self.namespace}|{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class _Kind:
    plural: str
    namespaced: bool


class Objects:
    """Reads, patches and deletes objects. Kinds are looked up by discovery and remembered for the process."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._kinds: dict[tuple[str, str], _Kind] = {}

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, or None. Raises KubeError (KIND_MISSING for an unknown kind)."""
        path = await self._path(ref)  # not within the try: a missing kind is a 404 too
        try:
            found: dict[str, Any] = await self._client.request("GET", path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def merge_patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge a patch (RFC 7386) into the object and return it, or None where there is none. Raises KubeError."""
        path = await self._path(ref)
        try:
            found: dict[str, Any] = await self._client.request("PATCH", path, body=patch, content_type=MERGE_PATCH)
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any]) -> None:
        """Let the API server judge a server-side apply as helm makes it, without carrying it out.

        Everything is checked that a real one is: fields, admission, quota. Raises KubeError.
        """
        query = {"dryRun": "All", "fieldManager": HELM, "fieldValidation": "Strict", "force": "true"}
        path = await self._path(ref)
        await self._client.request("PATCH", path, query=query, body=body, content_type=APPLY_PATCH, patient=True)

    async def delete(self, ref: ObjectRef) -> bool:
        """Delete the object with its dependents in the foreground; False where there is none. Raises KubeError."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        path = await self._path(ref)
        try:
            await self._client.request("DELETE", path, body=body)
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        at: str = "",
    ) -> list[dict[str, Any]]:
        """Return the objects of a kind, of one namespace or (empty) of all.

        `at` is the resourceVersion of a list: they are returned as they were then. Raises KubeError; the API server forgets
        what is older than some minutes.
        """
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        if at:
            query |= {"resourceVersion": at, "resourceVersionMatch": "Exact"}
        path = await self._path(ObjectRef(api_version, kind, "", namespace))
        answer = await self._client.request(
            "GET", path, query=query, accept=METADATA_LIST if metadata_only else JSON_TYPE
        )
        items: list[dict[str, Any]] = answer.get("items") or []
        return items

    async def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of this kind live in a namespace. Raises KubeError (KIND_MISSING)."""
        return (await self._kind(api_version, kind)).namespaced

    async def collection_path(self, api_version: str, kind: str, *, namespace: str = "") -> str:
        """Return the URL path of a kind's collection. Raises KubeError (KIND_MISSING)."""
        return await self._path(ObjectRef(api_version, kind, "", namespace))

    async def _path(self, ref: ObjectRef) -> str:
        kind = await self._kind(ref.api_version, ref.kind)
        scope = f"/namespaces/{ref.namespace}" if kind.namespaced and ref.namespace else ""
        return f"{_root(ref.api_version)}{scope}/{kind.plural}" + (f"/{ref.name}" if ref.name else "")

    async def _kind(self, api_version: str, kind: str) -> _Kind:
        key = (api_version, kind)
        if key not in self._kinds:
            await self._discover(api_version)
        if key not in self._kinds:
            raise KubeError(
                f"the API server knows no kind {kind} of {api_version}",
                reason=Reason.KIND_MISSING,
                transient=True,
                status=404,
                hint="install the CustomResourceDefinition that defines it first",
            )
        return self._kinds[key]

    async def _discover(self, api_version: str) -> None:
        try:
            answer = await self._client.request("GET", _root(api_version))
        except KubeError as error:
            if error.status == 404:
                return
            raise
        for resource in answer.get("resources", []):
            if "/" not in resource["name"]:
                self._kinds[api_version, resource["kind"]] = _Kind(resource["name"], resource["namespaced"])


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
