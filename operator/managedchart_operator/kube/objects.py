"""Reads, patches and deletes any object of the cluster by apiVersion, kind, namespace and name.

Lifecycles, waiting and diagnosis use it for kinds that are known only at run time. A missing object is None (or False), not an
error; a missing *kind* is an error, since whoever names a kind expects it. This is also the one place that maps an object that
a chart renders to where the API server has it: `reference` by the manifest alone, `locate` and `locate_all` by asking.
`discovery` looks kinds up.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import APPLY_PATCH, JSON_TYPE, MERGE_PATCH, METADATA_LIST, OPERATOR, KubeClient
from managedchart_operator.kube.cluster_crds import ClusterCrds
from managedchart_operator.kube.discovery import Discovery, group_of, not_served, quoted, root, segment_problem
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.kube.identities import Identity
from managedchart_operator.kube.permissions import Permissions
from managedchart_operator.reasons import Reason

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Names one object. `namespace` is empty for cluster-wide kinds."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def group_kind(self) -> tuple[str, str]:
        """API group ("" for the core) and kind."""
        return group_of(self.api_version), self.kind


class Objects:
    """Reads, patches and deletes objects."""

    def __init__(self, client: KubeClient, *, discovery: Discovery | None = None) -> None:
        self.client = client
        """Sends its requests."""
        self.identity = client.identity
        """On whose behalf it sends requests; None for the operator itself."""
        self.discovery = discovery or Discovery(client)
        """Which kinds there are."""
        self.crds = ClusterCrds(client)
        """The CustomResourceDefinitions of the cluster."""
        self.permissions = Permissions(client, self.discovery)
        """Which permissions the operator has, or whom it impersonates."""

    def acting_as(self, identity: Identity | None) -> "Objects":
        """Return the same for requests on behalf of a resource.

        The kinds that the API server serves are the same for everybody, and every authenticated user may read them, so they are
        looked up once, by the operator itself.
        """
        return Objects(self.client.acting_as(identity), discovery=self.discovery)

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """Return the object, or None. Raises KubeError (KIND_MISSING for an unknown kind)."""
        found: dict[str, Any] | None = await self._request("GET", ref)
        return found

    async def merge_patch(self, ref: ObjectRef, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge a patch (RFC 7386) into the object and return it; None if it does not exist. Raises KubeError."""
        found: dict[str, Any] | None = await self._request(
            "PATCH", ref, query={"fieldManager": OPERATOR}, body=patch, content_type=MERGE_PATCH
        )
        return found

    async def try_apply(self, ref: ObjectRef, body: Mapping[str, Any], *, force: bool = True) -> None:
        """Let the API server validate a server-side apply as helm makes it, as a dry run.

        It checks fields, admission and quota, as for a real one; without `force` also whether another manager holds a field.
        Raises KubeError.
        """
        query = {"dryRun": "All", "fieldManager": HELM, "fieldValidation": "Strict", "force": str(force).lower()}
        path = await self.path_of(ref)
        await self.client.request("PATCH", path, query=query, body=body, content_type=APPLY_PATCH, patient=True)

    async def delete(self, ref: ObjectRef) -> bool:
        """Delete the object with its dependents in the foreground; False if it does not exist. Raises KubeError."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        return await self._request("DELETE", ref, body=body) is not None

    async def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        keep: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the objects of a kind, of one namespace or (empty) of all. Raises KubeError (KIND_MISSING).

        `keep` returns what is to be kept of each as soon as it was read, None for nothing. Needed wherever others than the
        cluster's administrators create the objects: a megabyte of JSON may take twenty.
        """
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        path = await self.path_of(ObjectRef(api_version, kind, "", namespace))
        items: list[dict[str, Any]] = []
        try:
            async for page in self.client.pages(
                path, query=query, accept=METADATA_LIST if metadata_only else JSON_TYPE
            ):
                found = page.get("items") or []
                items += found if keep is None else [kept for each in found if (kept := keep(each)) is not None]
        except KubeError as error:
            if error.status != 404:
                raise
            # A collection is missing only if its kind is no longer served.
            self.discovery.forget_if_unserved(api_version, kind, error)
            raise not_served(api_version, kind) from error
        return items

    async def namespaced(self, api_version: str, kind: str) -> bool:
        """Whether objects of this kind live in a namespace. Raises KubeError (KIND_MISSING)."""
        return (await self.discovery.kind(api_version, kind)).namespaced

    async def served_version(self, api_version: str, kind: str) -> str | None:
        """Return under which apiVersion the cluster serves objects of a kind now, see `Discovery`. Raises KubeError."""
        return await self.discovery.served_version(api_version, kind)

    async def locate(self, rendered: Mapping[str, Any], default_namespace: str) -> ObjectRef:
        """Return where the API server has a rendered object, in the default namespace if it names none.

        Raises KubeError: OBJECT_INVALID for an object without a name; KIND_MISSING for a kind that is not served, even if
        another apiVersion serves it, which the message names.
        """
        ref = reference(rendered, default_namespace)
        if not ref.name:
            raise KubeError(f"A {ref.kind} has no name", reason=Reason.OBJECT_INVALID, transient=False, status=422)
        return await self.resolve(ref)

    async def locate_all(
        self, rendered: Iterable[Mapping[str, Any]], default_namespace: str, *, strict: bool = False
    ) -> Sequence[ObjectRef]:
        """Return where the API server has the rendered objects of a stored release now; looks each kind up once.

        An apiVersion that is no longer served is replaced by the one that serves the kind now. Objects without a name and kinds
        that are not served are left out; so are kinds that cannot be looked up now, which raise KubeError with `strict`.
        """
        found = []
        known: dict[tuple[str, str], tuple[str, bool] | None] = {}
        for number, ref in enumerate(reference(item, default_namespace) for item in rendered):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # each takes some 10 µs, and there may be thousands
            if not ref.name:
                continue
            kind = (ref.api_version, ref.kind)
            with contextlib.suppress(*(() if strict else (KubeError,))):
                if kind not in known:
                    known[kind] = None
                    known[kind] = await _served(self, *kind)
                if (served := known[kind]) is not None:
                    version, namespaced = served
                    found.append(replace(ref, api_version=version, namespace=ref.namespace if namespaced else ""))
        return found

    async def resolve(self, ref: ObjectRef) -> ObjectRef:
        """Return a reference without its namespace if its kind has none. Raises KubeError (KIND_MISSING), as `locate`."""
        served = await _served(self, ref.api_version, ref.kind)
        if served is None or served[0] != ref.api_version:
            raise not_served(ref.api_version, ref.kind, served=served and served[0])
        return ref if served[1] else replace(ref, namespace="")

    async def collection_path(self, api_version: str, kind: str, *, namespace: str = "") -> str:
        """Return the URL path of a kind's collection. Raises KubeError (KIND_MISSING)."""
        return await self.path_of(ObjectRef(api_version, kind, "", namespace))

    async def _request(self, method: str, ref: ObjectRef, **options: Any) -> Any:
        """Return the answer to a request for an object; None if it does not exist. Raises KubeError (KIND_MISSING)."""
        await self.discovery.kind(ref.api_version, ref.kind)
        if not ref.name or _problem(ref):
            return None  # no object can have such a name
        path = await self.path_of(ref)  # not within the try: a missing kind is a 404 too
        try:
            return await self.client.request(method, path, **options)
        except KubeError as error:
            if error.status != 404:
                raise
            self.discovery.forget_if_unserved(ref.api_version, ref.kind, error)
            return None

    async def path_of(self, ref: ObjectRef) -> str:
        """Return the URL path of an object, or of a collection for one without a name. Raises KubeError."""
        kind = await self.discovery.kind(ref.api_version, ref.kind)
        if problem := _problem(ref):
            text = f"{ref}: {problem}"
            raise KubeError(text, reason=Reason.OBJECT_INVALID, transient=False, status=422, answer=problem)
        scope = f"/namespaces/{quoted(ref.namespace)}" if kind.namespaced and ref.namespace else ""
        return f"{root(ref.api_version)}{scope}/{kind.plural}" + (f"/{quoted(ref.name)}" if ref.name else "")


def reference(rendered: Mapping[str, Any], default_namespace: str) -> ObjectRef:
    """Return a rendered object's reference by its manifest alone, as if its kind were namespaced; missing parts are empty."""
    meta = rendered.get("metadata") or {}
    return ObjectRef(
        str(rendered.get("apiVersion") or ""),
        str(rendered.get("kind") or ""),
        str(meta.get("name") or ""),
        str(meta.get("namespace") or default_namespace),
    )


def version_of(body: Mapping[str, Any]) -> int:
    """Return the resourceVersion of an object or a list as a number, which grows with each change."""
    # Comparable since Kubernetes 1.35 (KEP-5504); before, in every known storage.
    return int(body["metadata"].get("resourceVersion") or 0)


async def _served(objects: Objects, api_version: str, kind: str) -> tuple[str, bool] | None:
    """Return under which apiVersion a kind is served, and whether its objects live in a namespace. Raises KubeError."""
    try:
        return api_version, await objects.namespaced(api_version, kind)
    except KubeError as error:
        if error.reason is not Reason.KIND_MISSING:
            raise
    version = await objects.served_version(api_version, kind)
    return None if version is None else (version, await objects.namespaced(version, kind))


def _problem(ref: ObjectRef) -> str:
    """Return why no such object can exist, in the words of client-go, which helm uses; "" if it can."""
    for what, name in (("resource name", ref.name), ("namespace", ref.namespace)):
        if name and (problem := segment_problem(name)):
            return f'invalid {what} "{name}": [{problem}]'
    return ""
