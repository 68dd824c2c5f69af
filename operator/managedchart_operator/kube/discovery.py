"""Which kinds the API server serves, under which apiVersion, and whether their objects live in a namespace.

`Objects` asks here before each request. A kind is looked up by discovery and remembered until the API server no longer serves
it: a CustomResourceDefinition can be installed, changed or deleted at any time. Names come from manifests, so each part of a
path is quoted, and an impossible name never becomes the path of something else.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import KubeClient, unless_missing
from managedchart_operator.reasons import Reason

# Kinds that Kubernetes has moved to another group: one object, served by both groups as long as both existed.
# Source: Kubernetes documentation, "Deprecated API Migration Guide".
_MOVED_TO = {
    ("extensions", "DaemonSet"): "apps",
    ("extensions", "Deployment"): "apps",
    ("extensions", "ReplicaSet"): "apps",
    ("extensions", "Ingress"): "networking.k8s.io",
    ("extensions", "NetworkPolicy"): "networking.k8s.io",
}

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# The API server's answer for a kind that it does not serve; the answer for a missing object names the object.
NOT_SERVED = ("the server could not find the requested resource", "404 page not found")


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API server serves a kind."""

    plural: str
    namespaced: bool


class Discovery:
    """Looks kinds up and remembers them."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._kinds: dict[tuple[str, str], Kind] = {}

    async def kind(self, api_version: str, kind: str) -> Kind:
        """Return how a kind is served. Raises KubeError (KIND_MISSING)."""
        key = (api_version, kind)
        if key not in self._kinds:
            await self._discover(api_version)
        if key not in self._kinds:
            raise not_served(api_version, kind)
        return self._kinds[key]

    async def served_version(self, api_version: str, kind: str) -> str | None:
        """Return under which apiVersion the cluster serves objects of a kind now: this one, else another, or None.

        The other one is of the same group, or of the group to which Kubernetes has moved the kind. This always asks the API
        server. Raises KubeError if it does not answer, for instance for an APIService that is down.
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

    async def namespaced_kinds(self, named: re.Pattern[str]) -> list[tuple[str, str]]:
        """Return apiVersion and kind of all kinds of API groups that live in namespaces and have such a name.

        One for each kind, of the version that the API server prefers. Raises KubeError.
        Source: Kubernetes documentation, "Aggregated discovery".
        """
        answer = await self._client.request("GET", "/apis", accept=_AGGREGATED)
        found: dict[tuple[str, str], str] = {}
        for group in answer.get("items") or ():
            name = group["metadata"]["name"]
            for version in group.get("versions") or ():
                for resource in version.get("resources") or ():
                    kind = (resource.get("responseKind") or {}).get("kind") or ""
                    if resource.get("scope") == "Namespaced" and named.search(kind):
                        found.setdefault((name, kind), f"{name}/{version['version']}")
        return [(version, kind) for (_, kind), version in found.items()]

    def forget_if_unserved(self, api_version: str, kind: str, error: KubeError) -> None:
        """Look a kind up again if a 404 is about the kind and not about an object."""
        if error.answer.strip() in NOT_SERVED:
            self._kinds.pop((api_version, kind), None)

    async def _discover(self, api_version: str) -> None:
        if any(map(segment_problem, api_version.split("/"))):
            return  # no group or version can have such a name
        answer = await unless_missing(self._client.request("GET", root(api_version))) or {}
        found = {
            (api_version, resource["kind"]): Kind(resource["name"], resource["namespaced"])
            for resource in answer.get("resources", [])
            if "/" not in resource["name"]
        }
        others = {key: kind for key, kind in self._kinds.items() if key[0] != api_version}
        self._kinds = others | found

    async def _versions(self, group: str) -> tuple[str, ...]:
        """Return the apiVersions of a group, the one that the API server prefers first."""
        answer = await unless_missing(self._client.request("GET", f"/apis/{quoted(group)}")) or {}
        versions = [version["groupVersion"] for version in answer.get("versions", [])]
        preferred = (answer.get("preferredVersion") or {}).get("groupVersion")
        return tuple(sorted(versions, key=lambda version: version != preferred))


def group_of(api_version: str) -> str:
    """Return the API group of an apiVersion; "" for the core."""
    return api_version.rpartition("/")[0]


def not_served(api_version: str, kind: str, *, served: str | None = None) -> KubeError:
    """Return the error for a kind that the API server does not serve; `served` is the apiVersion that serves it instead."""
    instead = f"; it serves {kind} of {served} instead" if served else ""
    error = KubeError(
        f"The API server does not serve kind {kind} of {api_version}{instead}",
        reason=Reason.KIND_MISSING,
        transient=True,
        status=404,
        hint=f"Use apiVersion {served}."
        if served
        else "Correct kind and apiVersion, or install the CustomResourceDefinition that defines the kind first.",
    )
    error.missing_kind = (api_version, kind)
    return error


def root(api_version: str) -> str:
    """Return the URL path of an apiVersion."""
    path = "/".join(map(quoted, api_version.split("/")))
    return f"/apis/{path}" if "/" in api_version else f"/api/{path}"


def quoted(name: str) -> str:
    """Return a name as one segment of a URL path."""
    return quote(name, safe="")


def segment_problem(name: str) -> str:
    """Return why a name cannot be a segment of a path, in the words of client-go; "" if it can.

    Source: k8s.io/apimachinery pkg/api/validation/path, IsValidPathSegmentName.
    """
    if name in ("", ".", ".."):
        return f"may not be '{name}'"
    return next((f"may not contain '{character}'" for character in "/%" if character in name), "")
