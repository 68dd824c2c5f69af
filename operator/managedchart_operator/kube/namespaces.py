"""Whether a namespace exists, is being deleted, and which labels it has; helm creates missing ones (`--create-namespace`)."""

from collections.abc import Mapping
from enum import StrEnum

from managedchart_operator.kube.client import METADATA, KubeClient, unless_missing
from managedchart_operator.kube.discovery import quoted
from managedchart_operator.kube.identities import Identity


class NamespaceState(StrEnum):
    """The state of a namespace."""

    ACTIVE = "Active"
    TERMINATING = "Terminating"
    MISSING = "Missing"


class Namespaces:
    """Reads namespaces."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def acting_as(self, identity: Identity | None) -> "Namespaces":
        """Return the same for requests on behalf of a resource."""
        return Namespaces(self._client.acting_as(identity))

    async def state(self, name: str) -> NamespaceState:
        """Return the state of the namespace. Raises KubeError."""
        found = await unless_missing(self._client.request("GET", f"/api/v1/namespaces/{quoted(name)}"))
        if found is None:
            return NamespaceState.MISSING
        phase = (found.get("status") or {}).get("phase")
        return NamespaceState.TERMINATING if phase == "Terminating" else NamespaceState.ACTIVE

    async def labels(self, name: str) -> Mapping[str, str] | None:
        """Return the labels of the namespace; None if it does not exist. Raises KubeError."""
        path = f"/api/v1/namespaces/{quoted(name)}"
        found = await unless_missing(self._client.request("GET", path, accept=METADATA))
        return None if found is None else found["metadata"].get("labels") or {}
