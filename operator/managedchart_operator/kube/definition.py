"""The CustomResourceDefinition of ManagedCharts: when it was created, and whether it is being deleted.

The API server marks a CRD as being deleted before it deletes the first of its objects, and a read of one object is never
served from a cache. So whoever sees a ManagedChart being deleted and then reads the CRD knows whether the CRD is the cause.
"""

from dataclasses import dataclass

from managedchart_operator.api.resource import DEFINITION, KIND
from managedchart_operator.errors import KubeError
from managedchart_operator.kube.client import METADATA, KubeClient

_PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}"


@dataclass(frozen=True, slots=True)
class DefinitionState:
    """How the CRD stands. `created` is an RFC 3339 time in UTC."""

    created: str
    deleting: bool


class Definition:
    """Reads the CRD; needs the permission to get this one CRD."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def state(self) -> DefinitionState | None:
        """Return how the CRD stands, None where it does not exist. Raises KubeError."""
        try:
            # Only its metadata: the schemas are a hundred times as long.
            meta = (await self._client.request("GET", _PATH, accept=METADATA))["metadata"]
        except KubeError as error:
            if error.status == 404:
                return None
            if error.status == 403:
                raise _forbidden(error) from error
            raise
        return DefinitionState(meta["creationTimestamp"], "deletionTimestamp" in meta)


def _forbidden(error: KubeError) -> KubeError:
    return KubeError(
        f"The operator may not get the CRD {DEFINITION}, so it cannot tell whether this {KIND} is deleted only because its CRD"
        f" is, and leaves the release as it is: {error.answer or error.message}",
        reason=error.reason,
        transient=True,
        status=error.status,
        hint="Grant the permission, and the deletion goes on: kubectl apply -f deploy/rbac.yaml",
        answer=error.answer,
    )
