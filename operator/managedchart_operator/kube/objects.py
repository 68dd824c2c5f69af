"""Any object of the cluster by apiVersion, kind, namespace and name.

Purpose: what lifecycles and the diagnosis need of the cluster, for kinds known only at run time. Boundary: no policy.
Invariant: a missing object is None (or False), not an error; a missing *kind* is an error, since a caller that names a kind
expects it. Names come from manifests, so each part of a path is quoted, and one that no object can have leads nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import APPLY_PATCH, JSON_TYPE, MERGE_PATCH, METADATA_LIST, KubeClient
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.kube.rights import refused_for_a_moment
from managedchart_operator.reasons import Reason

FIELD_MANAGER = "managedchart-operator"
"""The manager of the fields that the operator itself writes: by it an object that a lifecycle has adopted is recognised."""
# How the API server answers for a path of a kind that it does not serve; for an object that is not there it names the object.
_NOT_SERVED = ("the server could not find the requested resource", "404 page not found")
# Kinds that Kubernetes has moved to another group: one object, served by both groups as long as both were.
# Source: Kubernetes documentation, "Deprecated API Migration Guide".
_MOVED_TO = {
    ("extensions", "DaemonSet"): "apps",
    ("extensions", "Deployment"): "apps",
    ("extensions", "ReplicaSet"): "apps",
    ("extensions", "Ingress"): "networking.k8s.io",
    ("extensions", "NetworkPolicy"): "networking.k8s.io",
}


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
    """Reads, patches and deletes objects. Kinds are looked up by discovery and remembered until the API server denies them."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._kinds: dict[tuple[str, str], _Kind] = {}

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, or None. Raises KubeError (KIND_MISSING for an unknown kind)."""
        path = await self._object_path(ref)  # not within the try: a missing kind is a 404 too
        if path is None:
            return None
        try:
            found: dict[str, Any] = await self._client.request("GET", path)
        except KubeError as error:
            if error.status == 404:
                self._forget_unserved(ref, error)
                return None
            raise
        return found

    async def merge_patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge a patch (RFC 7386) into the object and return it, or None where there is none. Raises KubeError."""
        path = await self._object_path(ref)
        if path is None:
            return None
        try:
            found: dict[str, Any] = await self._client.request(
                "PATCH", path, query={"fieldManager": FIELD_MANAGER}, body=patch, content_type=MERGE_PATCH
            )
        except KubeError as error:
            if error.status == 404:
                self._forget_unserved(ref, error)
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

    async def refused_for_a_moment(self, text: str) -> bool:
        """Whether the right that an error text calls missing is there: see `rights`."""
        return await refused_for_a_moment(self._client, text)

    async def delete(self, ref: ObjectRef) -> bool:
        """Delete the object with its dependents in the foreground; False where there is none. Raises KubeError."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        path = await self._object_path(ref)
        if path is None:
            return False
        try:
            await self._client.request("DELETE", path, body=body)
        except KubeError as error:
            if error.status == 404:
                self._forget_unserved(ref, error)
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

    async def served_version(self, api_version: str, kind: str) -> str | None:
        """Return by which apiVersion the cluster serves objects of a kind now: this one, else another, or None.

        Another is one of the same group, or of the group to which Kubernetes has moved the kind. What is remembered does not
        count. Raises KubeError where the API server does not say, for the API of an APIService that is down, say.
        """
        await self._discover(api_version)
        if (api_version, kind) in self._kinds:
            return api_version
        group = group_of(api_version)
        for each in (group, _MOVED_TO.get((group, kind))):
            for version in await self._versions(each) if each else ():
                await self._discover(version)
                if (version, kind) in self._kinds:
                    return version
        return None

    async def collection_path(self, api_version: str, kind: str, *, namespace: str = "") -> str:
        """Return the URL path of a kind's collection. Raises KubeError (KIND_MISSING)."""
        return await self._path(ObjectRef(api_version, kind, "", namespace))

    async def _object_path(self, ref: ObjectRef) -> str | None:
        """Return the URL path of an object; None for a name that no object can have. Raises KubeError (KIND_MISSING)."""
        await self._kind(ref.api_version, ref.kind)
        return await self._path(ref) if ref.name and not _problem(ref) else None

    async def _path(self, ref: ObjectRef) -> str:
        """Return the URL path of an object, or of a collection for one without a name. Raises KubeError."""
        kind = await self._kind(ref.api_version, ref.kind)
        if problem := _problem(ref):
            text = f"{ref}: {problem}"
            raise KubeError(text, reason=Reason.OBJECT_INVALID, transient=False, status=422, answer=problem)
        scope = f"/namespaces/{_quoted(ref.namespace)}" if kind.namespaced and ref.namespace else ""
        return f"{_root(ref.api_version)}{scope}/{kind.plural}" + (f"/{_quoted(ref.name)}" if ref.name else "")

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
        if any(map(_segment_problem, api_version.split("/"))):
            return  # no group and no version has such a name
        try:
            answer = await self._client.request("GET", _root(api_version))
        except KubeError as error:
            if error.status != 404:
                raise
            answer = {}
        found = {
            (api_version, resource["kind"]): _Kind(resource["name"], resource["namespaced"])
            for resource in answer.get("resources", [])
            if "/" not in resource["name"]
        }
        for key in [key for key in self._kinds if key[0] == api_version and key not in found]:
            del self._kinds[key]
        self._kinds.update(found)

    async def _versions(self, group: str) -> tuple[str, ...]:
        """Return the apiVersions of a group, the one that the API server prefers first."""
        try:
            answer = await self._client.request("GET", f"/apis/{group}")
        except KubeError as error:
            if error.status != 404:
                raise
            return ()
        versions = [version["groupVersion"] for version in answer.get("versions", [])]
        preferred = (answer.get("preferredVersion") or {}).get("groupVersion")
        return tuple(sorted(versions, key=lambda version: version != preferred))

    def _forget_unserved(self, ref: ObjectRef, error: KubeError) -> None:
        """A 404 may mean that the kind is gone as well: a CustomResourceDefinition can be deleted at any time."""
        if error.answer.strip() in _NOT_SERVED:
            self._kinds.pop((ref.api_version, ref.kind), None)


def group_of(api_version: str) -> str:
    """Return the API group of an apiVersion; "" for the core."""
    return api_version.rpartition("/")[0]


def _problem(ref: ObjectRef) -> str:
    """Say why there can be no such object in the words of client-go, which helm asks with; "" where there can be one.

    Source: k8s.io/apimachinery pkg/api/validation/path, IsValidPathSegmentName.
    """
    for what, name in (("resource name", ref.name), ("namespace", ref.namespace)):
        if name and (problem := _segment_problem(name)):
            return f'invalid {what} "{name}": [{problem}]'
    return ""


def _segment_problem(name: str) -> str:
    if name in ("", ".", ".."):
        return f"may not be '{name}'"
    return next((f"may not contain '{character}'" for character in "/%" if character in name), "")


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _root(api_version: str) -> str:
    path = "/".join(map(_quoted, api_version.split("/")))
    return f"/apis/{path}" if "/" in api_version else f"/api/{path}"
