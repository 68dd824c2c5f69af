"""Reads, creates and replaces the CustomResourceDefinitions of the cluster, and waits until their kinds can be used.

The field manager is helm's, which would apply them otherwise: so helm can continue with them later, and the field managers
still show whether a chart or somebody else brought a CRD. Nothing here deletes a CRD. What the cluster serves is read here as
well, in the form that `helm template` takes.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import APPLY_PATCH, METADATA, KubeClient, unless_missing
from managedchart_operator.kube.discovery import quoted, segment_problem
from managedchart_operator.kube.field_owners import HELM
from managedchart_operator.kube.watch import changes
from managedchart_operator.reasons import Reason

API_VERSION, KIND = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
COLLECTION = f"/apis/{API_VERSION}/customresourcedefinitions"
# helm waits as long; a CRD takes some 30 ms (measured with 1.37), and 5 s where several API servers share an etcd.
ESTABLISH_SECONDS = 60.0
# Discovery follows after some 10 ms (measured), and cannot be watched.
_POLL_SECONDS = 0.1
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_GRANT = (
    "Grant the operator's ServiceAccount get, list, watch, create, patch and update on customresourcedefinitions of "
    "apiextensions.k8s.io, or apply the chart's CRDs yourself and set spec.crds: Skip."
)


class ClusterCrds:
    """The CRDs of one cluster. All methods raise KubeError; a missing permission is FORBIDDEN and names the CRD."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def metadata(self, name: str) -> dict[str, Any] | None:
        """Return the metadata of a CRD; None if it does not exist."""
        found = await self._request("get", name, accept=METADATA)
        return None if found is None else dict(found["metadata"])

    async def get(self, name: str) -> dict[str, Any] | None:
        """Return a CRD; None if it does not exist."""
        found: dict[str, Any] | None = await self._request("get", name)
        return found

    async def create(
        self, body: Mapping[str, Any], *, collection: str = COLLECTION, dry_run: bool = False
    ) -> dict[str, Any] | None:
        """Create a CRD by server-side apply; None if somebody else has created another one in the meantime.

        `collection` is the path of another kind, for what else stands in a crds/ folder.
        """
        try:
            made: dict[str, Any] | None = await self._request(
                "patch",
                body["metadata"]["name"],
                collection=collection,
                query=_query(dry_run),
                body=body,
                content_type=APPLY_PATCH,
            )
        except KubeError as error:
            if error.reason is Reason.FIELD_CONFLICT:
                return None
            raise
        return made

    async def replace(self, crd: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Replace a CRD that was read, and has not changed since (else the error is API_UNAVAILABLE, and transient).

        Server-side apply would leave the fields of other managers in the schema.
        """
        name = crd["metadata"]["name"]
        made: dict[str, Any] | None = await self._request("put", name, query=_query(dry_run), body=crd)
        if made is None:
            raise KubeError(
                f"CRD {name} was deleted while it was updated",
                reason=Reason.API_UNAVAILABLE,
                transient=True,
                status=404,
            )
        return made

    async def until_served(self, crds: Iterable[Mapping[str, Any]]) -> None:
        """Wait until the CRDs, as the API server returned them, are established and discovery has their versions."""
        kinds: set[str] = set()
        try:
            async with asyncio.timeout(ESTABLISH_SECONDS):
                for crd in crds:
                    await self._until_established(crd)
                    kinds |= kinds_of(crd)
                while not kinds <= await self.api_versions():  # noqa: ASYNC110 -- discovery cannot be watched
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise KubeError(
                f"The API server does not serve {', '.join(sorted(kinds)) or 'the new CRDs'} after {ESTABLISH_SECONDS:.0f} s",
                reason=Reason.API_UNAVAILABLE,
                transient=True,
                status=0,
            ) from error

    async def kube_version(self) -> str:
        """Return the version of the API server, as v1.37.2."""
        return str((await self._client.request("GET", "/version"))["gitVersion"])

    async def api_versions(self) -> set[str]:
        """Return what the API server serves, as `group/version` and `group/version/Kind`."""
        found: set[str] = set()
        for path in ("/api", "/apis"):
            answer = await self._client.request("GET", path, accept=_DISCOVERY)
            for group in answer.get("items") or ():
                for version in group.get("versions") or ():
                    name = "/".join(filter(None, (group["metadata"].get("name"), version["version"])))
                    kinds = (resource.get("responseKind") or {} for resource in version.get("resources") or ())
                    found |= {name} | {f"{name}/{kind['kind']}" for kind in kinds if kind.get("kind")}
        return found

    async def _until_established(self, crd: Mapping[str, Any]) -> None:
        name = crd["metadata"]["name"]
        if _is_established(crd):
            return
        since = int(crd["metadata"]["resourceVersion"])
        async for change in changes(
            self._client, COLLECTION, fields=f"metadata.name={name}", since=since, patient=False
        ):
            found = [change.object] if change.type != "Listed" else change.object["items"]
            if change.type == "DELETED" or not found:
                raise KubeError(
                    f"CRD {name} was deleted after it was created",
                    reason=Reason.API_UNAVAILABLE,
                    transient=True,
                    status=404,
                )
            if any(map(_is_established, found)):
                return

    async def _request(self, verb: str, name: str, *, collection: str = COLLECTION, **options: Any) -> Any:
        if problem := segment_problem(name):
            raise KubeError(
                f'"{name}" in crds/ is not a name: it {problem}',
                reason=Reason.OBJECT_INVALID,
                transient=False,
                status=422,
            )
        what = f"CRD {name}" if collection == COLLECTION else f"{collection.rpartition('/')[2]} {name}"
        try:
            return await unless_missing(self._client.request(verb.upper(), f"{collection}/{quoted(name)}", **options))
        except KubeError as error:
            if error.status == 403 and error.reason is Reason.FORBIDDEN:
                error.message = (
                    f"The operator may not {verb.replace('put', 'update')} the {what}, which is in crds/ of the chart"
                )
                error.hint = _GRANT
            elif error.answer:
                error.message = f"The {what}, which is in crds/ of the chart: {error.answer}"
            raise


def kinds_of(crd: Mapping[str, Any]) -> set[str]:
    """Return what a CRD makes the API server serve, as `group/version/Kind`."""
    spec = crd.get("spec") or {}
    kind = (spec.get("names") or {}).get("kind")
    versions = (each["name"] for each in spec.get("versions") or () if each.get("served"))
    return {f"{spec.get('group')}/{version}/{kind}" for version in versions}


def _is_established(crd: Mapping[str, Any]) -> bool:
    """Whether a CRD is established. Raises KubeError if the API server does not accept its names."""
    conditions = (crd.get("status") or {}).get("conditions") or ()  # null right after the creation
    for each in conditions:
        if each["type"] == "NamesAccepted" and each["status"] == "False":
            raise KubeError(
                f"CRD {crd['metadata']['name']} is not accepted: {each.get('message')}",
                reason=Reason.OBJECT_INVALID,
                transient=True,
                status=409,
                hint="Delete the CRD that has the same names, if nobody uses its objects: kubectl get crd",
            )
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _query(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": HELM, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
